"""Owns how many tasks a worker may hold: its slots, and as many more as it ends while a commit takes."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["PrefetchWindow"]

HORIZON_S = 0.02  # several fsyncs
MOST = 2048


class PrefetchWindow:
    """The window of one worker, in tasks.

    A task of a second leaves the window at the number of slots: nothing waits at a worker that another could take. A
    task of 20 µs brings it to hundreds, so that a worker does not stand still while the supervisor syncs the log.
    """

    def __init__(self, slots: int, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._clock = clock
        self._since = clock()
        self._count = 0
        self.window = slots

    def finished(self) -> None:
        """A task came to its end."""
        self._count += 1
        elapsed = self._clock() - self._since
        if elapsed >= HORIZON_S / 4:
            ahead = int(self._count / elapsed * HORIZON_S)
            self.window = self._slots + min(MOST, ahead)
            self._since += elapsed
            self._count = 0
        elif self._count >= self.window:
            self.window = min(self._slots + MOST, self.window * 2)
