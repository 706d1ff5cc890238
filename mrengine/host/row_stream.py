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

AHEAD = 1 << 16  # how many chunks may be cut and wait for a worker
FIRST_S = 0.3  # how long to cut before the workers begin: most jobs are cut whole by then
EARLY_S = 0.1  # the same, where more is sure to follow
LARGE_BYTES = 1 << 24  # documents of this size are never cut within FIRST_S
SLICE_S, LONGEST_S = 0.02, 0.25  # how long to cut between two looks at the driver's updates
LONGER = 4  # how many times as long a slice may take by the clock, as sources may have to be waited for
Record = tuple[int, bytes]
Numbered = tuple[int, bytes, int]  # a record, and the number by which ``is_in`` finds whether a log has it


class Pace:
    """Decides when to stop cutting and hand over the rows: by the process's CPU time, and at last by the clock.

    CPU time, so that on a busy machine a slice still makes rows; of the process, as the thread that digests and writes
    does a part of the reading; the clock, for a source that has to be waited for.
    """

    def __init__(
        self,
        first_s: float,
        clock: Callable[[], float] = time.process_time,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._wall, self._slice_s = clock, wall, SLICE_S
        self._begin(first_s)

    def _begin(self, slice_s: float) -> None:
        now = self._wall()
        self._due, self._wall_due, self._latest = self._clock() + slice_s, now + slice_s, now + LONGER * slice_s

    def is_due(self) -> bool:
        """Whether the slice is over."""
        now = self._wall()
        if now < self._wall_due:
            return False
        left = self._due - self._clock()
        if left <= 0 or now >= self._latest:
            return True
        self._wall_due = now + left  # CPU time costs ten times as much to ask for as the clock's
        return False

    def next(self) -> None:
        """Begin another slice. Slices grow: the first rows come soon, the last ones in few commits."""
        self._begin(self._slice_s)
        self._slice_s = min(LONGEST_S, self._slice_s * 1.5)


def first_slice_s(first_s: float, n_bytes: int) -> float:
    """How long to cut documents of this size before the workers begin: ``first_s`` at most; inf: to the end."""
    return min(first_s, EARLY_S) if n_bytes > LARGE_BYTES and first_s < math.inf else first_s


def numbered(records: Iterator[Record]) -> Iterator[list[Numbered]]:
    """Group the records of a chunk table whose documents were all read before; each group ends with a CHUNKS record."""
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
        # An open document counts half: a record that closes it has a higher number than the one that opened it.
        return 2 * count - (0 <= epoch.opened == count - 1) >= number
    return kind != codec.READ or not epoch.reading


class RowStream:
    """Yields records as documents are cut. ``count``: rows that were handed out, or were in the log before; ``ended``:
    there are no more.

    Records are kept until they are ``seen`` in the log: what a supervisor had not made durable when it died, the next
    one is given again.
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
        """``groups``: records of the map round, one group for each slice of ``pace``. ``n_bytes``: the length of all
        documents, if it is known. ``is_urgent()``: whether to go on, however many rows wait for the workers.
        """
        self.is_urgent = is_urgent
        self._groups, self._pace, self._n_bytes = groups, pace, n_bytes
        self._unseen: deque[Numbered] = deque()
        self._position = 0  # bytes of the documents that were cut
        self.count = count
        self.ended = False

    def next(self) -> Sequence[Record]:
        """Cut one more slice; returns its records, which may be none. Sets ``ended`` when there are no more."""
        self._pace.next()
        group = next(self._groups, None)
        if group is None:
            self.ended = True
            return ()
        self._took(group)
        self._unseen.extend(group)
        return [record[:2] for record in group]

    def first(self) -> list[Record]:
        """Cut the first slice; returns its records."""
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
        """Forget the records that a log has made durable."""
        while self._unseen and is_in(epoch, self._unseen[0]):
            self._unseen.popleft()

    @property
    def unseen(self) -> list[Record]:
        """The records that were handed out and are not known to be durable."""
        return [record[:2] for record in self._unseen]

    @property
    def expected(self) -> int:
        """About how many rows there will be, rather too many."""
        # The index of stored calls is sized by it, once, before the workers are forked.
        n_bytes = self._n_bytes
        if n_bytes is None:
            return max(2 * self.count, 8 * AHEAD)
        if self.ended or not self._position:
            return max(self.count, min(n_bytes, AHEAD))
        return int(1.5 * self.count * max(1.0, n_bytes / self._position)) + 1024
