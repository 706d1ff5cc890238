"""Measures the stages of a run for a collector: read, cut, wait for budget, call, map function, commit, reduce."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import msgpack

from mrengine.job.driver import Note
from mrengine.log.format.task_records import CallRecord, ResultRecord
from mrengine.profiling import PerformanceCollector, ProfilerContext

__all__ = ["StageTimes", "stage"]


class StageTimes:
    """Fills a collector from what the host receives anyway: the log, and notes.

    "map function" is what a task took without its calls; waits for the budget are in it.
    """

    def __init__(self, collector: PerformanceCollector) -> None:
        self._collector = collector
        self._calls: dict[tuple[int, int, int], float] = {}  # ms, of tasks that have not ended

    def call(self, record: CallRecord) -> None:
        """Record a call."""
        self._collector.record("call", max(0.0, record.latency_ms))
        task = record.round, record.chunk_id, record.model_index
        self._calls[task] = self._calls.get(task, 0.0) + record.latency_ms

    def result(self, record: ResultRecord) -> None:
        """Record a task that ended, without the time of its calls."""
        # An answer from a batch has the latency of the batch, which is longer than the task that reads it: hence max().
        called = self._calls.pop((record.round, record.chunk_id, record.model_index), 0.0)
        self._collector.record("map function", max(0.0, record.duration_ms - called))

    def note(self, note: Note) -> None:
        """Record a wait for the budget, or the measurements of a worker or the supervisor."""
        if note.name == "budget:waited":
            self._collector.record("wait for budget", max(0.0, note.fields["wait_ms"]))
        else:
            self._collector.merge((name, ms) for name, ms in msgpack.unpackb(note.fields["records"]))


def stage(collector: PerformanceCollector | None, name: str) -> Any:
    """A context that records how long a stage of the host's own took; nothing without a collector."""
    return nullcontext() if collector is None else ProfilerContext(name, collector=collector)
