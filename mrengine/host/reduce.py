"""Reduces the results of a run, by the caller's function or by the rounds of a reduce by prompt."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from mrengine.host.chunk_limits import AUTO_TARGET
from mrengine.host.job_run import JobRun
from mrengine.host.log_follower import Step
from mrengine.host.run_summary import stage
from mrengine.host.stored import headings_of
from mrengine.log.format.instances import instance_of
from mrengine.log.view.results import Results
from mrengine.mapfn.describe import MapFunction
from mrengine.mapfn.pickling import pack_function
from mrengine.outputs.run_result import RunResult
from mrengine.records import ChunkFailure, ChunkResult
from mrengine.reducers.tree import TreeReduce

__all__ = ["reduce_run"]

log = logging.getLogger("mrengine")


def reduce_run(run: JobRun, reduce_fn: Callable[[Any], Any] | TreeReduce | None, *, per_document: bool) -> RunResult:
    """Make the run's result, when all chunks have an outcome. Raises JobFailed, and what ``reduce_fn`` raises."""
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
            if run.config.keep == "on_failure":  # a job without a name of its own: tell the caller how to find it
                message = "reduce_fn raised %s; the results of job %s are kept: run it again with job_id=%r"
                log.warning(message, type(error).__name__, run.job_id, run.job_id)
            raise
    return RunResult(value, run.completed(), results, results.failures, run.counts.unread)


def _reduced(results: Results, reduce_fn: Callable[[Any], Any] | None, *, per_document: bool) -> Any:
    """The value of ``reduce_fn`` over all results, or for each document over its own; without it, the results."""
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


@dataclass(frozen=True, slots=True)
class _Item:
    """A value to be merged, with its document (the first one, if all are reduced together) and its headings."""

    name: str
    heads: tuple[str, ...]
    value: Any


def _place_of_text(run: JobRun) -> Path:
    """The job's spool; for a finished job without one, the text that was read in this run."""
    ready = run.ready
    if ready.fresh is None or ready.spool.exists():
        return ready.spool
    ready.fresh.flush()
    return ready.fresh.path


def _play_tree(run: JobRun, tree: TreeReduce, results: Sequence[ChunkResult], *, per_document: bool) -> Any:
    """The answer over all results, or ``{document_id: answer}``. Raises what a round raises."""
    first = results[0].document_id
    heads = headings_of(run.follower.view, _place_of_text(run)) if tree.group_by == "heading" else {}
    items = [
        _Item(r.document_id if per_document else first, heads.get(r.chunk_id, ()), value)
        for r, value in zip(results, tree.merge.first(results), strict=True)
        if value is not None
    ]
    kind = getattr(tree.prompt, "result_type", None)
    mapping = MapFunction(
        version=tree.prompt.map_version,
        name="tree_reduce",
        python="",
        source=None,
        blob=pack_function(tree.prompt, setting="reduce_fn"),
        function=tree.prompt,
    )
    limit = _limit(run, tree)
    level, events = 0, _LevelEvents(run, {result.document_id for result in results} if per_document else set())
    events.ends(items)
    while len({item.name for item in items}) < len(items):
        level += 1
        # One item alone needs no call, and goes up a level as it is; each level is a round of the log, so it resumes.
        groups = _groups(items, tree, limit)
        inputs = [(group[0].name, _text(tree, group)) for group in groups if len(group) > 1]
        played = run.play_round(level, inputs, mapping, last=len(groups) == 1)
        answers = (instance_of(kind, result.result, made=True) for result in played)
        items = [_merged(tree, group, next(answers)) if len(group) > 1 else group[0] for group in groups]
        items = [item for item in items if item.value is not None]
        events.ends(items)
    answers_of = {result.document_id: None for result in results} | {item.name: item.value for item in items}
    return answers_of if per_document else answers_of[first]


class _LevelEvents:
    """Announces the answer of each document as soon as it is known."""

    def __init__(self, run: JobRun, waiting: set[str]) -> None:
        self._tell = run.follower.on_step
        self._waiting, self._total = waiting, len(waiting)

    def ends(self, items: Sequence[_Item]) -> None:
        """Announce the documents that have one item left, or none: they are done."""
        if self._tell is None or not self._waiting:
            return
        counts = Counter(item.name for item in items)
        values = {item.name: item.value for item in items}
        for name in [name for name in sorted(self._waiting) if counts[name] < 2]:
            self._waiting.remove(name)
            done = self._total - len(self._waiting)
            self._tell(Step(0, done, self._total, name, None, values.get(name), final=True))


def _text(tree: TreeReduce, group: Sequence[_Item]) -> str:
    if tree.running:
        return json.dumps([tree.merge.text([item.value]) for item in group], ensure_ascii=False)
    return tree.merge.text([item.value for item in group])


def _merged(tree: TreeReduce, group: Sequence[_Item], answer: Any) -> _Item:
    value = tree.merge.merged(answer, [item.value for item in group])
    return _Item(group[0].name, _common([item.heads for item in group]), value)


def _limit(run: JobRun, tree: TreeReduce) -> int:
    """How many tokens one call merges: from the log, so that each run of the job makes the same groups."""
    epoch = run.follower.view.epoch
    settings = {} if epoch is None else epoch.job.settings
    # Other groups would be other inputs: rounds that the log has would be played, and paid for, once more.
    cut, room = settings.get("cut_tokens"), settings.get("room_tokens")
    limit = cut if isinstance(cut, int) else AUTO_TARGET
    if tree.most_tokens is not None and isinstance(room, int):
        limit = max(min(tree.most_tokens, room), min(limit, room))
    return limit


def _groups(items: Sequence[_Item], tree: TreeReduce, limit: int) -> list[list[_Item]]:
    """Group neighbours of one document for one call each: as many as ``limit`` tokens hold, but at least two.

    With headings, only items below the same deepest heading are grouped.
    """
    if tree.running:
        return _first_two(items)
    depth = max((len(_common([a.heads, b.heads])) for a, b in pairwise(items) if a.name == b.name), default=0)
    from mrengine.chunking.tokens import tokenizer

    groups: list[list[_Item]] = []
    total = 0
    for item in items:
        size = tokenizer.count(tree.merge.text([item.value]))
        last = groups[-1] if groups else []
        if last and _same(last[-1], item, depth) and _has_room(len(last), total + size, limit, tree.fan_in):
            last.append(item)
            total += size
        else:
            groups.append([item])
            total = size
    return groups


def _first_two(items: Sequence[_Item]) -> list[list[_Item]]:
    groups: dict[str, list[list[_Item]]] = {}
    for item in items:
        own = groups.setdefault(item.name, [])
        if len(own) == 1 and len(own[0]) == 1:
            own[0].append(item)
        else:
            own.append([item])
    return [group for own in groups.values() for group in own]


def _same(a: _Item, b: _Item, depth: int) -> bool:
    return a.name == b.name and len(a.heads) >= depth and a.heads[:depth] == b.heads[:depth]


def _common(heads: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all have in common."""
    return tuple(same[0] for same in takewhile(lambda level: len(set(level)) == 1, zip(*heads, strict=False)))


def _has_room(members: int, total: int, limit: int, fan_in: int | None) -> bool:
    if members < 2:
        return True  # otherwise a level could leave as many items as it found, and the loop would not end
    return members < fan_in if fan_in is not None else total <= limit
