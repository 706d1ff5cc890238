"""A job that begins while its documents are still being read: they are cut as they come, and the records follow.

A resumed job reads again what the log already has, and compares it first: other documents may not be appended to it.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrengine._version import __version__
from mrengine.errors import SourceError, SupervisorDied
from mrengine.host.chunk_table import Batch, beyond, is_there, rows_follow, rows_of
from mrengine.host.intake import Intake, Opened, is_read_once
from mrengine.host.row_stream import EARLY_S, Numbered, Pace, RowStream
from mrengine.job.driver import Driver
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
from mrengine.log.view.chunk_facts import CUT_SHORT, FACTS, unread_facts
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.mismatch import compare
from mrengine.records import Document
from mrengine.sources.spool import Text, spool_name

if TYPE_CHECKING:
    from mrengine.host.job_identity import Plan

__all__ = ["Begun", "DocumentStream", "EarlyStart", "Known", "LoggedDocuments", "can_go_on", "compare_known"]


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
        if alike and index == known.document and not row.is_open:
            alike = _has_rows(intake, known, row, row)  # it is cut once more, and compared
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
    first = known.first_row(known.document)
    intake.spool.flush()
    with Text(intake.spool.path) as text:
        return all(is_there(chunk, known.table[chunk], text) for chunk in range(first, known.rows))


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
        intake.spool.sync()  # READ says that all text is there: the text must be durable first
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
        self._intake.spool.flush()  # workers read the text as soon as they are given the rows
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


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that has begun: where its text is, and the rows that are still to come."""

    plan: Plan
    spool: Path
    rows: RowStream
    documents: LoggedDocuments


class EarlyStart:
    """``plan()``: of the job, as far as it is known without its documents. ``stage(name)``: a ``with`` block whose
    duration is noted. ``first_s``: of cutting, at most, after which the workers can begin. ``eager``: see
    DocumentStream.
    """

    def __init__(
        self,
        folder: Path,
        intake: Intake,
        plan: Callable[[], Plan],
        *,
        first_s: float,
        eager: bool = False,
        stage: Callable[[str], AbstractContextManager[Any]],
    ) -> None:
        self._folder, self._intake, self._plan = folder, intake, plan
        self._first_s, self._eager, self._stage = 0.0 if eager else min(first_s, EARLY_S), eager, stage
        self.other: str | None = None  # the id of a document that is another than the log has

    def is_possible(self, stored: ResumeEngine | None, document: Any) -> bool:
        """Whether more is to be read of a new job, or of one that the log has as it was left then."""
        if stored is None or stored.epoch is None:
            return not self._intake.ended and not _has_pipes(document)
        return _was_reading(stored) and self._is_same(stored)

    def _is_same(self, stored: ResumeEngine) -> bool:
        """Whether a log is of the same job, whatever its documents are."""
        assert stored.epoch is not None
        job = stored.epoch.job
        return not compare(job, replace(self._plan().job, documents=job.documents))

    def begin(self, session: Driver, stored: ResumeEngine, again: Callable[[SupervisorDied], Any]) -> Begun | None:
        """Write the first rows, with the job's lock. None: the documents are others than those that the log has.

        ``again(error)``: another driver that has opened the job, and the log, for one whose supervisor has died.
        """
        plan, known, intake = self._plan(), Known(stored), self._intake
        if stored.epoch is not None:
            with self._stage("read"):
                self.other = compare_known(intake, stored, known)
            if self.other is not None:
                return None
        token = secrets.token_bytes(16) if stored.epoch is None else stored.epoch.spool
        plan.job, place = replace(plan.job, documents=(0, 0, token)), self._folder / spool_name(token)
        intake.at_once = True
        with self._stage("cut"):
            plan.load()
            pace = Pace(self._first_s)
            begin, stream = plan.while_read(intake, stored, known, is_due=pace.is_due, eager=self._eager)
            rows = RowStream(stream.groups(begin), pace, count=known.rows, n_bytes=None)
            rows.first()
        intake.spool.settle(place)
        while True:
            try:
                for record in rows.unseen:
                    session.append(*record)
                stored.catch_up(session.sync())
                return Begun(plan, place, rows, LoggedDocuments(stored))
            except SupervisorDied as error:
                session, stored = again(error)
                rows.seen(stored.epoch)


def can_go_on(stored: ResumeEngine) -> bool:
    """Whether the rows of a log are the first ones of this version's, and all of its documents are known."""
    epoch = stored.epoch
    assert epoch is not None
    return epoch.job.version == __version__ and not stored.state.repaired and not epoch.lost_documents()


def _was_reading(stored: ResumeEngine) -> bool:
    """Whether a job was left while its documents were read, and can go on so."""
    epoch = stored.epoch
    if epoch is None or stored.state.newest is not epoch:
        return False
    if not epoch.reading or epoch.complete or epoch.job.epoch or not can_go_on(stored):
        return False
    return rows_follow(stored, list(stored.documents()))


def _has_pipes(document: Any) -> bool:
    """Whether a source can be read once only, as far as one can know: all of it is kept before any of it is used."""
    return isinstance(document, (list, tuple)) and any(
        is_read_once(item.source if isinstance(item, Document) else item) for item in document
    )


class LoggedDocuments(Sequence[DocumentRow]):
    """The documents as the log has them by now."""

    def __init__(self, view: ResumeEngine) -> None:
        self._view = view

    def __len__(self) -> int:
        return 0 if self._view.epoch is None else self._view.epoch.document_count

    def __getitem__(self, index: Any) -> Any:
        return self._view.documents()[index]

    def __iter__(self) -> Iterator[DocumentRow]:
        return iter(self._view.documents())
