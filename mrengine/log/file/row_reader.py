"""Reads the chunk table and the documents of a job by number, from the log, without holding either in memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from mrengine.errors import LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.format.chunk_rows import ROW_BYTES, ChunkRow, Segment, heads_in, stands_in, unpack_row
from mrengine.log.format.codec import OVERHEAD_BYTES
from mrengine.log.format.heads import NO_HEADS, HeadPlaces
from mrengine.log.format.job_records import DocumentRow, document_row, packed_documents
from mrengine.log.format.packing import HEAD_BYTES

__all__ = ["Batch", "ChunkTable", "DocumentNames", "document_of"]

_CACHED_BATCHES = 8
_BLOCK_ROWS = 64  # a worker's tasks lie close together: one pread serves many


class Batch(NamedTuple):
    """Documents ``first`` to ``first + rows - 1`` are named by the DOCUMENTS frame at ``offset``."""

    first: int
    rows: int
    offset: int


class ChunkTable:
    """The rows of a round by number. In memory are a few numbers per 16,384 rows, and one block of 64 rows.

    Thread-safe without a lock: cached blocks are replaced, never changed.
    """

    # Every worker has such a table. The rows of a million chunks would take 64 MB in each of them.

    def __init__(self, fd: int, segments: Sequence[Segment]) -> None:
        """``segments``: in order of ``first``, without holes. ``fd`` stays the caller's."""
        self._fd = fd
        self._firsts = [segment.first for segment in segments]
        self._segments = tuple(segments)
        self._block = (0, b"")  # the first row in it, and the rows
        self._heads: tuple[int, list[HeadPlaces]] = (-1, [])  # the segment whose heads were read last, and the heads

    def __len__(self) -> int:
        return self._segments[-1].first + self._segments[-1].rows if self._segments else 0

    def grow(self, segment: Segment) -> None:
        """Add the rows that follow the last; one thread at a time."""
        # The firsts before the segments: ``len`` counts segments, and a reader looks for no row beyond it.
        self._firsts.append(segment.first)
        self._segments = (*self._segments, segment)

    @property
    def is_of_texts(self) -> bool:
        """Whether the rows are texts of a reduce round, which stand behind the documents in the spool."""
        return any(segment.round for segment in self._segments[:1])

    @property
    def scanned(self) -> int:
        """Where the last known CHUNKS record begins in the log; 0 if none is known."""
        return self._segments[-1].offset - OVERHEAD_BYTES - HEAD_BYTES if self._segments else 0

    def __getitem__(self, index: int) -> ChunkRow:
        """The row of a chunk. IndexError: no such chunk. LogError: the file has shrunk, or cannot be read."""
        first, rows = self._block
        at = (index - first) * ROW_BYTES
        if not 0 <= at < len(rows):
            if not 0 <= index < len(self):
                raise IndexError(index)
            segment = self._segments[bisect_right(self._firsts, index) - 1]
            before = index - segment.first
            size = min(_BLOCK_ROWS, segment.rows - before) * ROW_BYTES
            rows, at = _pread(self._fd, size, segment.offset + before * ROW_BYTES), 0
            self._block = (index, rows)
        return unpack_row(rows, at)

    def heads(self, index: int, row: ChunkRow) -> HeadPlaces:
        """Where the headings and table header of row ``index`` stand. LogError: they cannot be read."""
        if not row.context:
            return NO_HEADS
        at = bisect_right(self._firsts, index) - 1
        known, heads = self._heads
        try:
            if known != at:
                heads = self._read_heads(self._segments[at])
                self._heads = (at, heads)
            return heads[row.context - 1]
        except (LogError, IndexError):
            message = f"the log has lost what stands above chunk {index}: run the job again with its documents"
            raise LogError(message, reason="damaged") from None

    def _read_heads(self, segment: Segment) -> list[HeadPlaces]:
        with LogReader(self._fd) as reader:
            return heads_in(reader.payload(segment.offset - OVERHEAD_BYTES - HEAD_BYTES))

    def blocks(self) -> Iterator[bytes]:
        """The rows of each CHUNKS record, packed."""
        for segment in self._segments:
            yield _pread(self._fd, segment.rows * ROW_BYTES, segment.offset)

    def __iter__(self) -> Iterator[ChunkRow]:
        for rows in self.blocks():
            for at in range(0, len(rows), ROW_BYTES):
                yield unpack_row(rows, at)


class DocumentNames:
    """The documents of an epoch by index, decoded a batch at a time. Thread-safe without a lock.

    Only a few batches are cached.
    """

    # A full cache is replaced by a new one and not cleared, as other threads may be reading the old.

    def __init__(self, reader: LogReader, batches: Sequence[Sequence[int]]) -> None:
        """``batches``: each a ``Batch``, in order, perhaps with holes. ``reader`` stays the caller's."""
        self._reader = reader
        self._batches = tuple(Batch(*batch) for batch in batches)
        self._firsts = [batch.first for batch in self._batches]
        self._cache: dict[int, list[list[Any]]] = {}  # rows as ``packed_documents`` gives them, by batch
        self._last: tuple[int, list[list[Any]]] = (0, [])  # index of the first document and rows of the last batch used

    def __len__(self) -> int:
        return self._batches[-1].first + self._batches[-1].rows if self._batches else 0

    def grow(self, batch: Batch, rows: list[list[Any]]) -> None:
        """Add the documents that follow the last, with rows that the caller has unpacked; one thread at a time."""
        self._keep(len(self._batches), rows)
        self._batches = (*self._batches, batch)
        self._firsts.append(batch.first)  # last: a reader that finds it there finds its batch

    def __getitem__(self, index: int) -> DocumentRow:
        """The document. LogError: its record was lost, or cannot be read."""
        first, rows = self._last
        if 0 <= index - first < len(rows):
            return document_row(rows[index - first])
        at = bisect_right(self._firsts, index) - 1
        rows = self._rows(at) if at >= 0 else []
        if at < 0 or not 0 <= index - self._firsts[at] < len(rows):
            message = f"the log has lost what it knew of document {index}: run the job again with its documents"
            raise LogError(message, reason="damaged")
        self._last = self._firsts[at], rows
        return document_row(rows[index - self._firsts[at]])

    def __iter__(self) -> Iterator[DocumentRow]:
        """All documents but those whose record was lost."""
        for _, rows in self.batches():
            yield from rows

    def batches(self) -> Iterator[tuple[int, tuple[DocumentRow, ...]]]:
        """(index of the first document, all documents) of each record. LogError: a record cannot be read."""
        for batch, rows in zip(self._batches, self.packed(), strict=True):
            yield batch.first, tuple(map(document_row, rows))

    def packed(self) -> Iterator[list[list[Any]]]:
        """The rows of each record, as ``packed_documents`` gives them. LogError: a record cannot be read."""
        for at, batch in enumerate(self._batches):
            rows = self._cache.get(at)  # not added to the cache: whoever reads all batches reads each of them once
            if rows is None:
                _, rows, _ = packed_documents(self._reader.payload(batch.offset))
            yield rows

    def get(self, index: int) -> DocumentRow | None:
        """The document; None: its record was lost."""
        try:
            return self[index]
        except LogError:
            return None

    def _rows(self, at: int) -> list[list[Any]]:
        rows = self._cache.get(at)
        if rows is None:
            _, rows, _ = packed_documents(self._reader.payload(self._batches[at].offset))
            self._keep(at, rows)
        return rows

    def _keep(self, at: int, rows: list[list[Any]]) -> None:
        if len(self._cache) >= _CACHED_BATCHES:
            self._cache = {}
        self._cache[at] = rows


def document_of(table: ChunkTable, names: DocumentNames, chunk: int) -> str:
    """The id of a chunk's document; "" if the log has lost it, or the chunk's row fits no document."""
    with suppress(LogError, IndexError):
        row = table[chunk]
        known = names.get(row.document)
        return known.id if known is not None and (table.is_of_texts or stands_in(row, known)) else ""
    return ""


def _pread(fd: int, count: int, offset: int) -> bytes:
    try:
        data = os.pread(fd, count, offset)
    except OSError as error:
        raise LogError(f"cannot read the chunk table: {error.strerror}", reason="io") from error
    if len(data) != count:
        raise LogError("the log is shorter than its chunk table", reason="damaged", ranges=[(offset, offset + count)])
    return data
