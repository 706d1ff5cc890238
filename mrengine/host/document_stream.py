"""Begins a job while its documents are being read: cuts them as they come, and makes the records that follow.

A resumed job first reads again what the log has, and compares it: other documents must not be appended to it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrengine._version import __version__
from mrengine.errors import SourceError, SupervisorDied
from mrengine.host.chunk_table import Batch, Whole, beyond, rows_of, whole_row
from mrengine.host.intake import Intake, Opened, is_read_once
from mrengine.host.known_documents import Comparison, Known, compared_meanwhile, has_text_to_begin_with
from mrengine.host.row_stream import EARLY_S, Numbered, Pace, RowStream
from mrengine.host.table_checks import rows_follow
from mrengine.job.driver import Driver
from mrengine.log.format import codec
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
from mrengine.sources.spool import spool_name

if TYPE_CHECKING:
    from mrengine.host.job_identity import Plan

__all__ = ["Begun", "DocumentStream", "EarlyStart", "LoggedDocuments", "can_go_on"]

COMPARE_S = 0.25  # how long documents are compared with the log before workers begin with the rows that it has
CHECK_S = 0.5  # how long to look whether the spool has the text of these rows


class DocumentStream:
    """Makes one group of records for each slice of cutting: DOCUMENTS, then CHUNKS; the last group ends with a READ."""

    def __init__(
        self,
        intake: Intake,
        chunk: Callable[..., Iterator[Any]],
        *,
        whole: Whole | None = None,
        settings: Mapping[str, Plain],
        known: Known,
        blank: Callable[[], None],
        is_due: Callable[[], bool],
        eager: bool = False,
    ) -> None:
        """``settings``: those of the JOB record in the log, or to be written. ``eager``: end a group with each
        document, before the next one is asked for.
        """
        self._intake, self._settings, self._known = intake, settings, known
        self._chunk, self._whole = chunk, whole  # methods of a Chunker, or of what acts like it
        self._blank, self._is_due, self._eager = blank, is_due, eager
        self._named = known.documents  # how many documents the log and earlier groups name
        self._documents: list[DocumentRow] = []  # those that this group will name
        self._opened: tuple[int, Opened] | None = None
        # The document that the log has as open, and that is named again with length and digest once it was read.
        self._announced = known.opened
        self._final: tuple[int, DocumentRow] | None = None

    def groups(self, begin: Sequence[Numbered]) -> Iterator[list[Numbered]]:
        """Cut everything; ``begin`` goes before the first group. SourceError, ChunkingError; LogError: other rows."""
        intake, next_id = self._intake, self._known.rows
        eager, is_due = self._eager, self._is_due
        batch = Batch(0, next_id)
        for row in self._rows():
            if row is not None:
                batch.take(row)
                next_id += 1
            if batch.is_full or (eager and type(row) is not tuple) or is_due():
                yield [*begin, *self._group(batch)]
                begin = ()
                batch = Batch(0, next_id)
        intake.reading.check()
        if not intake.has_text:
            count = intake.summary[0]
            raise SourceError(f"all {count} documents are blank: there is nothing to run the map function on")
        intake.spool.sync()  # a durable READ says that all text is there: the text must be durable first
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
        whole, known = self._whole, self._known.rows
        for document, text in self._intake.texts():
            if next_id >= known and whole is not None and isinstance(text, str) and isinstance(document, DocumentRow):
                packed = whole_row(index, document, text, whole)
                if packed is not None:
                    if index > self._announced and index >= self._named:
                        self._documents.append(document)
                    else:
                        self._name(index, document)
                    yield packed  # bytes: also the end of its document, where an eager group ends
                    next_id += 1
                    index += 1
                    continue
            if isinstance(document, Opened):
                self._opened, document.given = (index, document), True
                name, offset = document.source.id, document.offset
            else:
                self._name(index, document)
                name, offset = document.id, document.spool_offset
            chunks = self._chunk(text, document_id=name, first_id=next_id)
            for row in rows_of(index, offset, chunks, self._blank, self._intake.spool.read):
                yield row
                next_id += 1
            if isinstance(document, Opened):
                self._opened = None
                assert document.row is not None
                self._name(index, document.row)
            index += 1
            yield None  # the end of its document: an eager group ends here

    def _name(self, index: int, row: DocumentRow) -> None:
        """Put a document that was read into the next group."""
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
        # A long document is named as open before its rows: each row in the log must have a document there.
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
    # So an open document and the same one when it was read have different numbers: RowStream can tell which is durable.
    stop = first + len(rows)
    number = 2 * stop - rows[-1].is_open
    return ((codec.DOCUMENTS, payload, number) for payload in batch_documents(first, rows))


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that has begun: its plan, its spool, the rows that are still to come, and its documents so far."""

    plan: Plan
    spool: Path
    rows: RowStream
    documents: LoggedDocuments


class EarlyStart:
    """Begins a job before all of its documents are read.

    ``plan()``: plans the job without its documents. ``stage(name)``: a ``with`` block whose duration is noted.
    ``first_s``: how long to cut, at most, before the workers begin. ``eager``: see DocumentStream.
    ``may_compare_later``: documents may be compared with the log while workers run, because a difference only ends the
    run.
    """

    def __init__(
        self,
        folder: Path,
        intake: Intake,
        plan: Callable[[], Plan],
        *,
        first_s: float,
        eager: bool = False,
        may_compare_later: bool = False,
        stage: Callable[[str], AbstractContextManager[Any]],
    ) -> None:
        self._may_compare_later = may_compare_later
        # The state of a log whose rows were found sound, and how far it was read then.
        self._sound: tuple[Any, int] = (None, 0)
        self._folder, self._intake, self._plan = folder, intake, plan
        self._first_s, self._eager, self._stage = 0.0 if eager else min(first_s, EARLY_S), eager, stage
        self.other: str | None = None  # the id of a document that is not as the log has it

    def is_possible(self, stored: ResumeEngine | None, document: Any) -> bool:
        """Whether this is a new job with more to read, or one that was left while its documents were read."""
        if stored is None or stored.epoch is None:
            return not self._intake.ended and not _has_pipes(document)
        return _was_reading(stored) and self._is_same(stored)

    def look(self, stored: ResumeEngine) -> None:
        """Check that the rows of a log follow one another; it may be called while a supervisor starts."""
        seen = stored.state, stored.position
        if self._sound != seen and (stored.epoch is None or rows_follow(stored, stored.documents())):
            self._sound = seen

    def _is_same(self, stored: ResumeEngine) -> bool:
        """Whether the job of a log differs in its documents at most."""
        assert stored.epoch is not None
        job = stored.epoch.job
        return not compare(job, replace(self._plan().job, documents=job.documents))

    def begin(self, session: Driver, stored: ResumeEngine, again: Callable[[SupervisorDied], Any]) -> Begun | None:
        """Write the first rows; the driver has the job's lock. None: the documents are not those of the log.

        ``again(error)``: opens the job by another driver, after a supervisor's death; returns it and the log.
        """
        self.look(stored)  # once more: another process may have written before the lock was ours
        if self._sound != (stored.state, stored.position):
            return None
        plan, known, intake = self._plan(), Known(stored), self._intake
        # A digest of the documents, which names other spools, is not known before all are read.
        token = secrets.token_bytes(16) if stored.epoch is None else stored.epoch.spool
        plan.job, place = replace(plan.job, documents=(0, 0, token)), self._folder / spool_name(token)
        comparison = Comparison(intake, known)
        with self._stage("read"):
            self._compare(comparison, stored, place)
        if comparison.other is not None:
            self.other = comparison.other
            return None
        intake.at_once = True  # from here on chunks are paid for: a source that fails ends the run now, not at the end
        with self._stage("cut"):
            plan.load()
            pace = Pace(self._first_s)
            begin, stream = plan.while_read(intake, stored, known, is_due=pace.is_due, eager=self._eager)
            if comparison.is_over:
                rows = RowStream(stream.groups(begin), pace, count=known.rows, n_bytes=None)
                rows.first()
                # The spool gets its name before any row that names its text can be durable.
                intake.spool.settle(place)
            else:
                # The workers read the earlier spool meanwhile; the fresh one replaces it after the comparison.
                groups = self._compared_first(comparison, pace, stream, place, plan.job.job_id)
                rows = RowStream(groups, pace, count=known.rows, n_bytes=None, is_urgent=lambda: not comparison.is_over)
        while True:
            try:
                for record in rows.unseen:
                    session.append(*record)
                stored.catch_up(session.sync())
                return Begun(plan, place, rows, LoggedDocuments(stored))
            except SupervisorDied as error:
                session, stored = again(error)
                rows.seen(stored.epoch)

    def _compare(self, comparison: Comparison, stored: ResumeEngine, place: Path) -> None:
        """Compare before the workers begin; only for a moment where the rest may be compared while they run."""
        later = self._may_compare_later and stored.epoch is not None
        over = comparison.advance(Pace(COMPARE_S).is_due if later else lambda: False)
        if not over and not has_text_to_begin_with(stored, place, CHECK_S):
            comparison.advance()

    def _compared_first(
        self, comparison: Comparison, pace: Pace, stream: DocumentStream, place: Path, job_id: str
    ) -> Iterator[list[Numbered]]:
        for _ in compared_meanwhile(comparison, pace.is_due, job_id):
            yield []
        self._intake.spool.settle(place)
        yield from stream.groups(())


def can_go_on(stored: ResumeEngine) -> bool:
    """Whether rows can be appended to those of a log: this version has cut them, and all documents are known."""
    epoch = stored.epoch
    assert epoch is not None
    return epoch.job.version == __version__ and not stored.state.repaired and not epoch.lost_documents()


def _was_reading(stored: ResumeEngine) -> bool:
    """Whether a job was left while its documents were read, and can go on so."""
    epoch = stored.epoch
    if epoch is None or stored.state.newest is not epoch:
        return False
    return epoch.reading and not epoch.complete and not epoch.job.epoch and can_go_on(stored)


def _has_pipes(document: Any) -> bool:
    """Whether a list has a source that can be read only once."""
    # After a crash such a job cannot give its documents again: all of them are kept before any is used.
    return isinstance(document, (list, tuple)) and any(
        is_read_once(item.source if isinstance(item, Document) else item) for item in document
    )


class LoggedDocuments(Sequence[DocumentRow]):
    """The documents that the log has at the moment, more as they are read."""

    def __init__(self, view: ResumeEngine) -> None:
        self._view = view

    def __len__(self) -> int:
        return 0 if self._view.epoch is None else self._view.epoch.document_count

    def __getitem__(self, index: Any) -> Any:
        return self._view.documents()[index]

    def __iter__(self) -> Iterator[DocumentRow]:
        return iter(self._view.documents())
