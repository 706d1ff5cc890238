"""Owns what the engine knows of each worker, and which of them must go: overdue, too large, stopped by a signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrengine.engine import messages as m
from mrengine.engine.attempts import Cells
from mrengine.engine.pace import Pace
from mrengine.engine.round import RoundSettings

__all__ = ["HANG_GRACE_S", "Watch", "Worker"]

HANG_GRACE_S = 2.0  # past its deadline a task has this long to notice by itself


@dataclass(slots=True)
class Worker:
    """The engine's view of one worker; ``flight`` maps a task's key to the model it was given."""

    flight: dict[int, int]
    cells: Cells
    pace: Pace
    began: float  # when it was last started
    ready: bool = False
    in_cell: bool = False
    retire_at: float | None = None  # set: takes nothing new, and is replaced when idle or at this time
    reason: str = ""  # why it is replaced
    overdue: frozenset[int] = frozenset()
    died: bool = False
    stopped: bool = False  # by a signal, when it was last looked at


class Watch:
    """Looks at workers now and then. ``key(chunk, model)``: what ``flight`` calls a task."""

    def __init__(self, backend: m.Backend, settings: RoundSettings, key: Callable[[int, int], int]) -> None:
        self._backend, self._settings, self._key = backend, settings, key

    def starts_too_long(self, worker: Worker, now: float) -> bool:
        """Whether its initializer and its imports have had the time of a task."""
        return not worker.ready and worker.began < now - self._settings.chunk_timeout_s - HANG_GRACE_S

    def must_go(self, index: int, worker: Worker, now: float) -> bool:
        """Whether a worker is to be killed now; one that is to be replaced later is marked."""
        overdue = self._overdue(index, worker, now)
        if worker.retire_at is None and overdue:
            worker.retire_at, worker.reason = now + self._settings.drain_s, "a task ran too long in it"
        elif worker.retire_at is None and worker.ready and self._too_large(index):
            worker.retire_at, worker.reason = now + self._settings.chunk_timeout_s, "it held more than max_worker_rss"
        worker.stopped, before = self._backend.stopped(index), worker.stopped
        if worker.stopped and before:  # twice: whoever stopped the whole tree lets it go on one by one
            worker.retire_at, worker.reason = now, "it was stopped by a signal"
        if worker.retire_at is None:
            return False
        worker.overdue |= overdue
        return now >= worker.retire_at or worker.flight.keys() <= worker.overdue

    def _overdue(self, index: int, worker: Worker, now: float) -> frozenset[int]:
        late = now - self._settings.chunk_timeout_s - HANG_GRACE_S
        running = self._backend.started(index)
        return frozenset(self._key(s.chunk, s.model) for s in running if s.since < late) & worker.flight.keys()

    def _too_large(self, index: int) -> bool:
        """A worker that leaks is replaced when its tasks have ended; it costs them nothing."""
        limit = self._settings.max_worker_rss
        return limit is not None and self._backend.resident(index) > limit
