"""Joins rounds and batches: which tasks wait for a batch, and the log as the BatchCoordinator needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mrengine.errors import SupervisorDied
from mrengine.host.batch_budget import reserved
from mrengine.host.batches import BatchCoordinator
from mrengine.host.log_follower import LogFollower
from mrengine.host.requests import InBatches
from mrengine.job.driver import Driver, Ended
from mrengine.log.view.job_view import ResumeEngine

__all__ = ["LogPlace", "has_work", "in_batches"]

PAUSE_S = 0.1


def in_batches(batches: BatchCoordinator, follower: LogFollower, round_: int) -> InBatches:
    """What the next play of a round needs to know about its batches."""
    # Tasks that failed in this run are held, too: only another run tries them again.
    ledger, index = follower.view.state.batches, follower.view.index(round_)
    since = follower.started_at
    failed = [] if since is None else [slot for slot in index.failure_slots() if index.failure(slot) >= since]
    waiting = batches.held(ledger, round_)
    held = {chunk if index.models == 1 else chunk * index.models + model for chunk, model in waiting}
    return InBatches(
        batches.mode(ledger, since), sorted(held.union(failed)), reserved(ledger, batches.models), len(failed)
    )


def has_work(follower: LogFollower, round_: int, batches: InBatches) -> bool:
    """Whether there is a task that may run now."""
    index, held = follower.view.index(round_), frozenset(batches.held)
    keys = (chunk if index.models == 1 else chunk * index.models + model for chunk, model in index.pending())
    return any(key not in held for key in keys)


class LogPlace:
    """Implements :class:`mrengine.host.batch_log.BatchLog` over a driver and the follower of its log."""

    def __init__(
        self, driver: Driver, follower: LogFollower, tick: Callable[[], object], stopped: Callable[[], str | None]
    ) -> None:
        """``tick()`` is called at least every 0.5 s; ``stopped()``: why the run is to stop."""
        self._driver, self._follower, self._tick, self.stopped = driver, follower, tick, stopped

    @property
    def view(self) -> ResumeEngine:
        """The log, as far as it is durable."""
        return self._follower.view

    def append(self, kind: int, payload: bytes) -> None:
        self._driver.append(kind, payload)

    def sync(self) -> None:
        for _ in self._follower.follow(self._driver.sync()):
            pass

    def pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self._tick()
            for update in self._driver.receive(0.0):
                if isinstance(update, Ended):
                    raise SupervisorDied("the supervisor died while the job waited for its batches")
                self._follower.report(update)
            left_s = until - time.monotonic()
            # In short steps, although polls are minutes apart: stop(), timeouts and a dead supervisor are noticed soon.
            if left_s <= 0 or self.stopped() is not None:
                return
            time.sleep(min(PAUSE_S, left_s))

    def emit(self, name: str, **fields: Any) -> None:
        self._follower.emit(name, **fields)
