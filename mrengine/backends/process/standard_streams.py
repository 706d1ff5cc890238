"""The standard streams of a worker: opens again, for the tasks that follow, what one task has closed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Literal, TextIO

from mrengine import posix

__all__ = ["flush", "open_streams", "restore"]

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
