"""What map functions print in an actor goes to the host's logger, line by line."""

from __future__ import annotations

import io
import threading

import msgpack

from mrengine.backends.process.slots import Outbox
from mrengine.engine import protocol as m

__all__ = ["Printed"]

LOGGER = "map_fn"
MOST = 8192


class Printed(io.TextIOBase):
    """A standard stream that says lines."""

    def __init__(self, outbox: Outbox, level: int) -> None:
        self._outbox, self._level, self._rest = outbox, level, ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Whole lines are said at once."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > MOST:
                lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """A line that has no end yet, too."""
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._say(rest)

    def _say(self, line: str) -> None:
        if self._outbox.own and line:
            packed = msgpack.packb([LOGGER, self._level, line[:MOST]], unicode_errors="replace")
            self._outbox.emit(m.LINE, -1, -1, packed)
