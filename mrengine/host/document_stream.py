"""Cuts documents while they are read: the records of a job's documents and of its chunk table, as they come.

Of a job that goes on, what the log has is read and compared first: it may not be others' documents that follow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mrengine.errors import SourceError
from mrengine.host.chunk_table import Batch, beyond, rows_of
from mrengine.host.intake import Intake, Opened
from mrengine.host.row_stream import Numbered
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ChunkTable
from mrengine.log.format.job_records import (
    READING,
    DocumentRow,
    ReadRecord,
    batch_documents,
    pack_read,
)
from mrengine.log.format.values import Plain
from mrengine.log.view.document_facts import CUT_SHORT, FACTS, unread_facts
from mrengine.log.view.job_view import ResumeEngine
from mrengine.sources.spool import Text

__all__ = ["DocumentStream", "Known", "compare_known"]


class Known:
    """What the log has of a job that was left while its documents were read: ``table``, its rows; ``documents`` that
    are named in it, the last of them perhaps ``opened`` (-1: none is).
    """

    def __init__(self, stored: ResumeEngine) -> None:
        epoch = stored.epoch
        self.documents = 0 if epoch is None else epoch.document_count
        self.opened = -1 if epoch is None else epoch.opened
        self.table: ChunkTable | None = None
        if epoch is not None:
            self._reader = stored.reader.duplicate()  # the view may be opened anew
            self.table = ChunkTable(self._reader.fd, epoch.segments.get(0, []))
        self.rows = 0 if self.table is None else len(self.table)
        self.document = self.table[self.rows - 1].document if self.table is not None and self.rows else 0

    def first_row(self, document: int) -> int:
        """The first row of a document, or behind."""
        table = self.table
        if table is None:
            return 0
        return bisect_left(range(self.rows), document, key=lambda row: table[row].document)


def compare_known(intake: Intake, stored: ResumeEngine, known: Known) -> str | None:
    """The id of the first document that is not read again as the log says; None: all are. Those that have no rows, or
    the last ones, stay in the ``intake``; of one that was being read then, as much is read as has rows. Where one is
    another, all of them stay.
    """
    names = stored.documents()
    intake.stays = lambda index, name: (row := names.get(index)) is not None and row.id == name
    waiting, intake.rows = intake.rows, deque()
    for index, row in enumerate(names):
        found = waiting.popleft() if waiting else _next(intake, _end(known) if row.is_open else None)
        alike = _is_begun_alike(intake, known, found, row) if row.is_open else found == row
        if not alike:
            intake.rows = deque((*islice(names, index), *((found,) if found is not None else ()), *waiting))
            return row.id
        if index >= known.document and found is not None:
            intake.rows.append(found)
    intake.rows.extend(waiting)
    return None


def _next(intake: Intake, end: int | None) -> DocumentRow | None:
    """The next document that is not left out. None: there is none, or it was read as far as to an ``end`` in the spool
    (``opened``).
    """

    def is_far_enough() -> bool:
        return end is not None and intake.opened is not None and intake.spool.size >= end

    while not intake.ended:
        row = intake.next(is_far_enough)
        if row is not None or intake.opened is not None:
            return row
    return None


def _is_begun_alike(intake: Intake, known: Known, found: DocumentRow | None, row: DocumentRow) -> bool:
    """Whether a document, of which the log does not know the end, begins as it has rows."""
    now = found or (intake.opened.provisional if intake.opened is not None else None)
    return now is not None and _has_rows(intake, known, now, row)


def _has_rows(intake: Intake, known: Known, now: DocumentRow, row: DocumentRow) -> bool:
    """Whether the text in the spool is that of the rows of a document."""
    if (now.id, now.spool_offset) != (row.id, row.spool_offset) or known.table is None:
        return False
    first = known.first_row(known.documents - 1)
    intake.spool.flush()
    with Text(intake.spool.path) as text:
        rows = (known.table[index] for index in range(first, known.rows))
        return all(text.holds(one.spool_from, one.spool_to - one.spool_from, one.digest) for one in rows)


def _end(known: Known) -> int:
    return known.table[known.rows - 1].spool_to if known.table is not None and known.rows else 0


class DocumentStream:
    """Groups of records, one for each slice: documents first, then the rows of their chunks; a READ in the last one."""

    def __init__(
        self,
        intake: Intake,
        chunk: Callable[..., Iterator[Any]],
        *,
        settings: Mapping[str, Plain],
        known: Known,
        blank: Callable[[], None],
        is_due: Callable[[], bool],
        eager: bool = False,
    ) -> None:
        """``settings``: of the JOB that was, or will be, written. ``eager``: a group ends with each document, before
        the next one is asked for.
        """
        self._intake, self._chunk, self._settings, self._known = intake, chunk, settings, known
        self._blank, self._is_due, self._eager = blank, is_due, eager
        self._named = known.documents  # that the log, or an earlier group, names
        self._documents: list[DocumentRow] = []  # for this group
        self._opened: tuple[int, Opened] | None = None
        self._announced = known.opened  # the document that is named, and not more
        self._final: tuple[int, DocumentRow] | None = None

    def groups(self, begin: Sequence[Numbered]) -> Iterator[list[Numbered]]:
        """Cut all there is; ``begin`` comes first. SourceError, ChunkingError; LogError: the log's rows are others."""
        intake, next_id = self._intake, self._known.rows
        batch = Batch(0, next_id)
        for row in self._rows():
            if row is not None:
                batch.add(*row)
                next_id += 1
            if batch.is_full or (row is None and self._eager) or self._is_due():
                yield [*begin, *self._group(batch)]
                begin = ()
                batch = Batch(0, next_id)
        intake.reading.check()
        if not intake.has_text:
            count = intake.summary[0]
            raise SourceError(f"all {count} documents are blank: there is nothing to run the map function on")
        intake.spool.sync()
        yield [*begin, *self._group(batch), self._read()]

    def _rows(self) -> Iterator[Any]:
        known, index = self._known, self._known.document
        first = known.first_row(index)
        rows = self._cut(index, first)
        if known.table is None:
            yield from rows
        else:
            yield from beyond(known.table, rows, first)

    def _cut(self, index: int, next_id: int) -> Iterator[Any]:
        for document, text in self._intake.texts():
            if isinstance(document, Opened):
                self._opened, document.given = (index, document), True
                name, offset = document.source.id, document.offset
            else:
                self._name(index, document)
                name, offset = document.id, document.spool_offset
            for row in rows_of(index, offset, self._chunk(text, document_id=name, first_id=next_id), self._blank):
                yield row
                next_id += 1
            if isinstance(document, Opened):
                self._opened = None
                assert document.row is not None
                self._name(index, document.row)
            index += 1
            yield None  # is it due?

    def _name(self, index: int, row: DocumentRow) -> None:
        """A document that was read goes into the next group."""
        if index == self._announced:
            self._final, self._announced = (index, row), -1
        elif index >= self._named:
            self._documents.append(row)

    def _group(self, batch: Batch) -> list[Numbered]:
        self._intake.spool.flush()
        records: list[Numbered] = []
        if self._final is not None:
            (index, row), self._final = self._final, None
            records += _named(index, [row])
        if self._documents:
            records += _named(self._named, self._documents)
            self._named += len(self._documents)
            self._documents = []
        if self._opened is not None and self._opened[0] >= self._named:
            self._announced = self._named
            records += _named(self._named, [self._opened[1].provisional])
            self._named += 1
        if batch.rows:
            records.append((codec.CHUNKS, batch.payload(), batch.stop))
        return records

    def _read(self) -> Numbered:
        reading = self._intake.reading
        settings = {name: value for name, value in self._settings.items() if name != READING}
        settings |= {FACTS: self._intake.has_facts, **unread_facts(reading.errors)}
        if self._intake.cut_short:
            settings[CUT_SHORT] = list(self._intake.cut_short)
        return codec.READ, pack_read(ReadRecord(self._intake.summary, settings)), 0


def _named(first: int, rows: list[DocumentRow]) -> Iterator[Numbered]:
    """DOCUMENTS records, each with twice the number of documents up to its end, less one while the last is open."""
    stop = first + len(rows)
    number = 2 * stop - rows[-1].is_open
    return ((codec.DOCUMENTS, payload, number) for payload in batch_documents(first, rows))
