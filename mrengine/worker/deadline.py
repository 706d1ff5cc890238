"""The time limit of a task, without the time that it waits for its budget.

A task that waits does not hang. With a slow budget the last of many tasks may wait for longer than one may run
(docs/decisions/calls-and-deadlines.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Deadline", "OnWait"]

OnWait = Callable[[str, float], None]


class Deadline:
    """The instant ``at`` by which a task must end, on ``clock``. Each wait for the budget moves it by as long.

    ``notify(waiting)`` is called at the beginning and at the end of a wait, for the monitor that looks for hangs.
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
        """``began``: when the task began; None: now."""
        self._clock, self._notify = clock, notify
        self.at = (clock() if began is None else began) + timeout_s

    @contextmanager
    def paused(self, on_wait: OnWait) -> Iterator[OnWait]:
        """Stop the clock while the task waits for the budget. Yields a callback that takes the place of ``on_wait``."""
        began, waits = self._clock(), []

        def waiting(model: str, wait_ms: float) -> None:
            waits.append(wait_ms)
            self._notify(True)
            on_wait(model, wait_ms)

        try:
            yield waiting
        finally:
            if waits:  # a grant that came at once moves nothing
                self.at += self._clock() - began  # the time that passed: what was reported is a forecast
                self._notify(False)
