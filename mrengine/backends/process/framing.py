"""Owns the frames between host, supervisor and workers.

::

    host ⇄ supervisor, supervisor → worker      ┌──────────┬─────────┬─────────────┐
                                                │ u32 size │ u8 kind │ payload     │
                                                └──────────┴─────────┴─────────────┘
    worker → supervisor                         ┌──────────┬─────────┬───────────┬───────────┬─────────────┐
                                                │ u32 size │ u8 kind │ i16 model │ i64 chunk │ payload     │
                                                └──────────┴─────────┴───────────┴───────────┴─────────────┘

``size`` is the payload's, in bytes. All little endian. A started task is 16 bytes: ``i64 chunk, i32 model, i32
attempt``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence

from mrengine.engine.protocol import Start

__all__ = [
    "APPEND",
    "BEAT",
    "CLOSE",
    "CRASH",
    "DROP",
    "DURABLE",
    "END",
    "ENDPOINT",
    "FINISH",
    "FINISHED",
    "LEAVE",
    "LINE",
    "NOTE",
    "OPEN",
    "OPENED",
    "REFUSED",
    "RESTART",
    "RUN",
    "SETUP",
    "STOP",
    "SYNC",
    "TASKS",
    "FrameReader",
    "TaggedReader",
    "frame",
    "pack_tasks",
    "tagged",
    "unpack_tasks",
]

# host → supervisor
OPEN, RESTART, APPEND, SYNC, RUN, STOP, FINISH, CLOSE = 1, 2, 3, 4, 5, 6, 7, 8
# supervisor → host
OPENED, REFUSED, DURABLE, NOTE, LINE, END, FINISHED, BEAT, CRASH = 16, 17, 18, 19, 20, 21, 22, 23, 24
# supervisor → worker
SETUP, TASKS, ENDPOINT, DROP, LEAVE = 32, 33, 34, 35, 36

READ_BYTES = 1 << 20
_HEAD = struct.Struct("<IB")
_TAGGED = struct.Struct("<IBhq")
_TASK = struct.Struct("<qii")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame as host, supervisor and dispatch speak it."""
    return _HEAD.pack(len(payload), kind) + payload


def tagged(kind: int, chunk: int, model: int, payload: bytes = b"") -> bytes:
    """A frame as a worker speaks it."""
    return _TAGGED.pack(len(payload), kind, model, chunk) + payload


def pack_tasks(tasks: Sequence[Start]) -> bytes:
    """16 bytes a task."""
    return b"".join([_TASK.pack(*task) for task in tasks])


def unpack_tasks(payload: bytes) -> Iterable[Start]:
    """The tasks of a TASKS frame."""
    return map(Start._make, _TASK.iter_unpack(payload))


class _Reader:
    """Bytes of one descriptor, cut into frames; a frame that is not whole yet waits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""

    def _fill(self) -> bool:
        """Read once, a megabyte at most; False at the end of the stream."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except (ConnectionResetError, BrokenPipeError):
            return False
        self._rest = self._rest + data if self._rest else data
        return bool(data)


class FrameReader(_Reader):
    """Frames ``(kind, payload)``; ``ended`` when the other side is gone."""

    ended = False

    def read(self) -> list[tuple[int, bytes]]:
        """Read what is there and return the whole frames in it."""
        self.ended = not self._fill()
        data, at, size, frames = self._rest, 0, len(self._rest), []
        while size - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + length
            if end > size:
                break
            frames.append((kind, data[at + _HEAD.size : end]))
            at = end
        self._rest = data[at:]
        return frames


class TaggedReader(_Reader):
    """Frames ``(kind, chunk, model, payload)`` of a worker; ``ended`` when its pipe is closed."""

    ended = False

    def read(self, worker: int) -> list[tuple[int, int, int, int, bytes]]:
        """Read what is there and return messages ``(worker, kind, chunk, model, payload)``."""
        self.ended = not self._fill()
        data, at, size, messages = self._rest, 0, len(self._rest), []
        while size - at >= 15:
            length, kind, model, chunk = _TAGGED.unpack_from(data, at)
            end = at + 15 + length
            if end > size:
                break
            messages.append((worker, kind, chunk, model, data[at + 15 : end]))
            at = end
        self._rest = data[at:]
        return messages
