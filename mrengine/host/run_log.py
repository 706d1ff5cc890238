"""Logs a run to the ``mrengine`` logger at INFO: its start, its progress once a minute, its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from mrengine.host.run_summary import SummaryBuilder
from mrengine.records import RunSummary

__all__ = ["RunLog"]

log = logging.getLogger("mrengine")
EVERY_S = 60.0


class RunLog:
    """Logs the lines of one run, from its ``counts``."""

    def __init__(self, counts: SummaryBuilder, job_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts, self._job_id, self._clock = counts, job_id, clock
        self._began = self._due = 0.0
        self.started = False

    def start(self, *, workers: int, models: Sequence[str]) -> None:
        """Log that the map round begins, or was done before."""
        self._began, self.started = self._clock(), True
        self._due = self._began + EVERY_S
        pool = f"{_plural(workers, 'worker')}, {'models' if len(models) > 1 else 'model'} {', '.join(models) or 'none'}"
        done = f"{self._counts.resumed} of them done by earlier runs"
        log.info("job %s starts: %s, %s; %s", self._job_id, _chunks(self._counts), done, pool)

    def tick(self) -> None:
        """Log the progress, if a minute has passed."""
        if not self.started or (now := self._clock()) < self._due:
            return
        self._due = now + EVERY_S
        counts = self._counts
        # The rate of this run alone: resumed chunks took no time. While the total grows, no time left can be told.
        new = counts.processed + counts.failed
        left_s = (counts.total - counts.done) * (now - self._began) / new if new and not counts.so_far else None
        words = [f"{counts.done - counts.failed} of {_chunks(counts)} done", f"{counts.failed} failed"]
        words += _spent(counts.summary(0.0))
        if left_s is not None:
            words.append(f"about {_span(left_s)} left")
        log.info("job %s: %s", self._job_id, ", ".join(words))

    def end(self, state: str, summary: RunSummary) -> None:
        """Log how the run has ended."""
        done = summary.resumed_chunks + summary.processed_chunks
        words = [f"{done} of {_plural(summary.total_chunks, 'chunk')} done", f"{summary.failed_chunks} failed"]
        words += _spent(summary)
        log.info(
            "job %s ended (%s) after %s: %s", self._job_id, state, _span(summary.duration_ms / 1e3), ", ".join(words)
        )


def _spent(summary: RunSummary) -> list[str]:
    """The tokens and cost of this run; nothing if nothing was bought."""
    tokens = sum(usage.total_tokens for usage in summary.usage.values())
    if not summary.usage:
        return []
    cost = "cost unknown" if summary.cost_usd is None else f"${summary.cost_usd:.4f}"
    return [f"{_plural(tokens, 'token')}", cost]


def _chunks(counts: SummaryBuilder) -> str:
    return _plural(counts.total, "chunk") + " so far" * counts.so_far


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
