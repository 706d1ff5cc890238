"""Owns the end of a run that has its results: the reduce function and what it is given, or a reduce by prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mrengine.host.job_run import JobRun
from mrengine.host.tree_reduce import play_tree
from mrengine.log.view.results import Results
from mrengine.records import ChunkFailure, ChunkResult, RunResult
from mrengine.reducers.tree import TreeReduce

__all__ = ["reduce_run"]

log = logging.getLogger("mrengine")


def reduce_run(run: JobRun, reduce_fn: Callable[[Any], Any] | TreeReduce | None, *, per_document: bool) -> RunResult:
    """The run's result, once all chunks have an outcome. Raises JobFailed, and what ``reduce_fn`` raises."""
    run.check_failures()
    assert run.relay is not None
    results = run.relay.results()
    if reduce_fn is not None or per_document:
        run.relay.emit("reduce:start", results=len(results))
    if isinstance(reduce_fn, TreeReduce):
        value = play_tree(run, reduce_fn, results, per_document=per_document)
        run.complete()
    else:
        run.complete()  # the job is free while the caller's own function runs
        try:
            value = _reduced(results, reduce_fn, per_document=per_document)
        except Exception as error:
            if run.parts.keep == "on_failure":  # it has no name of the caller's
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
