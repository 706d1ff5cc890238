"""The end of a run that has its results: the caller's reduce function, or the levels of a reduce by prompt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrengine.host.job_identity import AUTO_TARGET
from mrengine.host.job_run import JobRun
from mrengine.host.stage_times import stage
from mrengine.log.format.instances import instance_of
from mrengine.log.format.values import normalise
from mrengine.log.view.results import Results
from mrengine.mapfn.describe import MapFunction
from mrengine.mapfn.pickling import pack_function
from mrengine.outputs.run_result import RunResult
from mrengine.records import ChunkFailure, ChunkResult
from mrengine.reducers.tree import TreeReduce

__all__ = ["groups_of", "reduce_run"]

log = logging.getLogger("mrengine")
SEPARATOR = "\n\n"
Item = tuple[str, Any]


def reduce_run(run: JobRun, reduce_fn: Callable[[Any], Any] | TreeReduce | None, *, per_document: bool) -> RunResult:
    """The run's result, once all chunks have an outcome. Raises JobFailed, and what ``reduce_fn`` raises."""
    run.check_failures()
    results = run.follower.results()
    if reduce_fn is not None or per_document:
        run.follower.emit("reduce:start", results=len(results))
    if isinstance(reduce_fn, TreeReduce):
        with stage(run.config.settings.collector, "reduce"):
            value = _play_tree(run, reduce_fn, results, per_document=per_document)
        run.complete()
    else:
        run.complete()  # the job is free while the caller's own function runs
        try:
            with stage(run.config.settings.collector, "reduce"):
                value = _reduced(results, reduce_fn, per_document=per_document)
        except Exception as error:
            if run.config.keep == "on_failure":  # it has no name of the caller's
                told = "reduce_fn raised %s; the results of job %s are kept: run it again with job_id=%r"
                log.warning(told, type(error).__name__, run.job_id, run.job_id)
            raise
    return RunResult(value, run.completed(), results, results.failures, run.tally.unread)


def _reduced(results: Results, reduce_fn: Callable[[Any], Any] | None, *, per_document: bool) -> Any:
    """The value of ``reduce_fn`` over all results, or over those of each document; the results where there is none."""
    if not per_document:
        return results if reduce_fn is None else reduce_fn(results)
    groups: dict[str, _Group] = {}
    for result in results:
        groups.setdefault(result.document_id, _Group()).append(result)
    for failure in results.failures:
        if failure.document_id in groups:
            groups[failure.document_id].failures.append(failure)
    return {name: group if reduce_fn is None else reduce_fn(group) for name, group in groups.items()}


class _Group(list[ChunkResult]):
    """The results of one document, with its failures beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[ChunkFailure] = []


def _play_tree(run: JobRun, tree: TreeReduce, results: Sequence[ChunkResult], *, per_document: bool) -> Any:
    """The answer over all results, or ``{document_id: answer}``. Raises what a round raises."""
    first = results[0].document_id
    items: list[Item] = [(r.document_id if per_document else first, r.result) for r in results if r.result is not None]
    kind = getattr(tree.prompt, "result_type", None)
    mapping = MapFunction(
        version=tree.prompt.map_version,
        name="tree_reduce",
        python="",
        source=None,
        blob=pack_function(tree.prompt, setting="reduce_fn"),
        function=tree.prompt,
    )
    limit = _cut_tokens(run) or AUTO_TARGET
    level = 0
    while len({name for name, _ in items}) < len(items):
        level += 1
        groups = groups_of(items, limit, tree.fan_in)
        played = run.play_round(level, groups, mapping)
        items = [
            (result.document_id, instance_of(kind, result.result, made=True))
            for result in played
            if result.result is not None
        ]
    answers = {result.document_id: None for result in results} | dict(items)
    return answers if per_document else answers[first]


def _cut_tokens(run: JobRun) -> int | None:
    """What the job's chunks were cut to, in every run of it."""
    epoch = run.follower.view.epoch
    found = None if epoch is None else epoch.job.settings.get("cut_tokens")
    return found if isinstance(found, int) else None


def groups_of(items: Sequence[Item], limit: int, fan_in: int | None) -> list[tuple[str, str]]:
    """Texts for one call each, of neighbours of one document: as many as ``limit`` tokens hold, and two at least."""
    from mrengine.chunking.tokens import tokenizer

    groups: list[tuple[str, list[str], int]] = []
    for name, value in items:
        text = _as_text(value)
        size = tokenizer.count(text)
        if groups and groups[-1][0] == name and _has_room(groups[-1], size, limit, fan_in):
            _, texts, total = groups.pop()
            groups.append((name, [*texts, text], total + size))
        else:
            groups.append((name, [text], size))
    return [(name, SEPARATOR.join(texts)) for name, texts, _ in groups]


def _has_room(group: tuple[str, list[str], int], size: int, limit: int, fan_in: int | None) -> bool:
    _, texts, total = group
    if len(texts) < 2:
        return True  # else a level could leave as many as it found
    return len(texts) < fan_in if fan_in is not None else total + size <= limit


def _as_text(value: Any) -> str:
    """A result as text for a prompt: itself, its "text", or JSON."""
    if isinstance(value, str):
        return value
    value = normalise(value)  # an instance, where results have a type
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, ensure_ascii=False, default=str)
