"""The ready-made job: a summary of documents of any size, on request with statements that can be looked up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from mrengine.errors import ConfigError
from mrengine.host.log_follower import OnStep, OnText, Step
from mrengine.outputs.run_result import RunResult
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import ChunkResult
from mrengine.reducers.tree import TreeReduce, ValueMerge, check_group_by
from mrengine.runner import MapReduceRunner
from mrengine.selection import TopKMap, is_left_out
from mrengine.setting_checks import check_count
from mrengine.settings import Models, Settings, Strategy
from mrengine.summaries.cited import CitedMerge, CitedText, Finished, finished
from mrengine.summaries.extract import EXTRACT_TOKENS, ExtractMap, extracted
from mrengine.summaries.markers import renumbered
from mrengine.summaries.prompts import RefineMap, SummaryPrompts, small_functions
from mrengine.summaries.stream import SummaryStream, Writing, part_text
from mrengine.summaries.summary import Claim, Summary, SummaryProgress

__all__ = ["METHODS", "Claim", "Summary", "SummaryProgress", "SummaryStream", "summarize", "summary_runner"]

METHODS = ("map_reduce", "refine", "extract")
AT_ONCE = 75  # calls over all workers, where the user sets neither workers nor slots
MOST_MERGED = 30_000  # tokens of one reduce call: with more, models lose facts

Method = Literal["map_reduce", "refine", "extract"]


class _Default(str):
    """A default that can be told from the same value passed by the caller, which beats the environment."""


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

    ``query``: summarise what is said about it. ``top_k``: use only so many chunks, those that have most to do with it.
    ``method``: "map_reduce"; "refine", a running summary, in order; "extract", sentences of the text, without a model.
    ``cite``: statements rest on quotes that were looked up; the text names them as [1], [2, 3]. ``together``: one
    summary over all documents; else ``texts`` has one for each. ``max_tokens``: of each answer; None: half as many as
    its text. ``group_by="heading"``: sections are joined first. ``stream``: return an iterator over
    ``SummaryProgress``, then pieces of the text as the model writes it; its ``summary`` is the whole. ``settings`` are
    those of :class:`MapReduceRunner`. Raises ConfigError, and what ``run()`` raises.
    """
    job = _Job(query, method, cite, top_k, together, max_tokens, group_by)
    job.check()
    own = runner is None
    if runner is None:  # "parallel" by default here, but MRENGINE_STRATEGY must beat a default
        if not isinstance(strategy, _Default):
            settings["strategy"] = strategy
        runner = summary_runner(job_id, models=models, method=method, **settings)
    elif models is not None or settings:
        names = sorted({*settings, *(("models",) if models is not None else ())})
        raise ConfigError(f"{', '.join(names)}: give these to the runner that you pass", setting=names[0])
    work = _Work(job, source, runner, None if own else job_id, timeout_s, owns_runner=own)
    if stream:
        return SummaryStream(work.with_progress, runner.stop)
    return work.summary()


@dataclass(frozen=True, slots=True)
class _Work:
    """A summary job with its source and runner. ``owns_runner``: it was made for the job, and is closed after it."""

    job: _Job
    source: Any
    runner: MapReduceRunner
    job_id: str | None
    timeout_s: float | None
    owns_runner: bool

    def __post_init__(self) -> None:
        self.plan()  # a stream begins to work when it is read, but what cannot work is reported at once

    def plan(self) -> _Plan:
        """The functions of the job. ConfigError: its model cannot do it."""
        return self.job.plan(() if self.job.method == "extract" else self.runner.models)

    def summary(self, on_text: OnText | None = None, on_step: OnStep | None = None) -> Summary:
        """Run the job, and return its summary."""
        plan = self.plan()  # anew: a merge numbers the claims of one run
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
            if self.owns_runner:
                self.runner.close()
        return plan.summary(run)

    def with_progress(self, report: Callable[[Any], None]) -> Summary:
        """Run the job, and report its progress and its text as it is written."""

        def failed(event: Any) -> None:
            facts = (event.done, event.total, event.progress, event.document_id, event.chunk_id)
            report(SummaryProgress("map", *facts))

        def step(step: Step) -> None:
            last = not step.final and step.round > 0 and step.total == 1 and self.job.together
            if not last:  # the last merge is the text itself, which ``writing`` reports piece by piece
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
            summary = self.summary(writing.piece, step)
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
    """The runner of ``summarize()``: chunks as large as the models take, and many calls at once.

    Without ``keys`` it is for an estimate alone, which needs neither a key nor a model.
    """
    if method == "extract":
        return MapReduceRunner(job_id, models=models, **settings)
    named = models if models is not None else Settings.of({}).models  # those of the environment, where none are named
    try:
        resolved = resolve_models(named, limits=settings.get("limits"), keys=keys)
    except ConfigError:
        if keys or models is not None:
            raise
        return MapReduceRunner(job_id, **_sized(settings))
    if _is_small(resolved):
        from mrengine.providers.local.embedded import TARGET_TOKENS

        # More workers would not make it faster: the model server uses all cores by itself.
        settings = {"target_tokens": TARGET_TOKENS, "overlap_tokens": 0, "workers": 1, **settings}
    else:
        settings = _sized(settings)
    return MapReduceRunner(job_id, models=[model.spec for model in resolved], **settings)


def _sized(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with chunks that fit the window, and many calls at once; the user's own, and the environment's, win."""
    in_env = {name for name in ("target_tokens", "workers", "slots") if os.environ.get(f"MRENGINE_{name.upper()}")}
    defaults: dict[str, Any] = {"target_tokens": "fit", "slots": 15}
    if "workers" in settings:
        defaults["slots"] = max(1, AT_ONCE // settings["workers"])
    elif not {"workers", "slots"} & {*in_env, *settings}:
        # Calls only wait, so threads are enough: more processes than cores take longer to start, and no call is faster.
        workers = min(5, max(2, os.cpu_count() or 2))
        defaults |= {"workers": workers, "slots": AT_ONCE // workers}
    return {**{name: value for name, value in defaults.items() if name not in in_env}, **settings}


@dataclass(frozen=True, slots=True)
class _Job:
    """The arguments of ``summarize()`` that decide what is made."""

    query: str | None
    method: str
    cite: bool
    top_k: int | None
    together: bool
    max_tokens: int | None
    group_by: Any

    def check(self) -> None:
        """ConfigError: it cannot work, whatever the documents and models are."""
        if self.method not in METHODS:
            raise ConfigError(f"method={self.method!r}: it is one of {', '.join(map(repr, METHODS))}", setting="method")
        if self.query is not None and not isinstance(self.query, str):
            raise ConfigError(f"query is a str, not of type {type(self.query).__name__}", setting="query")
        check_count("top_k", self.top_k)
        if self.top_k is not None and not (self.query or "").strip():  # without words there is nothing to rank by
            raise ConfigError("top_k= chooses chunks by a query: give query=, too", setting="top_k")
        check_count("max_tokens", self.max_tokens)
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
            return self._plan(*small_functions(self.query), None)
        if self.method == "extract":
            return self._plan(ExtractMap(self.query, self._extract_tokens), None, CitedMerge())
        prompts = SummaryPrompts(self.query if (self.query or "").strip() else None, self.max_tokens, _longest(models))
        refine = self.method == "refine"
        if self.cite:
            merge = CitedMerge()
            prompt: Any = prompts.cited_refine() if refine else prompts.cited()
            return self._plan(prompts.claims(), self._tree(prompt, merge), merge)
        prompt = prompts.refine() if refine else prompts.reduce()
        return self._plan(RefineMap(prompts.map()) if refine else prompts.map(), self._tree(prompt, _Texts()), None)

    def _plan(self, map_fn: Any, reduce_fn: Any, merge: CitedMerge | None) -> _Plan:
        chosen = map_fn if self.top_k is None else TopKMap(map_fn, self.query or "", self.top_k)
        return _Plan(self, chosen, reduce_fn, merge)

    def _tree(self, prompt: Any, merge: Any) -> TreeReduce:
        how = {"group_by": self.group_by, "running": self.method == "refine"}
        return TreeReduce(prompt, most_tokens=MOST_MERGED, merge=merge, **how)

    @property
    def _extract_tokens(self) -> int:
        return self.max_tokens or EXTRACT_TOKENS

    def extracts(self, merge: CitedMerge, results: Sequence[ChunkResult]) -> dict[str, CitedText | None]:
        """The sentences to keep of those that the chunks returned, for each document or for all together."""
        numbers: dict[str, list[int]] = {"all": []} if self.together else {r.document_id: [] for r in results}
        merge.first(results)
        for number, claim in enumerate(merge.claims, 1):
            numbers["all" if self.together else claim.document_id].append(number)
        texts: dict[str, CitedText | None] = {}
        for name, own in numbers.items():
            kept = extracted([merge.claims[number - 1] for number in own], self.query, self._extract_tokens)
            texts[name] = CitedText("", tuple(own[at] for at in kept)) if kept else None
        return texts


class _Texts(ValueMerge):
    """Merges summaries as they are; a chunk that was left out has none."""

    def first(self, results: Sequence[ChunkResult]) -> list[Any]:
        """See Merge."""
        return [None if is_left_out(result.result) else result.result for result in results]


def _is_small(models: Sequence[Model]) -> bool:
    return any(model.kind == "local" for model in models)


def _longest(models: Sequence[Model]) -> int | None:
    """The longest answer that every model can give, as far as that is known; at most a quarter of a window."""
    outputs = [model.max_output for model in models if model.max_output is not None]
    quarters = [model.context_window // 4 for model in models if model.context_window is not None]
    return max(1, min([*outputs, *quarters])) if outputs or quarters else None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The functions of a job, and how its result becomes a summary. ``merge``: its claims, if it has any."""

    job: _Job
    map_fn: Any
    reduce_fn: Any
    merge: CitedMerge | None

    def summary(self, run: RunResult) -> Summary:
        """The summary of a run."""
        left_out = tuple(result.chunk_id for result in run.results if is_left_out(result.result))
        extract = self.job.method == "extract"
        if extract and self.merge is not None:
            answers: dict[str, Any] = dict(self.job.extracts(self.merge, run.results))
        else:
            answers = {"all": run.result} if self.job.together else dict(run.result)
        if self.merge is None:
            texts = {name: str(text or "").strip() for name, text in answers.items()}
            return self._of_texts(run, texts, None, left_out)
        # An extract is the text's own sentences: to add its contradictions would be to write.
        cited = finished(self.merge, answers, add_contradictions=not extract)
        bare = extract and not self.job.cite  # its claims are known all the same, but nobody wants the marks
        texts = {name: renumbered(text, {}) for name, text in cited.texts.items()} if bare else cited.texts
        return self._of_texts(run, texts, cited, left_out)

    def _of_texts(
        self, run: RunResult, texts: dict[str, str], cited: Finished | None, left_out: tuple[int, ...]
    ) -> Summary:
        text = "\n\n".join(text for text in texts.values() if text)
        by_document = {} if self.job.together else texts
        if cited is None:
            return Summary(text, run.job_id, run, by_document, left_out=left_out)
        chunks = {result.chunk_id for result in run.results} | {failure.chunk_id for failure in run.failures}
        return Summary(
            text,
            run.job_id,
            run,
            by_document,
            claims=cited.claims,
            citations=cited.citations,
            unsupported=cited.unsupported,
            uncovered=tuple(sorted(chunks - cited.covered - {*left_out, -1})),  # -1: of a source that was not read
            left_out=left_out,
            contradictions=cited.contradictions,
        )
