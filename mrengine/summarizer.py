"""The ready-made job: a summary of documents of any size, whose statements can be looked up where that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from mrengine.errors import ConfigError
from mrengine.host.log_follower import OnStep, OnText, Step
from mrengine.outputs.run_result import RunResult
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import ChunkResult, ModelSpec
from mrengine.reducers.tree import TreeReduce, ValueMerge, check_group_by
from mrengine.runner import MapReduceRunner
from mrengine.summaries.cited import CitedMerge, Finished, Noted, finished
from mrengine.summaries.extract import EXTRACT_TOKENS, ExtractMap, extracted
from mrengine.summaries.markers import renumbered
from mrengine.summaries.prompts import Asked, RefineMap
from mrengine.summaries.small import small_functions
from mrengine.summaries.stream import SummaryStream, Writing, part_text
from mrengine.summaries.top_k import TopKMap, is_left_out
from mrengine.summaries.values import Claim, Summary, SummaryProgress

__all__ = ["Claim", "Summary", "SummaryProgress", "SummaryStream", "summarize", "summary_runner"]

METHODS = ("map_reduce", "refine", "extract")
AT_ONCE = 75  # calls, over all workers, where neither workers nor slots are said
MOST_MERGED = 30_000  # tokens of one reduce call: with more, models lose facts

Method = Literal["map_reduce", "refine", "extract"]
Strategy = Literal["parallel", "streaming", "sequential"]
Models = str | ModelSpec | Sequence[str | ModelSpec] | None


class _Default(str):
    """A default that can be told from the same value given by the caller, which beats the environment."""


_PARALLEL: Any = _Default("parallel")


@overload
def summarize(source: Any, *, stream: Literal[False] = False, **options: Any) -> Summary: ...


@overload
def summarize(source: Any, *, stream: Literal[True], **options: Any) -> SummaryStream: ...


def summarize(
    source: Any,
    *,
    query: str | None = None,
    models: Models = None,
    method: Method = "map_reduce",
    cite: bool = False,
    top_k: int | None = None,
    strategy: Strategy = _PARALLEL,
    stream: bool = False,
    together: bool = True,
    max_tokens: int | None = None,
    group_by: Literal["heading"] | None = None,
    job_id: str | None = None,
    timeout_s: float | None = None,
    runner: MapReduceRunner | None = None,
    **settings: Any,
) -> Summary | SummaryStream:
    """Summarise a document of any size, or many: a str is text, a Path is read, an iterable is many.

    ``query``: summarise what is said about it. ``top_k``: only of the chunks that have most to do with it.
    ``method``: "map_reduce"; "refine", a running summary, in order; "extract", sentences of the text, without a model.
    ``cite``: statements rest on quotes that were looked up; the text names them as [1], [2, 3]. ``together``: one
    summary over all documents; else ``texts`` has one each. ``max_tokens``: of each answer; None: half as many as its
    text. ``group_by="heading"``: sections are joined first. ``stream``: an iterator over ``SummaryProgress``, then
    pieces of the text as the model writes it; its ``summary`` is the whole. ``settings`` are those of
    :class:`MapReduceRunner`. Raises ConfigError, and what ``run()`` raises.
    """
    job = _Job(query, method, cite, top_k, together, max_tokens, group_by)
    job.check()
    own = runner is None
    if runner is None:
        if not isinstance(strategy, _Default):
            settings["strategy"] = strategy
        runner = summary_runner(job_id, models=models, method=method, **settings)
    elif models is not None or settings:
        given = ", ".join(sorted({*settings, *(("models",) if models is not None else ())}))
        raise ConfigError(f"{given}: settings of the runner that is given", setting=given.split(",")[0])
    work = _Work(job, source, runner, None if own else job_id, timeout_s, own=own)
    if stream:
        return SummaryStream(work.with_progress, runner.stop)
    return work.done()


@dataclass(frozen=True, slots=True)
class _Work:
    """A summary to be made."""

    job: _Job
    source: Any
    runner: MapReduceRunner
    job_id: str | None
    timeout_s: float | None
    own: bool

    def __post_init__(self) -> None:
        self.plan()  # what cannot be is told at once

    def plan(self) -> _Plan:
        """The functions of the job. ConfigError: its model cannot do it."""
        return self.job.plan(() if self.job.method == "extract" else self.runner.models)

    def done(self, on_text: OnText | None = None, on_step: OnStep | None = None) -> Summary:
        """The summary."""
        plan = self.plan()
        try:
            run = self.runner.run(
                self.source,
                plan.map_fn,
                plan.reduce_fn,
                job_id=self.job_id,
                per_document=not self.job.together,
                timeout_s=self.timeout_s,
                on_text=on_text,
                on_step=on_step,
            )
        finally:
            if self.own:
                self.runner.close()
        return plan.summary(run)

    def with_progress(self, report: Callable[[Any], None]) -> Summary:
        """The summary; ``report`` is given its progress, and its text as it is written."""

        def failed(event: Any) -> None:
            facts = (event.done, event.total, event.progress, event.document_id, event.chunk_id)
            report(SummaryProgress("map", *facts))

        def step(step: Step) -> None:
            last = not step.final and step.round > 0 and step.total == 1 and self.job.together
            if not last:  # that one is the text, which is shown as it is written
                stage = "document" if step.final else "reduce" if step.round else "map"
                share = step.done / step.total if step.total else 1.0
                text = part_text(step.value)
                report(SummaryProgress(stage, step.done, step.total, share, step.document_id, step.chunk_id, text))

        def reducing(event: Any) -> None:
            report(SummaryProgress("reduce", 0, event.results, 0.0))

        writing = Writing(report, cited=self.job.cite)
        callbacks = {"chunk:failed": failed, "reduce:start": reducing}
        for name, callback in callbacks.items():
            self.runner.on(name, callback)
        try:
            summary = self.done(writing.piece, step)
        finally:
            for name, callback in callbacks.items():
                self.runner.off(name, callback)
        writing.end(summary.text)
        return summary


def summary_runner(
    job_id: str | None = None,
    *,
    models: Models = None,
    method: Method = "map_reduce",
    keys: bool = True,
    **settings: Any,
) -> MapReduceRunner:
    """The runner that ``summarize()`` uses where none is given: chunks as the models need them, and many at once.

    Without ``keys`` it is for an estimate alone, which needs neither a key nor a model.
    """
    if method == "extract":
        return MapReduceRunner(job_id, models=models, **settings)
    try:
        resolved = resolve_models(_named(models), limits=settings.get("limits"), keys=keys)
    except ConfigError:
        if keys or models is not None:
            raise
        return MapReduceRunner(job_id, **_sized(settings))
    if _is_small(resolved):
        from mrengine.providers.local.embedded import TARGET_TOKENS

        settings = {"target_tokens": TARGET_TOKENS, "overlap_tokens": 0, "workers": 1, **settings}
    else:
        settings = _sized(settings)
    return MapReduceRunner(job_id, models=[model.spec for model in resolved], **settings)


def _named(models: Models) -> Models:
    """The models that were given; those of the environment where none were."""
    from mrengine.settings import Settings

    return models if models is not None else Settings.of({}).models


def _sized(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Chunks that fit the window, and as many calls at once as make a long text short; what is said beats both."""
    given = {name for name in ("target_tokens", "workers", "slots") if os.environ.get(f"MRENGINE_{name.upper()}")}
    wanted: dict[str, Any] = {"target_tokens": "fit", "slots": 15}
    if "workers" in settings:
        wanted["slots"] = max(1, AT_ONCE // settings["workers"])
    elif not {"workers", "slots"} & {
        *given,
        *settings,
    }:  # calls wait: more processes than cores only take longer to start
        workers = min(5, max(2, os.cpu_count() or 2))
        wanted |= {"workers": workers, "slots": AT_ONCE // workers}
    return {**{name: value for name, value in wanted.items() if name not in given}, **settings}


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked for."""

    query: str | None
    method: str
    cite: bool
    top_k: int | None
    together: bool
    max_tokens: int | None
    group_by: Any

    def check(self) -> None:
        """ConfigError: it cannot be, whatever the documents and models are."""
        if self.method not in METHODS:
            raise ConfigError(f"method={self.method!r}: it is one of {', '.join(map(repr, METHODS))}", setting="method")
        if self.query is not None and not isinstance(self.query, str):
            raise ConfigError(f"query is a str, not of type {type(self.query).__name__}", setting="query")
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise ConfigError(f"top_k={self.top_k!r}: a whole number, 1 or more", setting="top_k")
        if self.top_k is not None and not (self.query or "").strip():
            raise ConfigError("top_k= chooses chunks by a query: give query=, too", setting="top_k")
        if self.max_tokens is not None and (type(self.max_tokens) is not int or self.max_tokens < 1):
            raise ConfigError(f"max_tokens={self.max_tokens!r}: a whole number, 1 or more", setting="max_tokens")
        check_group_by(self.group_by)
        if self.group_by is not None and self.method != "map_reduce":
            raise ConfigError("group_by= is for method='map_reduce'", setting="group_by")

    def plan(self, models: Sequence[Model]) -> _Plan:
        """The functions of the job. ConfigError: what a model cannot do."""
        if _is_small(models) and self.method != "extract":
            if self.cite or self.method == "refine":
                what = "cite=True" if self.cite else "method='refine'"
                raise ConfigError(
                    f"the embedded model cannot do {what}: name another model with models=, or take method='extract', "
                    "which cites the text's own sentences and calls no model",
                    setting="cite" if self.cite else "method",
                )
            map_fn, tree = small_functions(self.query)
            return _Plan(self, self._chosen(map_fn), tree, None)
        if self.method == "extract":
            return self._extracting()
        asked = Asked(self.query if (self.query or "").strip() else None, self.max_tokens, _most_tokens(models))
        return self._citing(asked) if self.cite else self._plain(asked)

    def _chosen(self, map_fn: Any) -> Any:
        return map_fn if self.top_k is None else TopKMap(map_fn, self.query or "", self.top_k)

    def _plain(self, asked: Asked) -> _Plan:
        merge = _Texts()
        if self.method == "refine":
            return _Plan(self, self._chosen(RefineMap(asked.map())), _tree(asked.refine(), merge, running=True), None)
        tree = _tree(asked.reduce(), merge, group_by=self.group_by)
        return _Plan(self, self._chosen(asked.map()), tree, None)

    def _citing(self, asked: Asked) -> _Plan:
        merge = CitedMerge()
        if self.method == "refine":
            tree = _tree(asked.cited_refine(), merge, running=True)
        else:
            tree = _tree(asked.cited(), merge, group_by=self.group_by)
        return _Plan(self, self._chosen(asked.claims()), tree, merge)

    def _extracting(self) -> _Plan:
        return _Plan(self, self._chosen(ExtractMap(self.query, self._extract_tokens)), None, CitedMerge())

    @property
    def _extract_tokens(self) -> int:
        return self.max_tokens or EXTRACT_TOKENS

    def extracts(self, merge: CitedMerge, results: Sequence[ChunkResult]) -> dict[str, Noted | None]:
        """What is taken of the sentences that the chunks have given, of each document or of all."""
        numbers: dict[str, list[int]] = {"all": []} if self.together else {r.document_id: [] for r in results}
        merge.first(results)
        for number, claim in enumerate(merge.claims, 1):
            numbers["all" if self.together else claim.document_id].append(number)
        taken: dict[str, Noted | None] = {}
        for name, own in numbers.items():
            kept = extracted([merge.claims[number - 1] for number in own], self.query, self._extract_tokens)
            taken[name] = Noted("", tuple(own[at] for at in kept)) if kept else None
        return taken


class _Texts(ValueMerge):
    """Summaries as they are; a chunk that was left out has none."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """See Merge."""
        return [None if is_left_out(result.result) else result.result for result in results]


def _tree(prompt: Any, merge: Any, *, running: bool = False, group_by: Any = None) -> TreeReduce:
    return TreeReduce(prompt, group_by=group_by, running=running, most_tokens=MOST_MERGED, merge=merge)


def _is_small(models: Sequence[Model]) -> bool:
    return any(model.kind == "local" for model in models)


def _most_tokens(models: Sequence[Model]) -> int | None:
    """What all of the models can say in one answer, as far as that is known; a quarter of a window at most."""
    known = [model.max_output for model in models if model.max_output is not None]
    quarters = [model.context_window // 4 for model in models if model.context_window is not None]
    return max(1, min([*known, *quarters])) if known or quarters else None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The functions of a job, and how its result becomes a summary. ``merge``: of its claims, where it has some."""

    job: _Job
    map_fn: Any
    reduce_fn: Any
    merge: CitedMerge | None

    def summary(self, run: RunResult) -> Summary:
        """The whole."""
        left_out = tuple(result.chunk_id for result in run.results if is_left_out(result.result))
        extract = self.job.method == "extract"
        if extract and self.merge is not None:
            answers: dict[str, Any] = dict(self.job.extracts(self.merge, run.results))
        else:
            answers = {"all": run.result} if self.job.together else dict(run.result)
        if self.merge is None:
            texts = {name: str(text or "").strip() for name, text in answers.items()}
            return self._made(run, texts, None, left_out)
        done = finished(self.merge, answers, tell=not extract)
        bare = extract and not self.job.cite
        texts = {name: renumbered(text, {}) for name, text in done.texts.items()} if bare else done.texts
        return self._made(run, texts, done, left_out)

    def _made(self, run: RunResult, texts: dict[str, str], done: Finished | None, left_out: tuple[int, ...]) -> Summary:
        text = "\n\n".join(text for text in texts.values() if text)
        own = {} if self.job.together else texts
        if done is None:
            return Summary(text, run.job_id, run, own, left_out=left_out)
        chunks = {result.chunk_id for result in run.results} | {
            failure.chunk_id for failure in run.failures if failure.chunk_id >= 0
        }
        uncovered = tuple(sorted(chunks - done.covered - set(left_out)))
        return Summary(
            text,
            run.job_id,
            run,
            own,
            claims=done.claims,
            citations=done.citations,
            unsupported=done.unsupported,
            uncovered=uncovered,
            left_out=left_out,
            contradictions=done.contradictions,
        )
