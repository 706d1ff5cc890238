"""Finds the task that killed its worker, and counts how often each task may still be tried.

Tasks that ran side by side when their worker died are *suspects*. They run again in halves, each half alone in a
worker (a *cell*), until one is alone when the worker dies. Only that one is charged. So no innocent task ever is, and
finding one guilty task among n costs log2(n) deaths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

__all__ = ["AttemptCounter", "CrashBisection"]


class AttemptCounter:
    """Counts how often each task was charged with a crash, a hang or a retry, and how often it was started."""

    def __init__(self, max_attempts: int) -> None:
        self._max = max_attempts
        self._charges: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._stopped: set[int] = set()

    def started(self, key: int) -> int:
        """Count a start that led to no outcome; returns the next attempt's number."""
        self._starts[key] = self._starts.get(key, 1) + 1
        return self._starts[key]

    def attempt(self, key: int) -> int:
        """The number that an attempt would have if it started now: 1, 2, …"""
        return self._starts.get(key, 1)

    def charge(self, key: int) -> bool:
        """Charge a task; True when it has used up its attempts."""
        self._charges[key] = self._charges.get(key, 0) + 1
        return self._charges[key] >= self._max

    def charges(self, key: int) -> int:
        """How often a task was charged so far."""
        return self._charges.get(key, 0)

    def stopped(self, keys: Collection[int]) -> bool:
        """Note that a signal stopped the worker that ran these tasks; True if that counts as a crash.

        Somebody outside may stop a worker once. Under the same task a second time, the task does it.
        """
        again = not self._stopped.isdisjoint(keys)
        self._stopped.update(keys)
        return again

    def close(self, key: int) -> None:
        """Forget a task that has its outcome."""
        if self._starts or self._charges or self._stopped:  # of most jobs nothing is known
            self._stopped.discard(key)
            self._charges.pop(key, None)
            self._starts.pop(key, None)


class CrashBisection:
    """The suspects of one worker, in groups that run one after another, each alone."""

    def __init__(self) -> None:
        self._groups: deque[list[int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._groups)

    def accuse(self, suspects: Sequence[int]) -> None:
        """Split the tasks that ran when the worker died into two halves, each to run alone."""
        half = (len(suspects) + 1) // 2
        # The first half goes in last, and so runs first; both go before groups that are accused already.
        for group in (suspects[half:], suspects[:half]):
            if group:
                self._groups.appendleft(list(group))

    def hold(self, key: int) -> None:
        """Let a task that was charged run again, alone."""
        self._groups.appendleft([key])

    def resume(self, keys: Sequence[int]) -> None:
        """Keep together what a cell had not started when its worker died."""
        if keys:
            self._groups.appendleft(list(keys))

    def next(self) -> list[int]:
        """Take the next group."""
        return self._groups.popleft()
