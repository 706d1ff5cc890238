"""Owns one run of a job, from its documents to its outcomes: plan, rounds, stop, recovery, summary.

Rounds are played over a session; whoever calls ``rounds()`` sees outcomes as they become durable. Reduce is the
caller's.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrengine import events
from mrengine.budget.manager import check_limit
from mrengine.budget.purse import Purse
from mrengine.config import Settings, make_private, state_folder
from mrengine.engine.terms import pack_terms
from mrengine.errors import (
    BudgetExhausted,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    LogError,
    PoolBroken,
    SupervisorDied,
)
from mrengine.host.inputs import append_inputs, input_version, spool_documents
from mrengine.host.plan import MapFunction, Plan, Record, chunking_of, job_record, round_record
from mrengine.host.preloads import preloads
from mrengine.host.relay import Outcome, Relay
from mrengine.host.session import Durable, Ended, Line, News, Note, Session
from mrengine.host.tally import Tally
from mrengine.log import codec
from mrengine.log.chunktable import ROW_BYTES, unpack_chunks
from mrengine.log.codec import HEADER_BYTES
from mrengine.log.jobrecords import CloseRecord, DocumentRow, pack_close
from mrengine.log.lock import JobLock
from mrengine.log.results import Results
from mrengine.log.resume import ResumeEngine
from mrengine.log.values import normalise
from mrengine.progress import Progress
from mrengine.providers.models import Model
from mrengine.records import ChunkResult, RunSummary

__all__ = ["JobRun", "Parts", "check_terms"]

log = logging.getLogger("mrengine")
WAIT_S = 0.5
SUPERVISORS = 4  # how many may die before the job is given up
CALL_ROOM = 4096  # answers beyond one a task that the index of stored calls has room for


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of, from the runner."""

    settings: Settings
    models: tuple[Model, ...]
    all_models: bool
    keep: str
    dispatcher: events.Dispatcher
    progress: Progress
    models_blob: bytes
    initializer_blob: bytes
    session: Callable[[], Session]  # the session that is open, or a new one
    drop_session: Callable[[], None]  # after its supervisor died


@dataclass(frozen=True, slots=True)
class Round:
    """A pass of the pool: its number, its tasks' chunks, and the function that runs in it."""

    number: int
    total: int
    mapping: MapFunction


def check_terms(settings: Settings, models: Sequence[Model]) -> None:
    """ConfigError for limits and budgets that cannot work: here, and not first in the process that keeps them."""
    known = {name for model in models for name in (model.name, model.spec.name)}
    for name, limit in (settings.limits or {}).items():
        check_limit(name, limit)
        if name not in known:
            told = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"limits names {name!r}, which is no model of this job; it has {told}", setting="limits")
    Purse(settings.budget, prices={model.name: model.price for model in models})


class JobRun:
    """One ``run()``. ``summary()`` and ``relay`` may be asked at any time after ``prepare()``."""

    def __init__(
        self, parts: Parts, job_id: str, folder: Path, mapping: MapFunction, *, timeout_s: float | None
    ) -> None:
        self.parts, self.job_id, self.folder, self._mapping = parts, job_id, folder, mapping
        self._began = time.monotonic()
        self._until = None if timeout_s is None else self._began + timeout_s
        self.tally = Tally(job_id)
        self.relay: Relay | None = None
        self._session: Session | None = None
        self._died = 0
        self._total = 0
        self._documents: Sequence[DocumentRow] = ()
        self._state = "stopped"
        self._stop_reason: str | None = None
        self.finished = False

    # before the first round

    def prepare(self, document: Any) -> None:
        """Read and plan. Afterwards the log holds the chunk table and nothing has run, or the job is ``finished``."""
        self._check_folder()
        existed = (self.folder / "log").exists()
        session = None if existed else self._begin()
        spool, documents = spool_documents(self.folder, document)
        self._documents = documents
        try:
            plan = self._plan(documents)
            if existed and self._is_finished(plan):
                return
            records = None if existed else list(plan.records(spool.path))
            session = session or self._begin()
            durable = session.opened()
            with ResumeEngine(self.folder) as stored:
                action = plan.check(stored, self.parts.settings.on_mismatch)
                if action == "new_epoch":
                    records = list(plan.records(spool.path, stored))
                elif action == "resume":
                    records = None
            if action == "restart":
                session.restart()
                durable = HEADER_BYTES
            if action in ("fresh", "restart") and records is None:
                records = list(plan.records(spool.path))
            if records is not None or not (self.folder / "spool").exists():
                spool.publish()
        finally:
            spool.discard()
        self.relay = self._relay(durable)
        self._total = self._stored_total() if records is None else self._append(session, records)

    def prepare_stored(self) -> None:
        """Plan a resume of a job from its spool and its log alone. JobNotFound; JobMismatch: other models or map
        function.
        """
        if not (self.folder / "log").exists():
            raise JobNotFound(f"there is no job {self.job_id!r} in {self.folder.parent}", job_id=self.job_id)
        self._check_folder()
        with ResumeEngine(self.folder) as stored:
            if stored.epoch is None or not stored.epoch.complete:
                message = f"job {self.job_id} was interrupted before its documents were read: run it with them again"
                raise JobNotFound(message, job_id=self.job_id)
            self._documents = documents = list(stored.documents())
            plan = self._plan(documents)
            plan.job = replace(plan.job, chunking=stored.epoch.job.chunking, documents=stored.epoch.job.documents)
            if self._is_finished(plan):
                return
            plan.check(stored, "error")
        if not (self.folder / "spool").exists():
            message = f"job {self.job_id} keeps no document text (keep='results'): run it with its documents again"
            raise JobNotFound(message, job_id=self.job_id)
        self.relay = self._relay(self._begin().opened())
        self._total = self._stored_total()

    def _check_folder(self) -> None:
        make_private(self.folder.parent)
        make_private(self.folder)
        if (self.folder / "cancelled").exists():
            message = f"job {self.job_id} was cancelled; Job({self.job_id!r}).uncancel() lets it run again"
            raise JobCancelled(message, job_id=self.job_id)
        owner = JobLock(self.folder).holder()
        if owner is not None and owner.alive and not owner.draining:
            message = f"job {self.job_id} is run by process {owner.pid}: wait for it, or cancel it"
            raise JobBusy(message, job_id=self.job_id, pid=owner.pid)

    def _begin(self) -> Session:
        self._session = self.parts.session()
        self._session.begin(self.folder, self._order)
        return self._session

    def _is_finished(self, plan: Plan) -> bool:
        """A job of which every chunk has its result needs no pool, no lock and no call."""
        with ResumeEngine(self.folder) as stored:
            if plan.check(stored, self.parts.settings.on_mismatch) != "resume":
                return False
            if next(stored.pending(), None) is not None:
                return False
            end = stored.recovery.end
        self.relay = self._relay(end)
        self.relay.begin(0)
        self.finished = True
        return True

    def _plan(self, documents: Sequence[DocumentRow]) -> Plan:
        settings, models = self.parts.settings, self.parts.models
        chunking = chunking_of(settings, models)
        job = job_record(
            self.job_id, settings, models, self._mapping, documents, chunking, all_models=self.parts.all_models
        )
        return Plan(job, documents, lambda *given, **named: chunking.chunker().chunk(*given, **named))

    def _relay(self, durable: int) -> Relay:
        relay = Relay(self.folder, self.job_id, self.parts.dispatcher, self.parts.progress, self.tally)
        relay.catch_up(durable)
        return relay

    def _stored_total(self) -> int:
        assert self.relay is not None
        assert self.relay.state.epoch is not None
        return self.relay.state.epoch.chunks()

    def _append(self, session: Session, records: Iterable[Record]) -> int:
        total = 0
        for kind, payload in records:
            session.append(kind, payload)
            if kind == codec.CHUNKS:
                _, first, rows = unpack_chunks(payload)
                total = first + len(rows) // ROW_BYTES
        return total

    # rounds

    def earlier(self) -> Sequence[ChunkResult]:
        """The results of earlier runs."""
        known = self.relay is not None and self.relay.state.epoch is not None
        return self.relay.results() if known and self.relay is not None else ()

    def outcomes(self, *, wanted: bool = False) -> Iterator[Outcome]:
        """Play the map round; outcomes of this run as they become durable, where they are ``wanted``."""
        if self.finished:
            return
        yield from self._play(Round(0, self._total, self._mapping), wanted=wanted)

    def play_round(self, round_: int, inputs: Sequence[tuple[str, str]], mapping: MapFunction) -> Results:
        """Play a later round over texts, (document id, text) each, one task a text; its results, in order.

        A round that the log has in full, over the same texts and with the same function, is not played again.
        """
        assert self.relay is not None
        assert self.relay.state.epoch is not None
        version = input_version(mapping.version, inputs)
        known = self.relay.state.epoch.rounds.get(round_)
        stored = self.relay.state.epoch.index(round_)
        if known is None or known.version != version or stored.done < len(inputs):
            session = self._session or self._reopen()
            indexes = {row.id: index for index, row in enumerate(self._documents)}
            for record in append_inputs(
                self.folder / "spool", round_, [(indexes[name], text) for name, text in inputs]
            ):
                session.append(*record)
            for _ in self._play(Round(round_, len(inputs), replace(mapping, version=version)), wanted=False):
                pass
        results = self.relay.results(round_)
        if results.failures:
            first = results.failures[0]
            message = f"job {self.job_id}: the reduce call failed ({first.kind}): {first.message}"
            raise self._error(JobFailed, message, state="failed")
        return results

    def _reopen(self) -> Session:
        """A finished job is opened again, for a reduce that it does not know yet."""
        session = self._begin()
        durable = session.opened()
        assert self.relay is not None
        self.relay.catch_up(durable)
        return session

    def _play(self, round_: Round, *, wanted: bool) -> Iterator[Outcome]:
        self._start(round_)
        begun = False
        while True:
            for news in self._receive():
                if isinstance(news, Durable):
                    if not begun:
                        begun = True
                        self._first(round_.number, news.offset)
                    yield from self._follow(news.offset, wanted)
                elif isinstance(news, Ended) and news.state == "died":
                    self._revive(round_)
                elif isinstance(news, Ended):
                    self._ended(news)
                    return
                else:
                    self._tell(news)

    def _start(self, round_: Round) -> None:
        session = self._session
        assert session is not None
        session.append(*round_record(round_.number, round_.total, round_.mapping.version))
        session.play(self._round_order(round_))
        if self._stop_reason is not None:
            session.stop(self._stop_reason)

    def _receive(self) -> Sequence[News]:
        assert self._session is not None
        wait_s = WAIT_S
        if self._until is not None:
            wait_s = min(WAIT_S, self._until - time.monotonic())
            if wait_s <= 0:
                self.stop("timeout")
                wait_s = WAIT_S
        self.parts.progress.tick()
        return self._session.receive(wait_s)

    def _first(self, round_: int, durable: int) -> None:
        """The round's own record is durable: what comes after it is news."""
        assert self.relay is not None
        self.relay.catch_up(durable)
        self.relay.begin(round_)

    def _follow(self, durable: int, wanted: bool) -> Iterator[Outcome]:
        assert self.relay is not None
        return self.relay.follow(durable, outcomes=wanted)

    def _tell(self, news: News) -> None:
        assert self.relay is not None
        if isinstance(news, Note):
            self.relay.note(news)
        elif isinstance(news, Line):
            self.relay.line(news)

    def _revive(self, round_: Round) -> None:
        """The supervisor died: another one resumes the job, a bounded number of times."""
        self._died += 1
        self.parts.drop_session()
        if self._died >= SUPERVISORS:
            self._session = None
            raise self._error(SupervisorDied, f"{self._died} supervisors died; the job can be resumed")
        log.warning("the supervisor of job %s died; another one goes on", self.job_id)
        self._begin().opened()
        self._start(round_)

    def _ended(self, ended: Ended) -> None:
        """Raise what the end of a round means, unless it is done."""
        facts = dict(ended.facts)
        message = facts.pop("message", "")
        state = ended.state
        if state == "done":
            return
        if state == "log":
            raise LogError(message, **facts)
        if state == "budget":
            raise self._error(BudgetExhausted, message, **facts)
        if state == "broken":
            raise self._error(PoolBroken, message, **facts)
        if state == "failed":
            raise self._error(JobFailed, f"job {self.job_id}: {message}", state="failed")
        if state == "timeout":
            raise self._error(JobTimeout, f"job {self.job_id}: timeout_s is over; it can be resumed", state="timeout")
        if state == "cancelled":
            raise self._error(JobCancelled, f"job {self.job_id} was cancelled", state="cancelled")
        raise self._error(JobCancelled, f"job {self.job_id} was stopped; it can be resumed")

    def _error(self, kind: type[JobError], message: str, *, state: str = "stopped", **facts: Any) -> JobError:
        self._state = {BudgetExhausted: "budget", PoolBroken: "failed"}.get(kind, state)
        results = self.relay.results() if self.relay is not None and self.relay.state.epoch is not None else None
        return kind(
            message,
            job_id=self.job_id,
            summary=self.summary(),
            results=results if results is not None else (),
            failures=results.failures if results is not None else (),
            **facts,
        )

    def complete(self) -> None:
        """The rounds are over: the job is done, and free."""
        self._state = "done"
        self.finish()

    def check_failures(self) -> None:
        """JobFailed: no chunk has a result, or more failed than ``max_failed`` allows."""
        assert self.relay is not None
        index = self.relay.state.epoch.index(0) if self.relay.state.epoch else None
        if index is None or not index.failed:
            return
        limit = self.parts.settings.max_failed
        if index.done == 0 or (limit is not None and index.failed > limit):
            first = next(iter(self.relay.results().failures))
            what = "all" if index.done == 0 else f"{index.failed} of"
            message = (
                f"job {self.job_id}: {what} {index.total} chunks failed; the first one ({first.kind}): {first.message}"
            )
            raise self._error(JobFailed, message, state="failed")
        log.warning("job %s: %d of %d chunks failed; see results.failures", self.job_id, index.failed, index.total)

    # the end

    def stop(self, reason: str) -> None:
        """Start nothing new, let what is in flight end. From any thread, and from signal handlers."""
        self._stop_reason = self._stop_reason or reason
        if self._session is not None:
            self._session.stop(self._stop_reason)

    def interrupted(self, error: BaseException) -> None:
        """After an exception: let what is in flight end, for ``drain_s``; a second exception ends everything at
        once.
        """
        session = self._session
        if session is None or isinstance(error, JobError) or self.relay is None or self.relay.started_at is None:
            return
        self.parts.progress.state("draining")
        self.stop("stopped")
        until = time.monotonic() + self.parts.settings.drain_s + 2.0
        try:
            while time.monotonic() < until:
                for news in session.receive(0.2):
                    if isinstance(news, Durable):
                        for _ in self.relay.follow(news.offset):
                            pass
                    elif isinstance(news, Ended):
                        return
        except BaseException:
            session.kill()
            raise

    def finish(self) -> None:
        """Write how the run ended, and free the job."""
        session, self._session = self._session, None
        if session is None:
            return
        summary = self.summary().to_dict()
        record = CloseRecord(time.time(), self._state, normalise(summary))
        try:
            session.finish(pack_close(record) if self.relay is not None and self.relay.started_at is not None else b"")
        except (SupervisorDied, LogError):
            self.parts.drop_session()  # a run without its CLOSE counts as interrupted

    def summary(self) -> RunSummary:
        """The summary so far."""
        return self.tally.summary((time.monotonic() - self._began) * 1e3)

    def clear(self) -> None:
        """After success: keep what ``keep`` says."""
        keep = self.parts.keep
        if keep == "results":
            (self.folder / "spool").unlink(missing_ok=True)
        elif keep == "on_failure":
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Close what is open; results that were handed out stay readable."""
        if self.relay is not None:
            self.relay.close()

    # orders

    @property
    def _order(self) -> dict[str, Any]:
        settings, models = self.parts.settings, self.parts.models
        kinds = [kind for model in models for kind in (model.kind, *model.preloads)]
        return {
            "job_id": self.job_id,
            "durability": settings.durability,
            "workers": settings.workers,
            "slots": settings.slots,
            "preload": {"kinds": kinds, "modules": preloads(self._mapping.function, settings.preload)},
        }

    def _round_order(self, round_: Round) -> dict[str, Any]:
        settings, models = self.parts.settings, self.parts.models
        return {
            "round": {
                "round": round_.number,
                "models": [model.name for model in models],
                "all_models": self.parts.all_models and round_.number == 0,
                "balance": settings.balance or "round_robin",
                "steal": settings.assignment == "steal",
                "max_attempts": settings.max_attempts,
                "max_failed": settings.max_failed,
                "chunk_timeout_s": settings.chunk_timeout_s,
                "drain_s": settings.drain_s,
                "backoff_s": settings.backoff_s,
                "max_worker_rss": settings.max_worker_rss,
            },
            "room": CALL_ROOM + 2 * round_.total,
            "terms": self._terms(),
            "setup": {
                "job_id": self.job_id,
                "round": round_.number,
                "priority": settings.full_priority,
                "all_models": self.parts.all_models and round_.number == 0,
                "map_blob": round_.mapping.blob,
                "models_blob": self.parts.models_blob,
                "initializer_blob": self.parts.initializer_blob,
                "chunk_timeout_s": settings.chunk_timeout_s,
                "backoff_s": settings.backoff_s,
                "log_level": logging.getLogger().getEffectiveLevel(),
            },
        }

    def _terms(self) -> dict[str, Any]:
        settings, models = self.parts.settings, self.parts.models
        every = [one for model in models for one in (model, *model.fallbacks)]
        return pack_terms(
            limits={model.name: model.limits for model in every if model.limits is not None},
            budget=settings.budget,
            prices={model.name: model.price for model in every},
            priority=settings.full_priority,
            exact=tuple(model.name for model in every if model.kind == "openai"),
            shared_dir=os.fspath(state_folder(settings.state_dir) / "limits"),
            host=f"{os.getpid()}",
        )
