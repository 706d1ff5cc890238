"""The time limit of a task. Time spent waiting for budget does not count: the task cannot help it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Deadline", "OnWait"]

OnWait = Callable[[str, float], None]


class Deadline:
    """The instant, ``at``, by which a task must end, on ``clock``. Each wait for budget puts it off by as long.

    ``notify(waiting)`` is called when such a wait begins and ends: the monitor, which looks for tasks that hang, must
    not count it either.
    """

    __slots__ = ("_clock", "_notify", "at")

    def __init__(
        self,
        timeout_s: float,
        notify: Callable[[bool], None],
        *,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``began``: when the task did; None: now."""
        self._clock, self._notify = clock, notify
        self.at = (clock() if began is None else began) + timeout_s

    @contextmanager
    def paused(self, on_wait: OnWait) -> Iterator[OnWait]:
        """Stops the clock while the task waits for budget. Yields the callback to pass on in place of ``on_wait``.

        Only a wait that is reported through it counts: a grant that comes at once moves nothing.
        """
        began, waits = self._clock(), []

        def waiting(model: str, wait_ms: float) -> None:
            waits.append(wait_ms)
            self._notify(True)
            on_wait(model, wait_ms)

        try:
            yield waiting
        finally:
            if waits:
                self.at += self._clock() - began
                self._notify(False)
