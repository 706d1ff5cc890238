"""Rests models that do not answer. Their tasks wait aside without holding a slot, and fail together.

Where every model runs on every chunk, the tasks of a model that is down would hold all slots, and those of sound
models would wait behind them. So a task whose call failed comes back at once. A model that fails several times in a
row, or stays silent once, gets only a probe now and then; after the time that one task may take, it is given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mrengine.errors import ModelUnavailable
from mrengine.providers.call.breaker import Breaker

__all__ = ["Outages"]

IN_A_ROW = 3  # failures of tasks, of any chunk
SILENT = 4  # silence for a quarter of a task's time counts as IN_A_ROW failures: the next task would wait as long


@dataclass(slots=True)
class _Outage:
    """The state of one model: its ``tasks`` that wait aside, in order, and since when it has not answered."""

    breaker: Breaker
    tasks: dict[int, None] = field(default_factory=dict)
    since: float | None = None
    answered_at: float = -math.inf
    probe: int | None = None  # the task that tries whether it is back
    again_at: float = 0.0
    cause: str = ""
    given_up: bool = False


class Outages:
    """The outages of a round's models.

    ``give_up_s``: how long a model, or one task, may fail. ``backoff_s``: the pause between two tries of a model that
    is not resting.
    """

    def __init__(self, models: int, *, give_up_s: float, backoff_s: float, clock: Callable[[], float]) -> None:
        self._give_up_s, self._backoff_s, self._clock = give_up_s, backoff_s, clock
        cooldown_s, most_s = min(5.0, give_up_s / 10), min(60.0, give_up_s / 4)
        self._outages = [
            _Outage(Breaker(threshold=IN_A_ROW, cooldown_s=cooldown_s, max_s=most_s, clock=clock))
            for _ in range(models)
        ]
        self._first: dict[int, float] = {}  # when a task failed first

    def holds(self, model: int, key: int) -> bool:
        """Whether a task that is about to be given out waits aside instead."""
        outage = self._outages[model]
        well = outage.since is None or outage.breaker.state == "closed" or key == outage.probe
        if well and not outage.given_up:
            return False
        outage.tasks[key] = None
        return True

    def failed(self, model: int, key: int, cause: str, *, silent_s: float = 0.0) -> None:
        """Set a task aside, as its model did not answer; ``silent_s``: how long it was silent; 0: it answered."""
        outage, now = self._outages[model], self._clock()
        times = IN_A_ROW if silent_s >= self._give_up_s / SILENT else 1
        outage.breaker.failed(ModelUnavailable(cause), times=times)
        if outage.since is None:
            outage.since = max(now - silent_s, outage.answered_at)
        outage.tasks[key] = None
        self._first.setdefault(key, now - silent_s)
        outage.probe = None if key == outage.probe else outage.probe
        outage.cause, outage.again_at = cause, now + self._backoff_s

    def ended(self, model: int, key: int) -> None:
        """Note that a task of the model has its outcome, and so the model works."""
        outage = self._outages[model]
        self._first.pop(key, None)
        outage.answered_at = self._clock()
        if outage.since is not None:
            outage.breaker.succeeded()
            outage.since, outage.again_at, outage.probe = None, 0.0, None

    def ready(self) -> Iterator[int]:
        """Tasks that may be given out: all of a model that is well, one of a model whose rest is over."""
        now = self._clock()
        for outage in self._outages:
            if not outage.tasks or outage.given_up:
                continue
            if outage.breaker.state == "closed":
                if now >= outage.again_at:
                    waiting, outage.tasks = outage.tasks, {}
                    yield from waiting
            elif outage.breaker.allow():
                outage.probe = key = next(iter(outage.tasks))
                del outage.tasks[key]
                yield key

    def lost(self) -> Iterator[tuple[int, str]]:
        """Tasks that have waited for too long, each with its cause; all tasks of a model that is given up."""
        now = self._clock()
        for outage in self._outages:
            down = outage.since is not None and outage.breaker.state != "closed"
            outage.given_up |= down and now - (outage.since or now) >= self._give_up_s
            for key in list(outage.tasks):
                if outage.given_up or now - self._first.get(key, now) >= self._give_up_s:
                    del outage.tasks[key]
                    yield key, outage.cause
