"""Reads the documents of a half-read job again, and compares them with what its log has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path

from mrengine.errors import JobMismatch, LogError
from mrengine.host.intake import Intake
from mrengine.host.row_stream import Pace
from mrengine.host.table_checks import first_row, is_there
from mrengine.log.file.row_reader import ChunkTable, DocumentNames
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.job_view import ResumeEngine
from mrengine.sources.spool import SpoolFile

__all__ = ["Comparison", "Known", "compared_meanwhile", "has_text_to_begin_with"]


class Known:
    """What the log of a half-read job has: ``table``, its rows, and ``names``, its ``documents`` documents, of which
    the last one may be ``opened`` still (-1: none is). ``document``: the one of the last row.
    """

    def __init__(self, stored: ResumeEngine) -> None:
        epoch = stored.epoch
        self.documents = 0 if epoch is None else epoch.document_count
        self.opened = -1 if epoch is None else epoch.opened
        self.table: ChunkTable | None = None
        reader = stored.reader.duplicate()  # a descriptor of its own: the view may be opened anew
        self.names = DocumentNames(reader, epoch.documents if epoch is not None else [])
        if epoch is not None:
            self._reader = reader  # held for its descriptor, which it closes when it is collected
            self.table = ChunkTable(reader.fd, epoch.segments.get(0, []))
        self.rows = 0 if self.table is None else len(self.table)
        self.document = self.table[self.rows - 1].document if self.table is not None and self.rows else 0

    def first_row(self, document: int) -> int:
        """The first row of a document, or the place where it would be."""
        return 0 if self.table is None else first_row(self.table, document)

    @property
    def end(self) -> int:
        """Where the text of the last row ends in the spool."""
        return self.table[self.rows - 1].spool_to if self.table is not None and self.rows else 0


class Comparison:
    """Reads the documents that the log has again, in steps. ``other``: the id of the first one that differs, if any.

    Afterwards the ``intake`` holds the documents that are still to be cut: those without rows, and the one of the last
    row. A document that was open is read only as far as it has rows. After a difference all documents are to be cut.
    """

    def __init__(self, intake: Intake, known: Known) -> None:
        self.other: str | None = None
        self.is_over = False
        self._intake, self._known = intake, known
        self._is_due: Callable[[], bool] = lambda: False
        self._steps = self._compared()

    def advance(self, is_due: Callable[[], bool] = lambda: False) -> bool:
        """Compare until it ``is_due``; whether the comparison is over."""
        self._is_due = is_due
        for _ in self._steps:
            if is_due():
                return False
        self.is_over = True
        return True

    def _compared(self) -> Iterator[None]:
        intake, known, names = self._intake, self._known, self._known.names
        # A document that broke off in the earlier run stays as far as it came: its chunks were handed out.
        intake.stays = lambda index, name: (row := names.get(index)) is not None and row.id == name
        waiting, intake.rows = intake.rows, deque()
        for index, row in enumerate(names):
            if waiting:
                found: DocumentRow | None = waiting.popleft()
            else:
                found = yield from self._next(known.end if row.is_open else None)
            alike = self._is_begun_alike(found, row) if row.is_open else found == row
            if alike and index == known.document and not row.is_open:
                alike = self._has_rows(row, row)  # more rows are cut behind these: they must be right
            if not alike:
                intake.rows = deque((*islice(names, index), *((found,) if found is not None else ()), *waiting))
                self.other = row.id
                return
            if index >= known.document and found is not None:
                intake.rows.append(found)
            yield
        intake.rows.extend(waiting)

    def _next(self, end: int | None) -> Generator[None, None, DocumentRow | None]:
        """Read the next document that is not left out. None: there is none, or it was read up to ``end`` in the spool
        and is still ``opened``.
        """
        intake = self._intake

        def is_far_enough() -> bool:
            return end is not None and intake.opened is not None and intake.spool.size >= end

        while not intake.ended:
            row = intake.next(lambda: is_far_enough() or self._is_due())
            if row is not None or is_far_enough():
                return row
            yield
        return None

    def _is_begun_alike(self, found: DocumentRow | None, row: DocumentRow) -> bool:
        """Whether a document that the log has as open begins with the text of its rows."""
        # It has no digest yet; what had not been read may be anything.
        opened = self._intake.opened
        now = found or (opened.provisional if opened is not None else None)
        return now is not None and self._has_rows(now, row)

    def _has_rows(self, now: DocumentRow, row: DocumentRow) -> bool:
        """Whether the spool has the text of a document's rows, at the same place."""
        known, spool = self._known, self._intake.spool
        if (now.id, now.spool_offset) != (row.id, row.spool_offset) or known.table is None:
            return False
        spool.flush()
        with SpoolFile(spool.path) as text:
            return all(
                is_there(chunk, known.table[chunk], text)
                for chunk in range(known.first_row(known.document), known.rows)
            )


def has_text_to_begin_with(stored: ResumeEngine, place: Path, most_s: float) -> bool:
    """Whether the log has rows without a result, and an earlier run's spool the text of all of them. False, too, if
    looking takes longer than ``most_s``.
    """
    pace, table, some = Pace(most_s), stored.chunk_table(), False
    with SpoolFile(place) as text:
        for chunk, _ in stored.pending():
            try:
                some = is_there(chunk, table[chunk], text)
            except LogError:
                return False
            if not some or pace.is_due():
                return False
    return some


def compared_meanwhile(comparison: Comparison, is_due: Callable[[], bool], job_id: str) -> Iterator[None]:
    """Finish a comparison while the workers run rows that the log has. JobMismatch: a document differs."""
    while not comparison.advance(is_due):
        yield
    if comparison.other is not None:
        line = f"the document {comparison.other!r} is another, or comes at another place"
        message = (
            f"job {job_id} was started with other inputs: {line}. Its chunks that were run meanwhile are those of the "
            "earlier documents. Use another job_id, or on_mismatch='recompute' (keep what still fits) or 'restart' "
            "(from nothing)"
        )
        raise JobMismatch(message, differences=(line,))
