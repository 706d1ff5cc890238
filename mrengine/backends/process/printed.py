"""What workers print, from both ends: their standard streams, and the pipe that cuts it into lines for the host.

A worker opens its streams again, for the tasks that follow, where one task has closed them.
"""

from __future__ import annotations

import os
import sys
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import Literal, TextIO

import msgpack

from mrengine import posix
from mrengine.engine.protocol import LINE, Message

__all__ = ["OutputPipe", "flush", "open_streams", "restore"]

LONGEST = 8192  # characters; a longer line comes in pieces
_spare: dict[int, int] = {}  # copies of 1 and 2


def open_streams() -> None:
    """Open the streams of a new worker, whose descriptors 1 and 2 are the supervisor's pipes."""
    _spare.update({fd: os.dup(fd) for fd in (1, 2)})
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w")  # nothing comes from the first


def restore() -> None:
    """Open descriptors again that were closed."""
    # One that refers to something else is left alone: C code is silenced in that way for a moment.
    for fd, spare in _spare.items():
        if posix.identity(fd) == (-1, -1):
            with suppress(OSError):  # the copy was closed, too
                os.dup2(spare, fd)


def flush() -> None:
    """Write what a task has printed, also a line without an end, so that it leaves before the outcome."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  # one of them was closed, or replaced by user code: which?
        _flush_each()


def _flush_each() -> None:
    for fd, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  # closed, or replaced by user code
            if _spare and getattr(stream, "closed", False) is True:
                restore()
                with suppress(OSError):  # it cannot be opened again: print() fails there, and nothing else
                    setattr(sys, name, _text(fd, "w"))


def _text(fd: int, mode: Literal["r", "w"]) -> TextIO:
    return open(fd, mode, buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


class OutputPipe:
    """Workers write to ``write_fd``; each line becomes a LINE message, packed for the host as [logger, level, text]."""

    def __init__(self, logger: str, level: int) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._logger, self._level = logger, level
        self._decoder = getincrementaldecoder("utf-8")("replace")  # a read may end within a character
        self._rest = ""

    def read(self) -> list[Message]:
        """The whole lines that have arrived."""
        return self._lines() if self._fill() else []

    def last(self) -> list[Message]:
        """All lines that have arrived, with a last one that has no end."""
        lines: list[Message] = []
        while self._fill():
            lines += self._lines()
        rest, self._rest = self._rest + self._decoder.decode(b"", True), ""
        return lines + self._messages([rest])

    def _fill(self) -> bool:
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        self._rest += self._decoder.decode(data)
        return bool(data)

    def _lines(self) -> list[Message]:
        *lines, self._rest = self._rest.split("\n")
        if len(self._rest) > LONGEST:
            whole = (len(self._rest) - 1) // LONGEST * LONGEST
            lines.append(self._rest[:whole])
            self._rest = self._rest[whole:]
        return self._messages(lines)

    def _messages(self, lines: list[str]) -> list[Message]:
        pieces = (line[at : at + LONGEST] for line in lines if line.strip() for at in range(0, len(line), LONGEST))
        return [(-1, LINE, -1, -1, msgpack.packb([self._logger, self._level, piece])) for piece in pieces]

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self.write_fd)
