"""The supervisor's end of the connection to the host. Never blocks on the host, and drops nothing that matters.

The newest durable offset replaces an older one that was not sent yet, notes beyond a bound are dropped (and counted):
a host whose callback is slow reads all outcomes from the log when it comes back to it.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgpack

from mrengine.backends.process import framing

__all__ = ["HostConnection"]

MOST_NOTES = 10_000
BEAT_S = 1.0


class HostConnection:
    """Implements :class:`mrengine.engine.loop.Announcer` over a socket."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.write_fd = os.dup(fd)  # one that can be watched for room while the other is watched for frames
        self._reader = framing.FrameReader(fd)
        self._queue: deque[bytes] = deque()
        self.rest = memoryview(b"")  # of the frame that is being sent
        self._durable: int | None = None
        self._beaten = 0.0
        self.dropped = 0
        self.broken = False

    def read(self) -> list[tuple[int, bytes]]:
        """Frames of the host."""
        return self._reader.read()

    @property
    def ended(self) -> bool:
        """Whether the host has closed its end, or is gone."""
        return self._reader.ended or self.broken

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self.rest or self._queue or self._durable is not None)

    def durable(self, offset: int) -> None:
        self._durable = offset
        self.flush()

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        self._put(framing.frame(framing.NOTE, msgpack.packb([name, dict(fields)])))

    def line(self, packed: bytes) -> None:
        self._put(framing.frame(framing.LINE, packed))

    def _put(self, data: bytes) -> None:
        if len(self._queue) >= MOST_NOTES:
            self.dropped += 1
            return
        self._queue.append(data)
        self.flush()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send what must not be dropped, after what is durable was told."""
        if self._durable is not None:
            self._queue.append(self._durable_frame())
        self._queue.append(framing.frame(kind, payload))
        self.flush()

    def _durable_frame(self) -> bytes:
        data = framing.frame(framing.DURABLE, struct.pack("<Q", self._durable))
        self._durable = None
        return data

    def note_dropped(self) -> None:
        """Say how many notes a slow host did not get."""
        if self.dropped:
            self.send(framing.NOTE, msgpack.packb(["notes:dropped", {"count": self.dropped}]))
            self.dropped = 0

    def beat(self) -> None:
        """A sign of life, at most one a second."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_S and not self.waiting:
            self._beaten = now
            self._put(framing.frame(framing.BEAT))

    def flush(self) -> None:
        """Write as much as the socket takes."""
        while self.waiting and not self.broken:
            if not self.rest:
                self.rest = memoryview(self._queue.popleft() if self._queue else self._durable_frame())
            try:
                self.rest = self.rest[os.write(self.fd, self.rest) :]
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
