"""The threads of a worker that run its tasks. No task is lost, and no thread dies unnoticed.

Libraries raise exceptions in threads that are not theirs (decorators that end a function after a while), and may be
late: the function has returned, and its thread is between two tasks. A slot goes on after that.
"""

from __future__ import annotations

import _thread
import sys
import threading
from _thread import start_new_thread
from collections import deque
from itertools import islice
from queue import SimpleQueue
from threading import get_ident, get_native_id  # the system's own, whatever patches the module later
from time import monotonic as _now
from typing import Any, Protocol

from mrengine import posix
from mrengine.backends.process import standard_streams
from mrengine.backends.process.outbox import Outbox, Parcel
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.engine import protocol as m
from mrengine.log.format.codec import FAILURE, RESULT

__all__ = ["GREENLETS", "Slots", "Work", "patched"]

MOST_STRAYS = 1000
# Each look costs system calls, which an empty task would feel. One that does something gets a look of its own.
SHORT_S = 25e-6
LOOK_S = 1e-3  # between two looks while tasks are shorter than that

GREENLETS = (
    "gevent or eventlet has patched it (gevent.monkey.patch_all() or eventlet.monkey_patch(), whole or in part, in a "
    "module that map_fn or the initializer imports), and its slots are threads: patch in the program alone, under "
    "if __name__ == '__main__', or keep map_fn in a module that does not"
)


def patched() -> bool:
    """Whether a thread that is started now would be a greenlet, or would wait for greenlets that nobody runs."""
    if _thread.start_new_thread is not start_new_thread:
        return True
    gevent, eventlet = map(sys.modules.get, ("gevent.monkey", "eventlet.patcher"))
    saved, patches = getattr(gevent, "saved", None), getattr(eventlet, "already_patched", None)
    return bool(saved or patches)


def _nothing() -> None: ...


class Work(Protocol):
    """What the threads do."""

    def run(self, task: m.Start) -> None:
        """Run a task, and emit its outcome."""

    def fail(self, task: m.Start, error: BaseException) -> None:
        """Emit a failure as its outcome."""


class _Slot:
    """One thread."""

    def __init__(
        self, index: int, queue: SimpleQueue[m.Start], scoreboard: Scoreboard, outbox: Outbox, work: Work
    ) -> None:
        self._index, self._scoreboard, self._outbox, self._work = index, scoreboard, outbox, work
        self._take = iter(queue.get, None)
        self._claim: deque[Any] = deque()  # the task, then its outcome
        self.began = 0.0  # when its task did; 0: it has not
        self._strays = 0  # since a task has ended

    def say(self, parcel: Parcel) -> None:
        """Send the outcome of the task; the first one counts."""
        self._claim.append(parcel)
        self._outbox.send(self._claim[1])

    def live(self) -> None:
        """Run tasks for ever."""
        self._scoreboard.serve(self._index, get_native_id())
        stray: BaseException | None = None
        while True:
            try:
                if stray is not None and self.began and len(self._claim) == 1:
                    self._work.fail(self._claim[0], stray)  # struck while it ran, as if map_fn had raised it
                while True:
                    self._step()
            except BaseException as error:  # noqa: BLE001  # raised here by another thread
                stray = error
                self._strays += 1
            if self._strays > MOST_STRAYS:
                self._outbox.end(f"{type(stray).__name__} was raised in one of its threads again and again")

    def _step(self) -> None:
        """Take a task, run it, send its outcome. After an exception in the middle the next step goes on from there."""
        if not self._claim:
            # One step of the interpreter: no exception comes while the task has left the queue and is not here yet.
            self._claim.extend(islice(self._take, 1))
        if len(self._claim) == 1:
            task = self._claim[0]
            self._scoreboard.start(self._index, task.chunk, task.model)
            self.began = _now()
            self._work.run(task)
        self._outbox.send(self._claim[1])
        self._scoreboard.clear(self._index)
        self.began = 0.0
        self._claim.clear()
        self._strays = 0


class Slots:
    """``count`` threads over one queue."""

    def __init__(self, count: int, scoreboard: Scoreboard, outbox: Outbox, work: Work) -> None:
        self._queue: SimpleQueue[m.Start] = SimpleQueue()
        self._outbox = outbox
        self._slots = [_Slot(index, self._queue, scoreboard, outbox, work) for index in range(count)]
        self._by_thread: dict[int, _Slot] = {}
        self._threads: list[threading.Thread] = []
        self._looked = 0.0
        self.files: list[tuple[int, tuple[int, int]]] = []  # that every task needs: descriptor and identity

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
            slot = self._by_thread[get_ident()]
            now = _now()
            if kind != RESULT or now - slot.began >= SHORT_S or now - self._looked >= LOOK_S:
                self.check()
            if kind == FAILURE:
                self._probe()
            standard_streams.flush()
            slot.say(Parcel(kind, chunk, model, payload))
        else:
            self._outbox.emit(kind, chunk, model, payload)

    def check(self) -> None:
        """What would harm the next tasks in this worker ends it now: the guilty task is one of those that run."""
        self._looked = _now()
        self._outbox.check()
        standard_streams.restore()
        if patched():
            self._outbox.end(GREENLETS)
        for fd, known in self.files:
            if posix.identity(fd) != known:
                self._outbox.end("files of the job were closed in it")

    def _probe(self) -> None:
        """A task failed: maybe for want of what an earlier one has used up, or set a limit for. Then all that follow it
        here would fail as well: the worker ends, and its tasks are tried again in another.
        """
        try:
            start_new_thread(_nothing, ())
            self._outbox.probe()
        except RuntimeError:
            self._outbox.end("a task failed in it, and it can start no thread any more")
        except OSError as error:
            if error.errno is None:
                raise  # a TimeoutError that another thread has raised in this one
            self._outbox.end("a task failed in it, and it can open no file any more")

    @property
    def whole(self) -> bool:
        """Whether all threads live."""
        return all(thread.is_alive() for thread in self._threads)
