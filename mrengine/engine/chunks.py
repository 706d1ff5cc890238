"""Owns a worker's view of the documents: a chunk's row from the log, its text from the spool, read when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mrengine.log.chunktable import ChunkTable, DocumentNames, Segment
from mrengine.log.reader import LogReader
from mrengine.records import Chunk

__all__ = ["ChunkReader", "ObservedChunk", "read_text"]


class ObservedChunk(Chunk):
    """A chunk that notes whether its place (``id``, ``start``, ``end``) was looked at.

    A result that depends on the place cannot be carried to another id when documents are added.
    """

    __slots__ = ("_place",)

    def __init__(self, *fields: Any) -> None:
        names = ("id", "document_id", "start", "end", "overlap", "tokens", "kind", "text")
        for name, value in zip(names, fields):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_place", [False])

    def __getattribute__(self, name: str) -> Any:
        if name in ("id", "start", "end"):
            object.__getattribute__(self, "_place")[0] = True
        return object.__getattribute__(self, name)

    @property
    def position_read(self) -> bool:
        """Whether ``id``, ``start`` or ``end`` was read."""
        return bool(object.__getattribute__(self, "_place")[0])


def read_text(spool_fd: int, start: int, stop: int) -> str:
    """The text between two byte offsets of a spool."""
    data = os.pread(spool_fd, stop - start, start)
    while len(data) < stop - start:
        more = os.pread(spool_fd, stop - start - len(data), start + len(data))
        if not more:
            raise OSError(f"the spool ends at byte {start + len(data)}, a chunk reaches to {stop}")
        data += more
    return data.decode("utf-8", "surrogatepass")


class ChunkReader:
    """Reads chunks by id: one ``pread`` of the log for the row, one of the spool for the text. Safe from any thread."""

    def __init__(self, folder: str, table: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]) -> None:
        self.reader = LogReader(os.path.join(folder, "log"))
        self._spool_fd = os.open(os.path.join(folder, "spool"), os.O_RDONLY | os.O_CLOEXEC)
        self._table = ChunkTable(self.reader.fd, [Segment(*segment) for segment in table])
        self._names = DocumentNames(self.reader, [(first, offset) for first, offset in documents])

    def read(self, chunk: int) -> ObservedChunk:
        """A chunk with its text."""
        row = self._table[chunk]
        text = read_text(self._spool_fd, row.spool_from, row.spool_to)
        name = self._names[row.document].id
        return ObservedChunk(chunk, name, row.start, row.end, row.overlap, row.tokens, row.kind, text)

    def close(self) -> None:
        """Close both files."""
        self.reader.close()
        os.close(self._spool_fd)
