"""Begins a job while its documents are still being read, or goes on with one that was left so."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrengine.errors import SupervisorDied
from mrengine.host.document_stream import Known, compare_known
from mrengine.host.intake import Intake, is_read_once
from mrengine.host.job_identity import Plan, can_go_on
from mrengine.host.row_stream import Pace, RowStream
from mrengine.job.driver import Driver
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.mismatch import compare
from mrengine.records import Document
from mrengine.sources.spool import spool_name

__all__ = ["Begun", "EarlyStart", "LoggedDocuments"]

Locked = Callable[[], tuple[Driver, ResumeEngine]]


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that has begun: where its text is, and the rows that are still to come."""

    plan: Plan
    spool: Path
    rows: RowStream
    documents: LoggedDocuments


class EarlyStart:
    """``plan()``: of the job, as far as it is known without its documents. ``stage(name)``: a ``with`` block whose
    duration is noted. ``first_s``: of cutting, after which the workers can begin. ``eager``: see DocumentStream.
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
        self._first_s, self._eager, self._stage = 0.0 if eager else first_s, eager, stage
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


def _was_reading(stored: ResumeEngine) -> bool:
    """Whether a job was left while its documents were read, and can go on so."""
    epoch = stored.epoch
    if epoch is None or stored.state.newest is not epoch:
        return False
    return epoch.reading and not epoch.complete and not epoch.job.epoch and can_go_on(stored)


def _has_pipes(document: Any) -> bool:
    """Whether a source can be read once only, as far as can be told before: all is kept before any of it is used."""
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
