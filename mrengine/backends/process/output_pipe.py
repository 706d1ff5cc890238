"""The pipe that workers print to; it is cut into lines for the host's logger."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgpack

from mrengine.engine.protocol import LINE, Message

__all__ = ["OutputPipe"]

LONGEST = 8192  # bytes; a longer line comes in pieces


class OutputPipe:
    """Workers write to ``write_fd``; each line becomes a LINE message, packed for the host as [logger, level, text]."""

    def __init__(self, logger: str, level: int) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._logger, self._level = logger, level
        self._rest = b""

    def read(self) -> list[Message]:
        """The whole lines that have arrived."""
        return self._lines() if self._fill() else []

    def last(self) -> list[Message]:
        """All lines that have arrived, with a last one that has no end."""
        lines: list[Message] = []
        while self._fill():
            lines += self._lines()
        rest, self._rest = self._rest, b""
        return lines + self._messages([rest])

    def _fill(self) -> bool:
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        self._rest += data
        return bool(data)

    def _lines(self) -> list[Message]:
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > LONGEST:
            whole = _cut(self._rest, (len(self._rest) - 1) // LONGEST * LONGEST)
            lines.append(self._rest[:whole])
            self._rest = self._rest[whole:]
        return self._messages(lines)

    def _messages(self, lines: list[bytes]) -> list[Message]:
        return [
            (-1, LINE, -1, -1, msgpack.packb([self._logger, self._level, piece.decode("utf-8", "replace")]))
            for line in lines
            if line.strip()
            for piece in _pieces(line)
        ]

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self.write_fd)


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > LONGEST:
        at = _cut(line, LONGEST)
        yield line[:at]
        line = line[at:]
    yield line


def _cut(line: bytes, at: int) -> int:
    """The nearest place before ``at`` that is not inside a character."""
    return next((cut for cut in range(at, at - 4, -1) if line[cut] & 0xC0 != 0x80), at)
