"""Owns which workers must go: overdue, too large, stopped by a signal. What is in a worker is the engine's to write."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import CrashBisection
from mrengine.engine.prefetch import PrefetchWindow
from mrengine.engine.round import RoundSettings

__all__ = ["HANG_GRACE_S", "Worker", "WorkerHealth", "WorkerMonitor"]

HANG_GRACE_S = 2.0  # past its deadline a task has this long to notice by itself


@dataclass(slots=True)
class Worker:
    """The engine's view of one worker, read by the watch; ``flight`` maps a task's key to the model it was given."""

    flight: dict[int, int]
    cells: CrashBisection
    pace: PrefetchWindow
    began: float  # when it was last started
    ready: bool = False
    in_cell: bool = False
    died: bool = False


@dataclass(slots=True)
class WorkerHealth:
    """The watch's view of one worker process."""

    retire_at: float | None = None  # set: takes nothing new, and is replaced when idle or at this time
    reason: str = ""  # why it is replaced
    overdue: frozenset[int] = frozenset()
    stopped: bool = False  # by a signal, when it was last looked at
    killed: bool = False  # its end was decided here

    def explains(self, exitcode: int | None) -> bool:
        """Whether it ended because it was to be replaced: one that crashes before that did it by itself."""
        return self.killed and exitcode in (None, -signal.SIGKILL)


class WorkerMonitor:
    """Looks at workers now and then. ``key(chunk, model)``: what ``flight`` calls a task."""

    def __init__(self, backend: m.Backend, settings: RoundSettings, key: Callable[[int, int], int]) -> None:
        self._backend, self._settings, self._key = backend, settings, key
        self._marks = [WorkerHealth() for _ in range(backend.workers)]

    def starts_too_long(self, worker: Worker, now: float) -> bool:
        """Whether its initializer and its imports have had the time of a task."""
        return not worker.ready and worker.began < now - self._settings.chunk_timeout_s - HANG_GRACE_S

    def retires(self, index: int) -> bool:
        """Whether a worker takes nothing new."""
        return self._marks[index].retire_at is not None

    def must_go(self, index: int, worker: Worker, now: float) -> bool:
        """Whether a worker is to be killed now; one that is to be replaced later is marked."""
        mark, overdue = self._marks[index], self._overdue(index, worker, now)
        if mark.retire_at is None and overdue:
            mark.retire_at, mark.reason = now + self._settings.drain_s, "a task ran too long in it"
        elif mark.retire_at is None and worker.ready and self._too_large(index):
            # What it began last has its time before that, and counts as a hang if it hangs.
            mark.retire_at = now + self._settings.chunk_timeout_s + 2 * HANG_GRACE_S
            mark.reason = "it held more than max_worker_rss"
        mark.stopped, before = self._backend.stopped(index), mark.stopped
        if mark.stopped and before:  # twice: whoever stopped the whole tree lets it go on one by one
            mark.retire_at, mark.reason = now, "it was stopped by a signal"
        if mark.retire_at is None:
            return False
        mark.overdue |= overdue
        if now >= mark.retire_at or worker.flight.keys() <= mark.overdue:
            mark.killed = True
        return mark.killed

    def died(self, index: int) -> WorkerHealth:
        """What was known of a worker that is gone; another takes its place."""
        mark, self._marks[index] = self._marks[index], WorkerHealth()
        return mark

    def _overdue(self, index: int, worker: Worker, now: float) -> frozenset[int]:
        late = now - self._settings.chunk_timeout_s - HANG_GRACE_S
        running = self._backend.started(index)
        return frozenset(self._key(s.chunk, s.model) for s in running if s.since < late) & worker.flight.keys()

    def _too_large(self, index: int) -> bool:
        """A worker that leaks is replaced when its tasks have ended; it costs them nothing."""
        limit = self._settings.max_worker_rss
        return limit is not None and self._backend.resident(index) > limit
