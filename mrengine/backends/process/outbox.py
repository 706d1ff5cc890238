"""The pipe from a worker to its supervisor. Only the worker itself may write to it: a process that it forked may not,
and nothing is written to whatever file took the descriptor's number after map_fn closed it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from typing import NoReturn

import msgpack

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.engine import protocol as m
from mrengine.log.format import codec
from mrengine.worker.forks import OwnProcess

__all__ = ["CLOSED", "THREAD_ENDED", "Lines", "Outbox", "Parcel"]

CLOSED = "its pipe to the supervisor was closed in it"  # told at once: its tasks would hang for their whole time
THREAD_ENDED = "one of its threads has ended"
_write = os.write  # eventlet patches it


class Parcel:
    """A frame and how much of it was sent: whoever was interrupted goes on where it was."""

    __slots__ = ("_frame", "_sent", "begins_call")

    def __init__(self, kind: int, chunk: int, model: int, payload: bytes) -> None:
        self._frame = framing.tagged(kind, chunk, model, payload)
        self._sent: deque[int] = deque()
        self.begins_call = kind == codec.INTENT

    @property
    def left(self) -> int:
        """Bytes that are still to be sent."""
        return len(self._frame) - sum(self._sent) if self._sent else len(self._frame)

    def send(self, fd: int) -> None:
        """One write. It is counted in the same step of the interpreter, so that no exception comes in between."""
        rest = memoryview(self._frame)[sum(self._sent) :] if self._sent else self._frame
        self._sent.extend(map(_write, (fd,), (rest,)))


class Outbox:
    """One frame at a time, whole, from any thread. A full pipe makes the writer wait."""

    def __init__(self, fd: int, scoreboard: Scoreboard) -> None:
        self._fd, self._scoreboard, self._pipe = fd, scoreboard, posix.identity(fd)
        self._process = OwnProcess()
        self._lock = threading.Lock()

    @property
    def own(self) -> bool:
        """Whether this process may speak."""
        return self._process.here

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        """Send one frame; what only the scoreboard has to know stays here. ConfigError in a fork of the worker."""
        self._process.check()
        if kind in (m.WAITING, m.RESUMED):
            self._scoreboard.waiting(chunk, model, waits=kind == m.WAITING)
        else:
            self.check()
            self.send(Parcel(kind, chunk, model, payload))

    def send(self, parcel: Parcel) -> None:
        """Send what is not sent yet. An exception that another thread raises in this one waits until then. A pipe that
        was closed ends the worker; whether it is another file's number by now is for ``check()`` to see before.
        """
        if not parcel.left:
            return
        stray: BaseException | None = None
        with self._lock:  # taken by the worker alone: in a fork of it another thread may have held it
            while parcel.left:
                try:
                    self._count(parcel)
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
        """OSError: this process can open no file any more."""
        os.close(os.dup(self._fd))

    def _count(self, parcel: Parcel) -> None:
        if parcel.begins_call:
            parcel.begins_call = False
            self._scoreboard.called()

    def end(self, cause: str) -> NoReturn:
        """End the worker; the supervisor reads why from its scoreboard."""
        self._scoreboard.last_words(cause)
        os._exit(1)

    def forget(self) -> None:
        """In a fork: give the copy back, so that the pipe ends with the worker."""
        posix.close_if(self._fd, self._pipe)


class Lines(logging.Handler):
    """What map_fn logs goes to the logger of the same name in the host; what a process logs that it forked goes the
    way of what that prints.
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
