"""Owns the threads of a worker that run its tasks. None loses a task, and none is lost unnoticed.

Libraries raise exceptions in threads that are not theirs (decorators that end a function after a while), and may be
late: the function has returned, and its thread is between two tasks. A slot goes on after that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from queue import SimpleQueue
from threading import get_ident  # the system's own, whatever patches the module later
from typing import Any

from mrengine.backends.process.board import Board
from mrengine.backends.process.greenlets import GREENLETS, patched
from mrengine.backends.process.outbox import Outbox, Parcel
from mrengine.engine import messages as m

__all__ = ["Slots"]


class _Slot:
    """One thread. ``run(task)`` comes to an outcome, which is told by ``say()``."""

    def __init__(
        self, index: int, queue: SimpleQueue[m.Start], board: Board, outbox: Outbox, run: Callable[[m.Start], None]
    ) -> None:
        self._index, self._board, self._outbox, self._run = index, board, outbox, run
        self._take = iter(queue.get, None)
        self._claim: deque[Any] = deque()  # the task, then its outcome
        self._began = False

    def say(self, parcel: Parcel) -> None:
        """Send the outcome of the task; the first one counts."""
        self._claim.append(parcel)
        self._outbox.send(self._claim[1])

    def live(self) -> None:
        """Run tasks for ever."""
        while True:
            try:
                while True:
                    self._step()
            except BaseException as stray:  # noqa: BLE001  # raised here by another thread
                if self._began and len(self._claim) == 1:
                    self._outbox.end(f"{type(stray).__name__} ended one of its threads")

    def _step(self) -> None:
        """Take a task, run it, send its outcome. After an exception in the middle the next step goes on from there."""
        if not self._claim:
            # One step of the interpreter: no exception comes while the task has left the queue and is not here yet.
            self._claim.extend(islice(self._take, 1))
        if len(self._claim) == 1:
            task = self._claim[0]
            self._board.start(self._index, task.chunk, task.model)
            self._began = True
            self._run(task)
        self._outbox.send(self._claim[1])
        self._board.clear(self._index)
        self._began = False
        self._claim.clear()


class Slots:
    """``count`` threads over one queue."""

    def __init__(self, count: int, board: Board, outbox: Outbox, run: Callable[[m.Start], None]) -> None:
        self._queue: SimpleQueue[m.Start] = SimpleQueue()
        self._outbox = outbox
        self._slots = [_Slot(index, self._queue, board, outbox, run) for index in range(count)]
        self._by_thread: dict[int, _Slot] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start those that are not there. RuntimeError: the system has no room for so many threads."""
        for slot in self._slots[len(self._threads) :]:
            name = f"mrengine-slot-{len(self._threads)}"
            thread = threading.Thread(target=self._live, args=(slot,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _live(self, slot: _Slot) -> None:
        self._by_thread[get_ident()] = slot
        slot.live()

    def put(self, task: m.Start) -> None:
        """Queue a task."""
        self._queue.put(task)

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        """Send a message; an outcome waits until its task has left map_fn for good."""
        if kind in m.OUTCOMES:
            if patched():
                self._outbox.end(GREENLETS)
            self._by_thread[get_ident()].say(Parcel(kind, chunk, model, payload))
        else:
            self._outbox.emit(kind, chunk, model, payload)

    @property
    def whole(self) -> bool:
        """Whether all threads live."""
        return all(thread.is_alive() for thread in self._threads)
