"""Owns a pipe that takes what workers print, and cuts it into lines for the host's logger."""

from __future__ import annotations

import os

import msgpack

from mrengine.engine.messages import LINE, Message

__all__ = ["LinePipe"]

LONGEST = 8192  # bytes; a longer line comes in pieces


class LinePipe:
    """Workers write to ``write_fd``; ``read()`` returns lines, packed for the host as [logger, level, text]."""

    def __init__(self, logger: str, level: int) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._logger, self._level = logger, level
        self._rest = b""

    def read(self) -> list[bytes]:
        """The whole lines that have arrived."""
        try:
            self._rest += os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > LONGEST:
            whole = len(self._rest) // LONGEST * LONGEST
            lines.append(self._rest[:whole])
            self._rest = self._rest[whole:]
        return [
            msgpack.packb([self._logger, self._level, line[at : at + LONGEST].decode("utf-8", "replace")])
            for line in lines
            if line.strip()
            for at in range(0, len(line), LONGEST)
        ]

    def messages(self) -> list[Message]:
        """``read()`` as messages."""
        return [(-1, LINE, -1, -1, line) for line in self.read()]

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self.write_fd)
