"""The frames exchanged between host, supervisor and workers.

::

    host ⇄ supervisor, supervisor → worker      ┌──────────┬─────────┬─────────────┐
                                                │ u32 size │ u8 kind │ payload     │
                                                └──────────┴─────────┴─────────────┘
    worker → supervisor             ┌──────────┬─────────┬───────────┬───────────┬─────────┬─────────┬─────────┐
                                    │ u32 size │ u8 kind │ i16 model │ i64 chunk │ u32 sum │ u32 crc │ payload │
                                    └──────────┴─────────┴───────────┴───────────┴─────────┴─────────┴─────────┘

All little endian. ``size`` is that of the payload in bytes, ``sum`` the CRC-32 of the payload, and ``crc`` that of the
head before it. ``sum`` is 0 in a frame of at most PIPE_BUF bytes. A started task is 16 bytes: ``i64 chunk, i32 model,
i32 attempt``.

map_fn may write into the pipe itself, and the checksums tell that from a frame. The kernel takes up to PIPE_BUF bytes
as one piece, so nothing can stand in the middle of a short frame, and its checksum is saved.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterable, Sequence
from zlib import crc32

from mrengine.engine.protocol import Start

__all__ = [
    "APPEND", "BEAT", "CLOSE", "CRASH", "DROP", "DURABLE", "END", "ENDPOINT", "EXTEND", "FINISH", "FINISHED",
    "FOLDER", "LEAVE", "LINE", "NOTE", "OPEN", "OPENED", "REFUSED", "RESTART", "RUN", "SETUP", "STOP", "SYNC",
    "TASKS", "FrameReader", "TaggedReader", "frame", "pack_tasks", "tagged", "unpack_tasks",
]  # fmt: skip

# host → supervisor
OPEN, RESTART, APPEND, SYNC, RUN, STOP, FINISH, CLOSE, EXTEND = 1, 2, 3, 4, 5, 6, 7, 8, 9
# supervisor → host
OPENED, REFUSED, DURABLE, NOTE, LINE, END, FINISHED, BEAT, CRASH, FOLDER = 16, 17, 18, 19, 20, 21, 22, 23, 24, 25
# supervisor → worker
SETUP, TASKS, ENDPOINT, DROP, LEAVE = 32, 33, 34, 35, 36

READ_BYTES = 1 << 20
SHORT_BYTES = 1 << 16  # memory for a megabyte is mapped and unmapped for each read: 17 µs of CPU, not 0.8
_HEAD = struct.Struct("<IB")
_TAGGED = struct.Struct("<IBhqI")
_CHECKED_HEAD = struct.Struct("<IBhqII")
_ONE_PIECE_BYTES = select.PIPE_BUF - _CHECKED_HEAD.size  # of payload, in a frame that a pipe takes at once
_TASK = struct.Struct("<qii")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame between host and supervisor, or from the supervisor to a worker."""
    return _HEAD.pack(len(payload), kind) + payload


def tagged(kind: int, chunk: int, model: int, payload: bytes = b"") -> bytes:
    """A frame from a worker to the supervisor."""
    size = len(payload)
    total = crc32(payload) if size > _ONE_PIECE_BYTES else 0
    head = _TAGGED.pack(size, kind, model, chunk, total)
    return b"".join((head, crc32(head).to_bytes(4, "little"), payload))


def pack_tasks(tasks: Sequence[Start]) -> bytes:
    """The payload of a TASKS frame, 16 bytes a task."""
    return b"".join([_TASK.pack(*task) for task in tasks])


def unpack_tasks(payload: bytes) -> Iterable[Start]:
    """The tasks of a TASKS frame."""
    return map(Start._make, _TASK.iter_unpack(payload))


class _Reader:
    """Reads one descriptor and cuts its bytes into frames."""

    # The pieces of a frame that is not whole yet are joined once, at its end: a map function of 300 MB comes in
    # thousands of them.
    head = _HEAD

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False  # the other side is gone
        self.filled = False  # whether the last read took all that it asked for: there may be more
        self.ask = SHORT_BYTES  # how much the next read takes at most
        self._pieces: list[bytes] = []
        self._held, self._needed = 0, 0

    def _fill(self) -> bytes:
        """Read once, a megabyte at most; the bytes so far, or nothing while the first frame in them is not whole."""
        self.filled = False
        try:
            data = os.read(self.fd, self.ask)
        except (BlockingIOError, InterruptedError):
            return b""
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.filled = len(data) == self.ask
        self.ask = READ_BYTES if self.filled else SHORT_BYTES
        if not data:
            self.ended = True
            return b""
        if not self._pieces:
            return data
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return b""
        whole = b"".join(self._pieces)
        self._pieces = []
        return whole

    def _keep(self, data: bytes, at: int) -> None:
        """Keep what follows the last whole frame."""
        if at < len(data):
            self._pieces, self._held = [data[at:]], len(data) - at
            known = self._held >= self.head.size
            self._needed = self.head.size + (self.head.unpack_from(data, at)[0] if known else 0)


class FrameReader(_Reader):
    """Frames ``(kind, payload)``; ``ended`` when the other side is gone."""

    def read(self) -> list[tuple[int, bytes]]:
        """Read what is there and return the whole frames in it."""
        data = self._fill()
        at, size, frames = 0, len(data), []
        while size - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + length
            if end > size:
                break
            frames.append((kind, data[at + _HEAD.size : end]))
            at = end
        self._keep(data, at)
        return frames


class TaggedReader(_Reader):
    """Frames ``(kind, chunk, model, payload)`` of a worker; ``ended`` when its pipe is closed.

    ``broken``: there are bytes in it that are not a frame. Nothing after them can be read.
    """

    head = _CHECKED_HEAD
    broken = False

    def read(self, worker: int) -> list[tuple[int, int, int, int, bytes]]:
        """Read what is there, up to about a megabyte; the messages ``(worker, kind, chunk, model, payload)`` in it."""
        # By short reads: all of them get the same memory, which is in the cache.
        messages: list[tuple[int, int, int, int, bytes]] = []
        for _ in range(READ_BYTES // SHORT_BYTES):
            data = self._fill()
            if self.broken or not self._cut(data, worker, messages) or not self.filled:
                break
            self.ask = SHORT_BYTES
        return messages

    def _cut(self, data: bytes, worker: int, messages: list[tuple[int, int, int, int, bytes]]) -> bool:
        """Add the whole frames in ``data`` to the messages; False: it is broken."""
        at, size = 0, len(data)
        while size - at >= _CHECKED_HEAD.size:
            length, kind, model, chunk, total, check = _CHECKED_HEAD.unpack_from(data, at)
            start = at + _CHECKED_HEAD.size
            end = start + length
            if crc32(data[at : at + _TAGGED.size]) != check:
                self.broken = True
                return False
            if end > size:
                break
            payload = data[start:end]
            if length > _ONE_PIECE_BYTES and crc32(payload) != total:
                self.broken = True
                return False
            messages.append((worker, kind, chunk, model, payload))
            at = end
        self._keep(data, at)
        return True
