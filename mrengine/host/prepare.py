"""Owns all that comes before the first round: documents read and held against the log, the chunk table in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrengine.backends.process.driver import Driver
from mrengine.config import make_private
from mrengine.errors import JobBusy, JobCancelled, JobMismatch, JobNotFound, LogError, SupervisorDied
from mrengine.host.chunk_table import holds, spool_documents
from mrengine.host.job_identity import MapFunction, Plan, Record, chunking_of, job_record
from mrengine.host.requests import RunConfig
from mrengine.log.file.lock import JobLock, Owner
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ROW_BYTES, unpack_chunks
from mrengine.log.format.codec import HEADER_BYTES
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.job_view import ResumeEngine
from mrengine.sources.spool import Spool, spool_name

__all__ = ["SUPERVISORS", "Preparation", "Prepared", "identity", "is_begun", "no_text"]

SETTLE_S = 0.2
SUPERVISORS = 4  # how many may die before a job is given up


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is ready. ``durable``: the log up to where it can be read. ``total``: chunks, None: as the log has
    them.

    ``finished``: every chunk has its result, and no session was begun. ``damage``: ranges of the log that are lost.
    ``fresh``: the documents as they were read, of a finished job: its spool may be gone. Whoever has it discards it.
    ``blank_chunks``: so many have nothing but blanks, and are not sent.
    """

    documents: Sequence[DocumentRow]
    spool: Path
    durable: int
    total: int | None = None
    finished: bool = False
    damage: Sequence[tuple[int, int]] = ()
    fresh: Spool | None = None
    blank_chunks: int = 0


class Preparation:
    """Prepares one run of a job. ``begin()`` starts a session and asks for the job; it is called when it is needed.
    ``drop()`` ends one whose supervisor has died.
    """

    def __init__(
        self,
        parts: RunConfig,
        job_id: str,
        folder: Path,
        mapping: MapFunction,
        begin: Callable[[], Driver],
        drop: Callable[[], None],
    ) -> None:
        self._parts, self._job_id, self._folder, self._mapping = parts, job_id, folder, mapping
        self._begin, self._drop = begin, drop
        self._died = 0
        self._damage: Sequence[tuple[int, int]] = ()

    def from_documents(self, document: Any) -> Prepared:
        """Read the documents, hold them against the log, and write what it lacks. JobBusy, JobMismatch, SourceError,
        …
        """
        self._check_folder()
        existed = (self._folder / "log").exists()
        session = None if existed else self._begin()
        spool: Spool | None
        spool, documents = spool_documents(self._folder, document)
        try:
            plan = self._plan(documents)
            if existed and (end := self._finished(plan)) is not None:
                ready = Prepared(documents, self._spool(plan), end, finished=True, damage=self._damage, fresh=spool)
                spool = None
                return ready
            # A new job is cut while the supervisor starts; for one that the log knows, that is known first.
            records = None if existed else list(plan.records(spool.path))
            session = session or self._begin()
            while True:
                try:
                    return self._settle(plan, spool, records, session)
                except SupervisorDied as error:
                    session = self._again(error)
        finally:
            if spool is not None:
                spool.discard()

    def _settle(self, plan: Plan, spool: Spool, records: list[Record] | None, session: Driver) -> Prepared:
        """The lock is ours: what the log says now decides."""
        durable = session.opened()
        with ResumeEngine(self._folder) as stored:
            action = plan.check(stored, self._parts.settings.on_mismatch or "error")
            if action == "new_epoch":
                records = list(plan.records(spool.path, stored))
        if action == "restart":
            session.restart()
            durable = HEADER_BYTES
        if action == "resume":
            records = None
        elif records is None:
            records = list(plan.records(spool.path))
        place = self._spool(plan)
        if not holds(place, plan.documents):
            spool.publish(place)
        if records is None:
            return Prepared(plan.documents, place, durable, damage=self._damage)
        total = _append(session, records)
        blank = plan.blank_chunks
        return Prepared(plan.documents, place, session.sync(), total, damage=self._damage, blank_chunks=blank)

    def from_log(self) -> Prepared:
        """A job from its log and its spool alone. JobNotFound; JobMismatch: other models or map function."""
        if not (self._folder / "log").exists():
            raise JobNotFound(f"there is no job {self._job_id!r} in {self._folder.parent}", job_id=self._job_id)
        self._check_folder()
        with ResumeEngine(self._folder) as stored:
            if stored.epoch is None or not stored.epoch.complete:
                message = f"job {self._job_id} was interrupted before its documents were read: run it with them again"
                raise JobNotFound(message, job_id=self._job_id)
            job = stored.epoch.job
            documents = list(stored.documents())
            plan = self._plan(documents)
            plan.job = replace(plan.job, chunking=job.chunking, documents=job.documents)
            if (end := self._finished(plan)) is not None:
                return Prepared(documents, self._spool(plan), end, finished=True, damage=self._damage)
            plan.check(stored, "error")
        if not holds(self._spool(plan), documents):
            raise no_text(self._job_id)
        session = self._begin()
        while True:
            try:
                return Prepared(documents, self._spool(plan), session.opened(), damage=self._damage)
            except SupervisorDied as error:
                session = self._again(error)

    def _again(self, error: SupervisorDied) -> Driver:
        """Another supervisor for one that died, a bounded number of times."""
        self._died += 1
        self._drop()
        if self._died >= SUPERVISORS:
            message = f"{self._died} supervisors died before the job was opened; the last one: {error}"
            raise SupervisorDied(message, job_id=self._job_id) from error
        return self._begin()

    def _check_folder(self) -> None:
        make_private(self._folder.parent)
        make_private(self._folder)
        if (self._folder / "cancelled").exists():
            message = f"job {self._job_id} was cancelled; Job({self._job_id!r}).uncancel() lets it run again"
            raise JobCancelled(message, job_id=self._job_id)
        owner = _runs(self._folder)
        if owner is not None and _runs(self._folder, after_s=SETTLE_S):
            message = f"job {self._job_id} is run by process {owner.pid}: wait for it, or cancel it"
            raise JobBusy(message, job_id=self._job_id, pid=owner.pid)

    def _finished(self, plan: Plan) -> int | None:
        """The log's end, if every chunk has its result: such a job needs no pool, no lock and no call."""
        with ResumeEngine(self._folder) as stored:
            self._look(stored)
            try:
                action = plan.check(stored, self._parts.settings.on_mismatch or "error")
            except JobMismatch as error:
                if not self._damage:
                    raise
                message = f"{error}. Its log is damaged, too, perhaps where it told of other inputs"
                raise JobMismatch(message, job_id=self._job_id, differences=error.differences) from None
            if action != "resume" or self._damage:
                return None  # damage is repaired by who holds the lock
            return stored.recovery.end if next(stored.pending(), None) is None else None

    def _look(self, stored: ResumeEngine) -> None:
        """What was announced and is lost. LogError with ``strict``, before anything is changed."""
        self._damage = stored.recovery.damage
        if self._damage and self._parts.settings.strict:
            path = os.fspath(self._folder / "log")
            message = f"{path} is damaged in {len(self._damage)} range(s); nothing was changed"
            raise LogError(message, reason="damaged", path=path, ranges=self._damage)

    def _plan(self, documents: Sequence[DocumentRow]) -> Plan:
        settings, models, all_models = self._parts.settings, self._parts.models, self._parts.all_models
        chunking = chunking_of(settings, models)
        job = job_record(self._job_id, settings, models, self._mapping, documents, chunking, all_models=all_models)
        return Plan(job, documents, chunking)

    def _spool(self, plan: Plan) -> Path:
        return self._folder / spool_name(plan.job.documents[2])


def _runs(folder: Path, *, after_s: float = 0.0) -> Owner | None:
    """Who runs a job, and is not about to end: a supervisor hears of its host's death some milliseconds after it."""
    time.sleep(after_s)
    owner = JobLock(folder).holder()
    return owner if owner is not None and owner.alive and not owner.draining else None


def no_text(job_id: str) -> JobNotFound:
    """The error of a job that needs its documents, and has kept none."""
    message = f"job {job_id} keeps no document text (keep='results'): run it with its documents again"
    return JobNotFound(message, job_id=job_id)


def _append(session: Driver, records: Iterable[Record]) -> int:
    """Send the records of a new epoch; how many chunks it has."""
    total = 0
    for kind, payload in records:
        session.append(kind, payload)
        if kind == codec.CHUNKS:
            _, first, rows = unpack_chunks(payload)
            total = first + len(rows) // ROW_BYTES
    return total


def is_begun(folder: Path) -> bool:
    """Whether a job has its chunks in its log."""
    with suppress(JobNotFound), ResumeEngine(folder) as stored:
        return stored.epoch is not None and stored.epoch.complete
    return False


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one of the same name; None: there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
