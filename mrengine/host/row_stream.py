"""Owns the rest of a job's chunk table: rows that are cut while the workers are at the first ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ROW_BYTES, unpack_chunks, unpack_row

__all__ = ["AHEAD", "Pace", "RowStream"]

AHEAD = 1 << 16  # chunks that may be cut and wait for a worker
FIRST_S = 0.3  # of cutting, before the workers are given what there is
SLICE_S, LONGEST_S = 0.02, 0.25  # of cutting between two looks at the news
Record = tuple[int, bytes]


class Pace:
    """When to stop cutting and hand over what there is: by the thread's own time, which other processes do not use."""

    def __init__(self, first_s: float, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock, self._slice_s = clock, SLICE_S
        self._due = clock() + first_s

    def is_due(self) -> bool:
        """Whether the slice is over."""
        return self._clock() >= self._due

    def next(self) -> None:
        """Begin another slice; they grow, so that the first rows come soon and the last ones in few commits."""
        self._due = self._clock() + self._slice_s
        self._slice_s = min(LONGEST_S, self._slice_s * 1.5)


class RowStream:
    """CHUNKS records as they are cut. ``count``: rows that were handed out, or stood in the log before; ``ended``:
    there are no more.

    What was handed out is kept until it was ``seen`` in the log: a supervisor that dies takes along what it did not
    make durable, and the next one is given it again.
    """

    def __init__(self, records: Iterator[Record], pace: Pace, *, count: int, n_bytes: int) -> None:
        """``records``: of the map round; they end where ``pace`` is due. ``n_bytes``: of all documents."""
        self._records, self._pace, self._n_bytes = records, pace, n_bytes
        self._unseen: deque[tuple[int, Record]] = deque()  # each with the number of rows up to its end
        self._position = 0  # bytes of the documents that were cut
        self.count = count
        self.ended = False

    def next(self) -> Sequence[Record]:
        """Cut on for a while; nothing, with ``ended``: that was the end."""
        self._pace.next()
        record = next(self._records, None)
        self.ended = record is None
        if record is None or not record[1]:  # it has come no further than the rows that there are
            return ()
        self._took(record[1])
        self._unseen.append((self.count, record))
        return (record,)

    def first(self) -> list[Record]:
        """All records of the first slice; the others are left, unless that was the end."""
        records = []
        for record in self._records:
            if record[1]:
                records.append(record)
            if record[0] == codec.CHUNKS:
                if record[1]:
                    self._took(record[1])
                if self._pace.is_due():
                    return records
        self.ended = True
        return records

    def _took(self, payload: bytes) -> None:
        _, first, rows = unpack_chunks(payload)
        self.count = first + len(rows) // ROW_BYTES
        self._position = unpack_row(rows, len(rows) - ROW_BYTES).spool_to

    def seen(self, rows: int) -> None:
        """So many rows are durable."""
        while self._unseen and self._unseen[0][0] <= rows:
            self._unseen.popleft()

    @property
    def unseen(self) -> list[Record]:
        """What the log lacks of what was handed out."""
        return [record for _, record in self._unseen]

    @property
    def expected(self) -> int:
        """About how many rows there will be: rather too many."""
        if self.ended or not self._position:
            return max(self.count, min(self._n_bytes, AHEAD))
        return int(1.5 * self.count * max(1.0, self._n_bytes / self._position)) + 1024
