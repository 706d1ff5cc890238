"""Counts what happened in one run, for its summary, and times its stages, for a collector."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import msgpack

from mrengine.errors import SourceError
from mrengine.job.driver import Note
from mrengine.log.format.task_records import CallRecord, ResultRecord
from mrengine.profiling import PerformanceCollector, ProfilerContext
from mrengine.records import RunSummary, Throughput, Usage, cost_sum

__all__ = ["StageTimes", "SummaryBuilder", "stage"]

MOST_MESSAGES = 20  # different messages that a summary has at most


class SummaryBuilder:
    """Counts the records of one run as they are read from the log."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self.total = self.resumed = self.processed = self.failed = 0
        self.so_far = False  # ``total`` is still growing
        self.retries = self.reused_calls = self.worker_restarts = self.rate_limited = 0
        self.usage: dict[str, Usage] = {}
        self._cost: float | None = 0.0
        self._calls = 0
        self._errors: Counter[str] = Counter()
        self._troubles: set[str] = set()
        self.trouble = ""  # why the latest call that was made again had failed
        self.warnings: list[str] = []
        self.unread: tuple[SourceError, ...] = ()  # the errors of sources that were left out

    def call(self, model: str, usage: Usage, cost_usd: float | None) -> None:
        """Count an answer that was bought in this run."""
        self._calls += 1
        self.usage[model] = self.usage.get(model, Usage()) + usage
        self._cost = cost_sum(self._cost, cost_usd)

    def failure(self, message: str) -> None:
        """Count a chunk that failed, with its redacted message."""
        self.failed += 1
        if message in self._errors or len(self._errors) < MOST_MESSAGES:
            self._errors[message] += 1

    def call_retry(self, error: str, *, limited: bool) -> bool:
        """Count a call that failed and is made again; whether its error is new."""
        self.retries += 1
        self.rate_limited += limited
        self.trouble = error
        new = error not in self._troubles and len(self._troubles) < MOST_MESSAGES
        if new:
            self._troubles.add(error)
        return new

    @property
    def done(self) -> int:
        """Chunks that have an outcome, resumed ones included."""
        return self.resumed + self.processed + self.failed

    @property
    def progress(self) -> int:
        """A number that grows with each outcome and each answer of this run."""
        return self.done + self._calls

    def summary(self, duration_ms: float) -> RunSummary:
        """The summary so far."""
        seconds = max(duration_ms / 1e3, 1e-9)
        tokens = sum(usage.total_tokens for usage in self.usage.values())
        warnings = list(self.warnings)
        if models := sorted(model for model, usage in self.usage.items() if usage.estimated):
            warnings.append(f"{', '.join(models)} did not tell all of what was used: tokens and cost are estimates")
        errors = tuple(f"{message} ({n} chunks)" if n > 1 else message for message, n in self._errors.most_common())
        return RunSummary(
            job_id=self._job_id,
            total_chunks=self.total,
            processed_chunks=self.processed,
            failed_chunks=self.failed,
            resumed_chunks=self.resumed,
            retries=self.retries,
            reused_calls=self.reused_calls,
            worker_restarts=self.worker_restarts,
            rate_limited=self.rate_limited,
            duration_ms=duration_ms,
            throughput=Throughput(self.processed / seconds, tokens / seconds),
            usage=dict(self.usage),
            cost_usd=self._cost,
            errors=errors,
            warnings=tuple(warnings),
            unread_sources=tuple(error.source or "" for error in self.unread),
        )


class StageTimes:
    """Fills a collector with the stages of a run, from what the host receives anyway: the log, and notes.

    The host's own stages are timed by ``stage()``. "map function" is what a task took without its calls; waits for the
    budget are in it.
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
