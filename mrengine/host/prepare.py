"""Prepares a job for its first round: reads documents, compares them with the log, and writes what it lacks.

The log is replayed once: the view that decides what to do is caught up when the lock is ours, and then handed on to the
follower of the run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrengine.errors import JobCancelled, JobMismatch, JobNotFound, LogError, SourceError
from mrengine.host import notices
from mrengine.host.chunk_limits import chunking_of, stored_chunking
from mrengine.host.document_stream import EarlyStart
from mrengine.host.intake import Intake, Spooled, check_documents, spool_all, unread_before
from mrengine.host.job_identity import Plan, Record, job_record
from mrengine.host.prepared import LOST, Prepared, cut_short_before, known_documents, no_text, says_otherwise
from mrengine.host.requests import RunConfig
from mrengine.host.row_stream import FIRST_S, Pace, RowStream, first_slice_s, numbered
from mrengine.host.run_summary import stage
from mrengine.host.table_checks import has_wrong_rows, not_held, rows_to_go_on_with, tells_of_others
from mrengine.host.waiting import BusyWait, Sessions
from mrengine.job.driver import Driver
from mrengine.log.format import codec
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.lost_documents import lacking_documents
from mrengine.mapfn.describe import MapFunction
from mrengine.private import check_writable
from mrengine.sources.read import is_one
from mrengine.sources.spool import Spool, SpoolFile, link_spool, spool_name

__all__ = ["Preparation"]

READ_S = 0.25  # how long documents are only read; what takes longer is cut while it is read


class Preparation:
    """Prepares one run of a job.

    ``begin()`` starts a driver and asks for the job, when one is needed; see Sessions for ``drop`` and ``wait``.
    ``view``: of the job's log, if the caller has one already. ``first_s``: how long to cut before the workers begin.
    """

    def __init__(
        self,
        parts: RunConfig,
        job_id: str,
        folder: Path,
        mapping: MapFunction,
        begin: Callable[[], Driver],
        drop: Callable[[], None],
        wait: BusyWait,
        view: ResumeEngine | None = None,
        *,
        first_s: float | None = None,
    ) -> None:
        self._parts, self._job_id, self._folder, self._mapping = parts, job_id, folder, mapping
        self._sessions, self._wait = Sessions(job_id, begin, drop, wait), wait
        self._damage: Sequence[tuple[int, int]] = ()
        self._notes: list[str] = []
        self._view = view
        self._unread_sources: tuple[SourceError, ...] = ()
        self._on_mismatch = parts.settings.on_mismatch or "error"
        self._rows: RowStream | None = None
        self._first_s = FIRST_S if first_s is None else first_s
        self._other: str | None = None  # the id of a half-read document that begins otherwise now
        self._opened = False  # whether the driver has opened the job already

    def from_documents(self, document: Any) -> Prepared:
        """Read the documents, compare them with the log, and write what it lacks. Raises what ``run()`` raises."""
        with self._closing_view():
            return self._from_documents(document)

    @contextmanager
    def _closing_view(self) -> Iterator[None]:
        """Close the view of the log, unless the run takes it over."""
        try:
            yield
        except BaseException:
            if self._view is not None:
                self._view.close()
            raise

    def _from_documents(self, document: Any) -> Prepared:
        self._check_folder()
        existed = os.path.lexists(self._folder / "log")
        # A new job needs a supervisor in any case: it starts while the documents are read. A finished job needs none.
        session = None if existed else self._sessions.begin()
        if not isinstance(document, Spooled):
            intake = self._intake(document, optional=existed)
            try:
                begun = None if self._first_s == math.inf else self._while_read(intake, document, existed, session)
            except BaseException:
                intake.discard()
                raise
            if isinstance(begun, Prepared):
                return begun
            session = begun or session
        with self._stage("read"):
            spooled = self._moved(document) if isinstance(document, Spooled) else spool_all(intake, self._view)
        spool: Spool | None = spooled.spool
        self._unread_sources = spooled.unread
        self._notes += notices.of_sources(self._job_id, spooled.warnings)
        if spooled.unread_message:
            self._notes.append(f"job {self._job_id}: {spooled.unread_message}\n  they are left out")
        try:
            check_documents(spooled)
            plan = self._plan(spooled.rows)
            plan.other = self._other
            if existed and self._finished(plan, self._refreshed()):
                ready = replace(self._prepared(plan), finished=True, fresh=spool)
                spool = None
                return ready
            assert spool is not None
            check_writable(self._folder)
            spool.require()
            # A new job is cut while the supervisor starts; one that the log knows, when its lock is ours: what to cut
            # depends on what the log says then.
            records = None if existed else self._begin_to_cut(plan, plan.records, spool.path)
            return self._settle(plan, spool, records, session or self._sessions.begin())
        finally:
            if spool is not None:
                spool.discard()

    def _stage(self, name: str) -> Any:
        return stage(self._parts.settings.collector, name)

    def _cut(self, plan: Plan, *text_and_view: Any) -> list[Record]:
        self._rows = None
        with self._stage("cut"):
            return list(plan.records(*text_and_view))

    def _begin_to_cut(self, plan: Plan, records: Callable[..., Iterator[Record]], *text_and_view: Any) -> list[Record]:
        """The first records; ``_rows`` will make the others, if there are more."""
        with self._stage("cut"):
            plan.load()
            pace = Pace(first_slice_s(self._first_s, plan.n_bytes))
            count = 0 if self._view is None else self._view.index(0).chunks
            groups = numbered(records(*text_and_view, is_due=pace.is_due))
            rows = RowStream(groups, pace, count=count, n_bytes=plan.n_bytes)
            first = rows.first()
        self._rows = None if rows.ended else rows
        return first

    def _moved(self, document: Spooled) -> Spooled:
        document.spool.move(self._folder)
        return document

    def _intake(self, document: Any, *, optional: bool) -> Intake:
        skip = self._parts.settings.on_source_error == "skip"
        intake = Intake(self._folder, document, skip=skip, optional=optional)
        intake.stays = lambda _index, name: name in cut_short_before(self._folder)
        return intake

    def _while_read(
        self, intake: Intake, document: Any, existed: bool, session: Driver | None
    ) -> Prepared | Driver | None:
        """Begin while the documents are read, if reading takes longer than a moment. Otherwise they are all to be read
        first: returns the driver that has opened the job by then, or None.
        """
        eager = self._parts.settings.strategy == "streaming" and not is_one(document)
        known = self._refreshed() if existed else None
        # What a half-read job is given is read while it is compared: there is no need to see first how long it takes.
        half_read = known is not None and known.epoch is not None and known.epoch.reading
        with self._stage("read"):
            pace = Pace(0.0 if half_read else READ_S)
            intake.advance((lambda: bool(intake.rows or intake.opened)) if eager else pace.is_due)
        how: dict[str, Any] = {"first_s": self._first_s, "eager": eager, "stage": self._stage}
        how["may_compare_later"] = self._on_mismatch == "error"
        early = EarlyStart(self._folder, intake, lambda: self._plan(()), **how)
        if not early.is_possible(known, document):
            return None
        check_writable(self._folder)
        intake.spool.require()
        session = session or self._sessions.begin()
        if known is not None:
            early.look(known)  # while the supervisor starts: looking at a million rows takes time
        session, view = self._locked(session)
        # Asked again: until the lock was ours, another process may have gone on with the job.
        if early.is_possible(view, document):
            begun = early.begin(session, view, lambda error: self._locked(self._sessions.again(error)))
            if begun is not None:
                ready = self._prepared(begun.plan)
                return replace(ready, documents=begun.documents, spool=begun.spool, rows=begun.rows, intake=intake)
        self._opened, self._other = True, early.other
        return session

    def _locked(self, session: Driver) -> tuple[Driver, ResumeEngine]:
        """Wait for the job's lock; returns the driver that has it, and the log."""
        return self._sessions.until_done(session, lambda now: (now, self._caught_up(now.opened())))

    def _settle(self, plan: Plan, fresh: Spool | None, records: list[Record] | None, session: Driver) -> Prepared:
        """Do ``_settled`` with the job's lock, by another supervisor where one dies."""
        return self._sessions.until_done(session, lambda now: self._settled(plan, fresh, records, now))

    def _settled(self, plan: Plan, fresh: Spool | None, records: list[Record] | None, session: Driver) -> Prepared:
        """With the job's lock: decide by what the log says now, and write what it lacks.

        A ``fresh`` spool replaces one that is missing or differs; without one, the spool of an earlier run is used.
        """
        opened, self._opened = self._opened, False
        durable, place = session.sync() if opened else session.opened(), self._spool(plan)
        text = place if fresh is None else fresh.path
        view = self._caught_up(durable)
        action = self._action(plan, view, text)
        if action == "new_epoch":
            place = self._folder / spool_name(plan.job.documents[2])  # a half-read job's spool has another name
            records = self._cut(plan, text, view)
        elif action == "resume":
            records, self._rows = list(self._lacking(plan, view)), None
        elif action == "go_on":
            records = self._begin_to_cut(plan, plan.further_records, text, view)
        elif action == "restart":
            session.restart()
            self._rows, records = None, None
        if records is None:
            records = self._cut(plan, text)
        if fresh is not None and not fresh.is_alike(place):
            # Before any row that names its text is durable. One that is alike stays: it may have texts of later rounds.
            fresh.publish(place)
        elif fresh is None and not place.exists():
            link_spool(text, place)  # a second name: the earlier epoch in the log has the first
        if records:
            for record in records:
                session.append(*record)
            view.catch_up(session.sync())
        return self._prepared(plan)

    def _action(self, plan: Plan, view: ResumeEngine, text: Path) -> str:
        """What to do, as ``Plan.check`` says; a chunk table that cannot be right is cut again."""
        # A CRC only vouches for what was written: these checks find records that were wrong before they had one.
        action, documents = plan.check(view, self._on_mismatch), plan.documents
        if action in ("resume", "go_on") and tells_of_others(view, documents):
            return "new_epoch"
        if action == "resume" and has_wrong_rows(view, self._spool(plan), documents):
            return "new_epoch"
        if action == "go_on" and not rows_to_go_on_with(view, text, documents):
            return "new_epoch"
        return action

    def _prepared(self, plan: Plan) -> Prepared:
        assert self._view is not None
        place, end = self._spool(plan), self._view.position
        return Prepared(
            plan.documents,
            place,
            self._view,
            end,
            damage=self._damage,
            notes=self._notes,
            blank=plan.blank,
            unread=self._unread_sources,
            rows=self._rows,
        )

    def _caught_up(self, durable: int) -> ResumeEngine:
        """The view of the log, caught up with what its writer found when it opened it for us."""
        if self._view is None:
            self._view = ResumeEngine(self._folder)
        self._view.catch_up(durable)
        return self._view

    def _refreshed(self) -> ResumeEngine:
        """The view of the log as it is now, and its damage. LogError with ``strict``, before anything is changed."""
        if self._view is None:
            self._view = ResumeEngine(self._folder)
        else:
            self._view.refresh()
        self._damage = self._view.recovery.damage
        if self._damage and self._parts.settings.strict:
            path = os.fspath(self._folder / "log")
            message = f"{path} is damaged in {len(self._damage)} range(s); nothing was changed"
            raise LogError(message, reason="damaged", path=path, ranges=self._damage)
        return self._view

    def _lacking(self, plan: Plan, stored: ResumeEngine) -> Iterator[Record]:
        """DOCUMENTS records for documents that the log has lost and the plan knows."""
        assert stored.epoch is not None
        known = {index: row for index, row in enumerate(plan.documents) if row is not LOST}
        for payload in lacking_documents(stored.epoch, known):
            yield codec.DOCUMENTS, payload

    def from_log(self) -> Prepared:
        """Prepare a job from its log and spool alone. JobNotFound; JobMismatch: other models or map function."""
        if not os.path.lexists(self._folder / "log"):
            raise JobNotFound(f"there is no job {self._job_id!r} in {self._folder.parent}", job_id=self._job_id)
        self._check_folder()
        with self._closing_view():
            return self._from_log(self._refreshed())

    def _from_log(self, view: ResumeEngine) -> Prepared:
        if view.epoch is None or view.epoch.reading:
            raise self._unread()
        job, self._unread_sources = view.epoch.job, unread_before(view.epoch)
        with SpoolFile(self._folder / spool_name(view.epoch.spool)) as text:
            documents = known_documents(view, text)
            exists, why = text.exists, text.why
            damaged = not_held(text, [row for row in documents if row is not LOST]) if exists else []
        plan = self._plan(documents)
        plan.job = replace(plan.job, chunking=job.chunking, documents=job.documents)
        if view.epoch.complete and self._finished(plan, view):
            return replace(self._prepared(plan), finished=True)
        if LOST not in documents and says_otherwise(view, documents):
            raise self._unread(damaged=True)
        action = self._action(plan, view, self._spool(plan))
        if not exists:
            raise no_text(self._job_id, why)
        if action != "resume":  # the chunk table was lost, or other inputs are accepted
            plan = self._cut_again(plan, sound=not damaged and LOST not in documents)
        for message in notices.lost(self._job_id, [row.id for row in damaged], documents.count(LOST)):
            self._notes.append(message)
        check_writable(self._folder)
        return self._settle(plan, None, None, self._sessions.begin())

    def _cut_again(self, plan: Plan, *, sound: bool) -> Plan:
        """A plan that cuts the documents again, as the log says they were cut. JobNotFound: they are not all there."""
        if not sound:
            raise self._unread()
        chunking = stored_chunking(plan.job)
        if chunking is None:
            message = f"job {self._job_id} was cut by a function of the caller's: run it with its documents again"
            raise JobNotFound(message, job_id=self._job_id)
        return Plan(plan.job, plan.documents, chunking)

    def _unread(self, *, damaged: bool = False) -> JobNotFound:
        epoch = None if self._view is None else self._view.epoch
        what = "was interrupted before its documents were read"
        if epoch is not None and epoch.chunks():
            known = f"{epoch.chunks()} chunks of {epoch.document_count} documents are in its log, and are not run again"
            what = f"was interrupted while its documents were read ({known} where they are done)"
        if self._damage or damaged:
            what = "has lost what it knew of its inputs: its log is damaged"
        return JobNotFound(f"job {self._job_id} {what}: run it with its documents again", job_id=self._job_id)

    def _check_folder(self) -> None:
        if os.path.lexists(self._folder / "cancelled"):
            message = f"job {self._job_id} was cancelled; Job({self._job_id!r}).uncancel() lets it run again"
            raise JobCancelled(message, job_id=self._job_id)
        self._wait.until_free(self._folder)

    def _finished(self, plan: Plan, view: ResumeEngine) -> bool:
        """Whether every chunk has its result. Such a job needs no pool, no lock and no call."""
        try:
            action = plan.check(view, self._on_mismatch)
        except JobMismatch as error:
            if not self._damage:
                raise
            if plan.has_other_documents(view) and self._spool(plan).is_file():
                self._on_mismatch = "recompute"  # these were accepted once: damage has struck the record that says so
                return False
            message = f"{error}. Its log is damaged, too, perhaps where it named other inputs"
            raise JobMismatch(message, job_id=self._job_id, differences=error.differences) from None
        if action != "resume" or self._damage:
            return False  # damage is repaired by who holds the lock
        return next(view.pending(), None) is None

    def _plan(self, documents: Sequence[DocumentRow]) -> Plan:
        settings, models, all_models = self._parts.settings, self._parts.models, self._parts.all_models
        chunking = chunking_of(settings, models)
        what = (self._job_id, settings, models, self._mapping, documents, chunking)
        job = job_record(*what, all_models=all_models, unread=self._unread_sources)
        return Plan(job, documents, chunking)

    def _spool(self, plan: Plan) -> Path:
        """Where the spool of these documents is, or will be; that of a half-read job has a name by chance."""
        digest = plan.job.documents[2]
        for epoch in self._view.state.epochs if self._view is not None else ():
            if epoch.job.documents == plan.job.documents:
                digest = epoch.spool
        return self._folder / spool_name(digest)
