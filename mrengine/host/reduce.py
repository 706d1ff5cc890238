"""Owns the end of a run that has its results: the reduce function, or the levels of a reduce by prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mrengine.host.grouping import reduced
from mrengine.host.run import JobRun
from mrengine.host.tree import play_tree
from mrengine.records import RunResult
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
            value = reduced(results, reduce_fn, per_document=per_document)
        except Exception as error:
            if run.parts.keep == "on_failure":  # it has no name of the caller's
                told = "reduce_fn raised %s; the results of job %s are kept: run it again with job_id=%r"
                log.warning(told, type(error).__name__, run.job_id, run.job_id)
            raise
    return RunResult(value, run.completed(), results, results.failures)
