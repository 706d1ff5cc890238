"""Streams the rest of a job's chunk table: rows that are cut while the workers run the first ones."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ROW_BYTES, chunks_segment, unpack_row
from mrengine.log.format.packing import HEAD_BYTES
from mrengine.log.view.replay import Epoch

__all__ = ["AHEAD", "EARLY_S", "Numbered", "Pace", "Record", "RowStream", "first_slice_s", "numbered"]

AHEAD = 1 << 16  # chunks that may be cut and wait for a worker
FIRST_S = 0.3  # of cutting, before the workers are given what there is
EARLY_S = 0.1  # the same where it is known that there will be more
LARGE_BYTES = 1 << 24  # of documents, which are not cut within FIRST_S
SLICE_S, LONGEST_S = 0.02, 0.25  # of cutting between two looks at the driver's updates
LONGER = 4  # times as long a slice may take by the clock: a source may be waited for
Record = tuple[int, bytes]
Numbered = tuple[int, bytes, int]  # a record, with what tells whether a log has it: see ``is_in``


class Pace:
    """When to stop cutting and hand over what there is: by the thread's own time, which other processes do not use, or
    where that stands still, by the clock.
    """

    def __init__(
        self,
        first_s: float,
        clock: Callable[[], float] = time.thread_time,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._wall, self._slice_s = clock, wall, SLICE_S
        self._begin(first_s)

    def _begin(self, slice_s: float) -> None:
        self._due, self._wall_due, self._latest = self._clock() + slice_s, *self._walls(slice_s)

    def _walls(self, slice_s: float) -> tuple[float, float]:
        now = self._wall()
        return now + slice_s, now + LONGER * slice_s

    def is_due(self) -> bool:
        """Whether the slice is over."""
        now = self._wall()
        if now < self._wall_due:
            return False
        left = self._due - self._clock()
        if left <= 0 or now >= self._latest:
            return True
        self._wall_due = now + left  # a thread's own time costs ten times as much to ask for as the clock's
        return False

    def next(self) -> None:
        """Begin another slice; they grow, so that the first rows come soon and the last ones in few commits."""
        self._begin(self._slice_s)
        self._slice_s = min(LONGEST_S, self._slice_s * 1.5)


def first_slice_s(first_s: float, n_bytes: int) -> float:
    """How long to cut documents of so many bytes before the workers begin. ``first_s``: at most; inf: to the end."""
    return min(first_s, EARLY_S) if n_bytes > LARGE_BYTES and first_s < math.inf else first_s


def numbered(records: Iterator[Record]) -> Iterator[list[Numbered]]:
    """Records of a chunk table whose documents were all read before, in groups that end with a CHUNKS record."""
    group: list[Numbered] = []
    for kind, payload in records:
        if kind != codec.CHUNKS:
            group.append((kind, payload, 0))
            continue
        if payload:
            segment = chunks_segment(payload, 0)
            group.append((kind, payload, segment.first + segment.rows))
        yield group
        group = []
    if group:
        yield group


def is_in(epoch: Epoch | None, record: Numbered) -> bool:
    """Whether a log has a record."""
    kind, _, number = record
    if epoch is None:
        return False
    if kind == codec.CHUNKS:
        return epoch.chunks() >= number
    if kind == codec.DOCUMENTS and number:
        count = epoch.document_count
        return 2 * count - (0 <= epoch.opened == count - 1) >= number
    return kind != codec.READ or not epoch.reading


class RowStream:
    """Records as documents are cut. ``count``: rows that were handed out, or stood in the log before; ``ended``:
    there are no more.

    What was handed out is kept until it was ``seen`` in the log: a supervisor that dies takes along what it did not
    make durable, and the next one is given it again.
    """

    def __init__(
        self,
        groups: Iterator[list[Numbered]],
        pace: Pace,
        *,
        count: int,
        n_bytes: int | None,
        is_urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        """``groups``: of records of the map round; each ends where ``pace`` is due. ``n_bytes``: of all documents,
        where that is known. ``is_urgent()``: whether to go on, however many rows are ahead of the workers.
        """
        self.is_urgent = is_urgent
        self._groups, self._pace, self._n_bytes = groups, pace, n_bytes
        self._unseen: deque[Numbered] = deque()
        self._position = 0  # bytes of the documents that were cut
        self.count = count
        self.ended = False

    def next(self) -> Sequence[Record]:
        """Cut on for a while; nothing, with ``ended``: that was the end."""
        self._pace.next()
        group = next(self._groups, None)
        if group is None:
            self.ended = True
            return ()
        self._took(group)
        self._unseen.extend(group)
        return [record[:2] for record in group]

    def first(self) -> list[Record]:
        """All records of the first slice; the others are left, unless that was the end."""
        records: list[Record] = []
        for group in self._groups:
            self._took(group)
            self._unseen.extend(group)
            records += [record[:2] for record in group]
            if self._pace.is_due():
                return records
        self.ended = True
        return records

    def _took(self, group: Sequence[Numbered]) -> None:
        for kind, payload, number in group:
            if kind == codec.CHUNKS:
                self.count = number
                at = HEAD_BYTES + chunks_segment(payload, 0).rows * ROW_BYTES - ROW_BYTES
                self._position = unpack_row(payload, at).spool_to

    def seen(self, epoch: Epoch | None) -> None:
        """What is durable."""
        while self._unseen and is_in(epoch, self._unseen[0]):
            self._unseen.popleft()

    @property
    def unseen(self) -> list[Record]:
        """What the log lacks of what was handed out."""
        return [record[:2] for record in self._unseen]

    @property
    def expected(self) -> int:
        """About how many rows there will be: rather too many."""
        known = self._n_bytes
        if known is None:
            return max(2 * self.count, 8 * AHEAD)
        if self.ended or not self._position:
            return max(self.count, min(known, AHEAD))
        return int(1.5 * self.count * max(1.0, known / self._position)) + 1024
