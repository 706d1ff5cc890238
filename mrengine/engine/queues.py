"""The tasks that wait, in one queue for each worker or for an instant; and how many tasks a worker may hold."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["HORIZON_S", "MOST", "PrefetchWindow", "TaskQueues"]

HORIZON_S = 0.02  # so much work a worker should hold: the supervisor is away for several fsyncs
MOST = 2048  # tasks beyond the slots
DEEP = 64  # tasks beyond the slots: with HORIZON_S, each is shorter than a third of a millisecond


class _Queue:
    """Task keys of one home worker: an array that is read from both ends, and before it those that came ``again``."""

    __slots__ = ("_head", "_keys", "_tail", "again")

    def __init__(self) -> None:
        self._keys = array("q")
        self._head = 0
        self._tail = 0
        self.again: deque[int] = deque()

    def __len__(self) -> int:
        return self._tail - self._head + len(self.again)

    def append(self, key: int) -> None:
        self._keys.append(key)
        self._tail += 1

    def take(self, n: int) -> list[int]:
        taken: list[int] = []
        while self.again and len(taken) < n:
            taken.append(self.again.popleft())
        end = min(self._tail, self._head + n - len(taken))
        taken.extend(self._keys[self._head : end])
        self._head = end
        return taken

    def steal(self) -> int:
        if self._tail > self._head:
            # From the tail: the home worker takes from the head, so the two meet as late as possible.
            self._tail -= 1
            return self._keys[self._tail]
        return self.again.pop()


class TaskQueues:
    """The waiting tasks of one round.

    A key is a chunk id or, where every model runs on every chunk, ``chunk_id * models + model``; ``per_chunk`` is the
    number of keys a chunk has. A chunk's home is ``chunk_id % workers``. A task takes 8 bytes.
    """

    def __init__(self, keys: Iterable[int], *, workers: int, per_chunk: int = 1, steal: bool = False) -> None:
        self._queues = [_Queue() for _ in range(workers)]
        self._workers = workers
        self._per_chunk = per_chunk
        self._steal = steal
        self._timers: list[tuple[float, int]] = []
        self.extend(keys)

    def extend(self, keys: Iterable[int]) -> int:
        """Queue more keys behind those that wait; how many."""
        before = len(self)
        for key in keys:
            self._queues[self.home(key)].append(key)
        return len(self) - before

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def home(self, key: int) -> int:
        """The worker whose queue a key belongs to."""
        return key // self._per_chunk % self._workers

    def take(
        self, worker: int, n: int, *, spare: int = 0, holds: Callable[[int], bool] = lambda key: False
    ) -> list[int]:
        """Up to ``n`` keys for a worker. When its own queue is empty and ``spare`` slots are idle, it steals from the
        tail of the longest queue. A key for which ``holds(key)`` is true is left to its holder.
        """
        given: list[int] = []
        while len(given) < n:
            keys = self._take(worker, n - len(given), spare - len(given))
            if not keys:
                break
            given += (key for key in keys if not holds(key))
        return given

    def _take(self, worker: int, n: int, spare: int) -> list[int]:
        taken = self._queues[worker].take(n)
        if self._steal:
            while len(taken) < min(n, spare):
                longest = max(self._queues, key=len)
                if not len(longest):
                    break
                taken.append(longest.steal())
        return taken

    def put_back(self, key: int) -> None:
        """Put a task that was given out and not finished first in its home's queue."""
        self._queues[self.home(key)].again.appendleft(key)

    def later(self, key: int, at: float) -> None:
        """Put a task back at an instant."""
        heapq.heappush(self._timers, (at, key))

    def wake(self, now: float) -> None:
        """Put back the tasks whose instant has come."""
        while self._timers and self._timers[0][0] <= now:
            self.put_back(heapq.heappop(self._timers)[1])

    @property
    def due(self) -> float:
        """The next instant that a task waits for; infinity if none does."""
        return self._timers[0][0] if self._timers else float("inf")


class PrefetchWindow:
    """The number of tasks that one worker may hold: its slots, and as many more as it ends within the horizon."""

    # A task of a second leaves the window at the slots: nothing waits at a worker that another could take. A task of
    # 20 µs brings it to hundreds, so that the worker does not stand still while the supervisor syncs the log.

    def __init__(self, slots: int, clock: Callable[[], float], horizon_s: float = HORIZON_S) -> None:
        """``horizon_s``: for how long a worker should find work before the next can come."""
        self._slots, self._horizon_s = slots, horizon_s
        self._clock = clock
        self._since = clock()
        self._count = 0
        self.window = slots

    @property
    def is_deep(self) -> bool:
        """Whether tasks are so short that the window is many times the slots."""
        return self.window - self._slots >= DEEP

    def finished(self) -> None:
        """Count a task that has ended."""
        self._count += 1
        elapsed = self._clock() - self._since
        if elapsed >= self._horizon_s / 4:
            ahead = int(self._count / elapsed * self._horizon_s)
            self.window = self._slots + min(MOST, ahead)
            self._since += elapsed
            self._count = 0
        elif self._count >= self.window:
            # All that it held ended before there was time to measure: double, lest it stand still meanwhile.
            self.window = min(self._slots + MOST, self.window * 2)
