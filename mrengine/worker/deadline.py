"""The time limit of a task. Time spent waiting for budget does not count: the task cannot help it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Deadline", "OnWait"]

OnWait = Callable[[str, float], None]


class Deadline:
    """A task's ``deadline``, on ``clock``: later by each wait for a budget. ``tell(waiting)`` hears of their begin and
    end, so that whoever looks for tasks that hang does not count them, either.
    """

    def __init__(
        self, timeout_s: float, tell: Callable[[bool], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._tell = clock, tell
        self.deadline = clock() + timeout_s

    @contextmanager
    def standing_in_line(self, on_wait: OnWait) -> Iterator[OnWait]:
        """While a budget is asked; yields what is to be called, in place of ``on_wait``, when that takes a while."""
        began, waits = self._clock(), []

        def waiting(model: str, wait_ms: float) -> None:
            waits.append(wait_ms)
            self._tell(True)
            on_wait(model, wait_ms)

        try:
            yield waiting
        finally:
            if waits:
                self.deadline += self._clock() - began
                self._tell(False)
