"""The threads of a worker that run its tasks, and the pipe that takes their outcomes to the supervisor.

No task is lost, and no thread dies unnoticed. Libraries raise exceptions in threads of others (decorators that time a
function out), sometimes late, when the function has returned and its thread is between two tasks. A slot survives that.

Only the worker itself writes to its pipe. A process that it forked may not; and where map_fn has closed the descriptor,
nothing is written to the file that has its number now.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from itertools import islice
from queue import SimpleQueue
from threading import get_ident, get_native_id  # the system's own, whatever patches the module later
from time import monotonic as _now
from typing import Any, NoReturn, Protocol

import msgpack

from mrengine import posix
from mrengine.backends.process import framing, printed
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.engine import protocol as m
from mrengine.log.format import codec
from mrengine.log.format.codec import FAILURE, RESULT
from mrengine.worker.forks import OwnProcess

__all__ = ["CLOSED", "GREENLETS", "THREAD_ENDED", "Lines", "Outbox", "Parcel", "Slots", "Work", "patched"]

CLOSED = "its pipe to the supervisor was closed in it"  # reported at once: its tasks would hang until their timeouts
THREAD_ENDED = "one of its threads has ended"
_write = os.write  # eventlet patches it

MOST_STRAYS = 1000  # exceptions of other threads in one slot, with no task ended in between
# A look at the descriptors costs system calls, which an empty task would feel: tasks shorter than SHORT_S share one
# look in each LOOK_S, all others get one each.
SHORT_S = 25e-6
LOOK_S = 1e-3

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
    """The work of the threads: what they do with a task."""

    def run(self, task: m.Start) -> None:
        """Run a task, and emit its outcome."""

    def fail(self, task: m.Start, error: BaseException) -> None:
        """Emit a failure as its outcome."""


class _Slot:
    """One thread of a worker, and the task in it."""

    def __init__(
        self, index: int, queue: SimpleQueue[m.Start], scoreboard: Scoreboard, outbox: Outbox, work: Work
    ) -> None:
        self._index, self._scoreboard, self._outbox, self._work = index, scoreboard, outbox, work
        self._take = iter(queue.get, None)
        self._claim: deque[Any] = deque()  # the task, then its outcome
        self.began = 0.0  # when its task did; 0: it has not
        self._strays = 0  # since a task has ended

    def send(self, parcel: Parcel) -> None:
        """Send the outcome of the task; the first one counts."""
        self._claim.append(parcel)
        self._outbox.send(self._claim[1])

    def serve(self) -> None:
        """Run tasks for ever."""
        self._scoreboard.note_thread(self._index, get_native_id())
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
        """Take a task, run it, send its outcome. After an exception in the middle the next step resumes there."""
        if not self._claim:
            # One step of the interpreter: no exception comes while the task has left the queue and is not here yet.
            self._claim.extend(islice(self._take, 1))
        if len(self._claim) == 1:
            task = self._claim[0]
            self._scoreboard.start(self._index, task.chunk, task.model)
            self.began = _now()
            self._work.run(task)
        parcel = self._claim[1]
        if parcel.left:
            self._outbox.send(parcel)
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
        """Start the threads that do not run yet. RuntimeError: the system has no room for so many."""
        for slot in self._slots[len(self._threads) :]:
            name = f"mrengine-slot-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, args=(slot,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, slot: _Slot) -> None:
        self._by_thread[get_ident()] = slot
        slot.serve()

    def put(self, task: m.Start) -> None:
        """Queue a task."""
        self._queue.put(task)

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        """Send a message of a task; before an outcome, look for harm that the task has done to the worker."""
        if kind in m.OUTCOMES:
            slot = self._by_thread[get_ident()]
            now = _now()
            if kind != RESULT or now - slot.began >= SHORT_S or now - self._looked >= LOOK_S:
                self.check()
            if kind == FAILURE:
                self._probe()
            printed.flush()  # what the task printed leaves before its outcome
            slot.send(Parcel(kind, chunk, model, payload))
        else:
            self._outbox.emit(kind, chunk, model, payload)

    def check(self) -> None:
        """End the worker if the next tasks in it would be harmed by what one has done to its descriptors or threads."""
        # Now, while the guilty task is among those that the scoreboard shows.
        self._looked = _now()
        self._outbox.check()
        printed.restore()
        if patched():
            self._outbox.end(GREENLETS)
        for fd, known in self.files:
            if posix.identity(fd) != known:
                self._outbox.end("files of the job were closed in it")

    def _probe(self) -> None:
        """End the worker if it can start no thread or open no file any more; called when a task has failed."""
        # An earlier task may have used them up, or set a limit: then all that follow here would fail as well. In
        # another worker they are tried again.
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


class Parcel(deque[int]):
    """A frame, and how many of its bytes each write has sent: after an exception the rest is sent."""

    __slots__ = ("_frame", "begins_call")

    def __init__(self, kind: int, chunk: int, model: int, payload: bytes) -> None:
        self._frame = framing.tagged(kind, chunk, model, payload)
        self.begins_call = kind == codec.INTENT

    @property
    def left(self) -> int:
        """Bytes that are still to be sent."""
        return len(self._frame) - sum(self)

    def send(self, fd: int) -> None:
        """Write once, and count what was written."""
        # In one step of the interpreter: exceptions of other threads come only between two.
        rest = memoryview(self._frame)[sum(self) :] if self else self._frame
        self.extend(map(_write, (fd,), (rest,)))


class Outbox:
    """Writes whole frames to the worker's pipe, one at a time, from any thread. A full pipe makes the writer wait."""

    def __init__(self, fd: int, scoreboard: Scoreboard) -> None:
        self._fd, self._scoreboard, self._pipe = fd, scoreboard, posix.identity(fd)
        self._process = OwnProcess()
        self._lock = threading.Lock()

    @property
    def own(self) -> bool:
        """Whether this process may speak."""
        return self._process.here

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        """Send one frame; only note a wait for the budget on the scoreboard. ConfigError in a fork of the worker."""
        self._process.check()
        if kind in (m.WAITING, m.RESUMED):
            self._scoreboard.waiting(chunk, model, waits=kind == m.WAITING)
        else:
            self.check()
            self.send(Parcel(kind, chunk, model, payload))

    def send(self, parcel: Parcel) -> None:
        """Send the rest of a frame; end the worker if its pipe is broken. Call ``check()`` before.

        An exception that another thread raises in this one meanwhile is raised at the end.
        """
        # Half a frame, and the supervisor would take the next one for its rest.
        stray: BaseException | None = None
        with self._lock:  # taken by the worker alone: in a fork of it another thread may have held it
            while parcel.left:
                try:
                    if parcel.begins_call:
                        parcel.begins_call = False
                        self._scoreboard.called()
                    parcel.send(self._fd)
                except BlockingIOError:
                    posix.writable(self._fd, 1.0)
                except BaseException as error:  # noqa: BLE001
                    if isinstance(error, OSError) and error.errno is not None:
                        self.check()
                        self.end(f"its pipe to the supervisor is broken ({os.strerror(error.errno)})")
                    stray = error
        if stray is not None:
            raise stray

    def check(self) -> None:
        """End the worker where its pipe was closed in it, or replaced."""
        if posix.identity(self._fd) != self._pipe:
            self.end(CLOSED)

    def probe(self) -> None:
        """Raise OSError if this process can open no file any more."""
        os.close(os.dup(self._fd))

    def end(self, cause: str) -> NoReturn:
        """End the worker; the supervisor reads why from its scoreboard."""
        self._scoreboard.note_cause(cause)
        os._exit(1)

    def forget(self) -> None:
        """Close the copy of the pipe in a fork, so that the pipe ends with the worker."""
        posix.close_if(self._fd, self._pipe)


class Lines(logging.Handler):
    """Sends what map_fn logs to the logger of the same name in the host. In a process that map_fn forked it prints
    instead, as such a process may not write to the pipe.
    """

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)[:8192]
            if not self._outbox.own:
                stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
                stream.write(f"{record.name}: {text}\n")
                return
            line = msgpack.packb([record.name, record.levelno, text])
        except Exception:  # noqa: BLE001  # a record's own formatting; logging must not end a task
            self.handleError(record)
            return
        self._outbox.emit(m.LINE, -1, -1, line)
