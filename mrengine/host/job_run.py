"""Owns one run of a job, from its documents to its outcomes: plan, rounds, stop, recovery, summary.

Rounds are played over a session; whoever calls ``rounds()`` sees outcomes as they become durable. Reduce is the
caller's.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrengine import events
from mrengine.backends.process.driver import Driver, Durable, Ended, News
from mrengine.errors import (
    ConfigError,
    JobBusy,
    JobError,
    JobFailed,
    JobNotFound,
    LogError,
    SourceError,
    SupervisorDied,
)
from mrengine.host import notices
from mrengine.host.busy import BusyWait
from mrengine.host.chunk_table import append_inputs, input_version, lacking_text
from mrengine.host.closing import clear, close_done, close_payload
from mrengine.host.endings import end_state, ending
from mrengine.host.job_identity import MapFunction, Record, round_record
from mrengine.host.log_follower import LogFollower, Outcome
from mrengine.host.prepare import LOST, SUPERVISORS, Preparation, Prepared, identity, is_begun, no_text
from mrengine.host.requests import RoundSpec, RunConfig, lacking, open_order, round_order
from mrengine.host.run_log import RunLog
from mrengine.host.run_summary import SummaryBuilder
from mrengine.log.file.folder import claimed, remove
from mrengine.log.view.results import Results
from mrengine.private import FolderLock
from mrengine.records import ChunkResult, RunSummary
from mrengine.sources.spool import sweep_spools

__all__ = ["JobRun"]

log = logging.getLogger("mrengine")
WAIT_S = 0.5


class JobRun:
    """One ``run()``. ``summary()`` and ``relay`` may be asked at any time after ``prepare()``."""

    def __init__(
        self, parts: RunConfig, job_id: str, folder: Path, mapping: MapFunction, *, until: float | None
    ) -> None:
        """``until``: when ``timeout_s`` is over, of ``time.monotonic()``."""
        self.parts, self.job_id, self.folder, self._mapping = parts, job_id, folder, mapping
        self._began, self._until = time.monotonic(), until
        self.tally = SummaryBuilder(job_id)
        self._log = RunLog(self.tally, job_id)
        self.relay: LogFollower | None = None
        self._session: Driver | None = None
        self._died, self._progress = 0, 0  # supervisors that died in a row, and how far the run was then
        self._playing = False
        self._news: deque[News] = deque()  # heard from the session, and not dealt with yet
        self._durable = 0  # up to where the log is durable, as far as it was heard
        self._total = 0
        self._ready: Prepared | None = None
        self._state = "stopped"
        self._stop_reason: str | None = None
        self._reason = ""  # why the run ended, where it is not done
        self._husk = False  # a new job was refused: nothing of it stays
        self._claim: FolderLock | None = None

    def prepare(self, document: Any) -> None:
        """Read and plan. Afterwards the log holds the chunk table and nothing has run, or the job is finished."""
        self._claim = claimed(self.folder)
        before = identity(self.folder)
        new = not os.path.lexists(self.folder / "log")
        try:
            self._use(self._preparation.from_documents(document))
        except Exception as error:
            same = identity(self.folder) == before
            self._husk = new and same and not isinstance(error, (JobError, LogError))
            if same or not isinstance(error, (OSError, LogError, SourceError, ConfigError)):
                raise
            message = f"job {self.job_id} was purged while it began: run it again"
            raise JobNotFound(message, job_id=self.job_id) from error

    def prepare_stored(self) -> None:
        """The same for a job that is to go on from its log and spool."""
        self._use(self._preparation.from_log())

    @property
    def _preparation(self) -> Preparation:
        wait = BusyWait(
            self.job_id,
            on_busy=self.parts.settings.on_busy,
            until=self._until,
            stopped=lambda: self._stop_reason is not None,
            progress=self.parts.progress,
        )
        return Preparation(self.parts, self.job_id, self.folder, self._mapping, self._begin, self._drop, wait)

    def _begin(self) -> Driver:
        self._session = self.parts.session()
        self._session.begin(self.folder, open_order(self.parts, self.job_id, self._mapping))
        return self._session

    def _drop(self) -> None:
        """End a session whose supervisor has died: nothing more is asked of it."""
        self._session = None
        self.parts.drop_session()

    def _use(self, ready: Prepared) -> None:
        self._ready = ready
        if ready.damage:
            self._warn(notices.damaged(self.job_id, ready.damage))
        for message in ready.notes:
            self._warn(message)
        if ready.unread:
            self._warn(f"job {self.job_id}: {ready.unread}\n  they are left out")
        if textless := [row.id for row in ready.documents if not row.n_bytes and row is not LOST]:
            self._warn(notices.empty(self.job_id, textless))
        if ready.blank_chunks:
            self._warn(notices.blank(self.job_id, ready.blank_chunks))
        parts = self.parts
        kind = self._mapping.result_type
        relay = LogFollower(
            self.folder, self.job_id, parts.dispatcher, parts.progress, self.tally, parts.balancer, kind
        )
        self.relay = relay
        relay.catch_up(ready.durable)
        if ready.finished:
            self._begin_round(0)
        if ready.total is not None:
            self._total = ready.total
        elif relay.state.epoch is not None:
            self._total = relay.state.epoch.chunks()

    def _warn(self, message: str) -> None:
        self.tally.warnings.append(message)
        log.warning("%s", message)

    # rounds

    def earlier(self) -> Sequence[ChunkResult]:
        """The results of earlier runs."""
        known = self.relay is not None and self.relay.state.epoch is not None
        return self.relay.results() if known and self.relay is not None else ()

    def outcomes(self, *, wanted: bool = False) -> Iterator[Outcome]:
        """Play the map round; outcomes of this run as they become durable, where they are ``wanted``."""
        if self._ready is None or self._ready.finished:
            return
        yield from self._play(RoundSpec(0, self._total, self._mapping), wanted=wanted)

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
            if self._session is None:
                self._reopen()
            assert self._ready is not None
            indexes = {row.id: index for index, row in enumerate(self._ready.documents)}
            texts = [(indexes[name], text) for name, text in inputs]
            records = tuple(append_inputs(self._ready.spool, round_, texts))
            for _ in self._play(
                RoundSpec(round_, len(inputs), replace(mapping, version=version), records), wanted=False
            ):
                pass
        results = self.relay.results(round_)
        if results.failures:
            first = results.failures[0]
            message = f"job {self.job_id}: the reduce call failed ({first.kind}): {first.message}"
            raise self._error(JobFailed, message, state="failed")
        return results

    def _reopen(self) -> None:
        """A finished job is opened again, for a reduce that it does not know yet."""
        durable = self._begin().opened()
        assert self.relay is not None
        self.relay.catch_up(durable)
        ready = self._ready
        assert ready is not None
        why = lacking_text(ready.spool, () if ready.fresh is None else ready.documents)
        if why is not None and ready.fresh is None:
            raise no_text(self.job_id, why)
        if why is not None and ready.fresh is not None:
            ready.fresh.publish(ready.spool)

    def _play(self, round_: RoundSpec, *, wanted: bool) -> Iterator[Outcome]:
        self._start(round_, round_.records)
        begun = False
        while True:
            news = self._next(self._wait_s)
            if isinstance(news, Durable):
                if not begun:
                    begun = True
                    self._first(round_.number, news.offset)
                assert self.relay is not None
                yield from self.relay.follow(news.offset, outcomes=wanted)
            elif isinstance(news, Ended) and news.state == "died":
                self._revive(round_)
            elif isinstance(news, Ended):
                self._ended(news)
                return
            elif news is not None and self.relay is not None:
                self.relay.tell(news)

    def _start(self, round_: RoundSpec, records: Sequence[Record]) -> None:
        session = self._session
        assert session is not None
        self._news.clear()
        for record in records:
            session.append(*record)
        session.append(*round_record(round_.number, round_.total, round_.mapping.version))
        assert self._ready is not None
        session.play(round_order(self.parts, self.job_id, round_, since=self._ready.durable))
        self._playing = True
        if self._stop_reason is not None:
            session.stop(self._stop_reason)

    def _next(self, wait_s: Callable[[], float]) -> News | None:
        """The oldest news; the rest waits here, for ``interrupted()`` too, where an exception strikes meanwhile."""
        if not self._news:
            assert self._session is not None
            self._news.extend(self._session.receive(wait_s()))
        news = self._news.popleft() if self._news else None
        if isinstance(news, Durable):
            self._durable = news.offset
        return news

    def _wait_s(self) -> float:
        left_s = WAIT_S if self._until is None else self._until - time.monotonic()
        if left_s <= 0:
            self.stop("timeout")
        self.parts.progress.tick()
        self._log.tick()
        return min(WAIT_S, left_s) if left_s > 0 else WAIT_S

    def _first(self, round_: int, durable: int) -> None:
        """The round's own record is durable: what comes after it is news."""
        assert self.relay is not None
        self.relay.catch_up(durable)
        self._begin_round(round_)
        if self._ready is not None:
            with suppress(OSError):  # what is left is swept another time
                sweep_spools(self.folder, keep=self._ready.spool)

    def _begin_round(self, round_: int) -> None:
        assert self.relay is not None
        self.relay.begin(round_)
        if not self._log.started:
            workers = self.parts.settings.workers if self.parts.settings.strategy == "parallel" else 1
            self._log.start(workers=workers, models=[model.name for model in self.parts.models])

    def _revive(self, round_: RoundSpec) -> None:
        """The supervisor died: another one resumes the job, a bounded number of times without progress."""
        if self.tally.progress > self._progress:
            self._died, self._progress = 0, self.tally.progress
        self._died += 1
        self._drop()
        if self._died >= SUPERVISORS:
            raise self._error(SupervisorDied, f"{self._died} supervisors died in a row; the job can be resumed")
        log.warning("the supervisor of job %s died; another one goes on", self.job_id)
        try:
            self._begin().opened()
        except SupervisorDied:
            self._revive(round_)
            return
        self._start(round_, lacking(self.folder, round_))

    def _ended(self, ended: Ended) -> None:
        """Raise what the end of a round means, unless it is done."""
        self._playing = False
        facts = dict(ended.facts)
        message = facts.pop("message", "")
        if ended.state == "log":
            raise LogError(message, **facts)
        if ended.state != "done":
            end = ending(ended.state, message, self.job_id, trouble=self.tally.trouble)
            raise self._error(end.error, end.message, state=end.state, **(facts if end.has_facts else {}))

    def _error(self, kind: type[JobError], message: str, *, state: str = "stopped", **facts: Any) -> JobError:
        self._state = state
        self._reason = message
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
            message = f"job {self.job_id}: {notices.failed(index.failed, index.total)} ({first.kind}): {first.message}"
            raise self._error(JobFailed, message, state="failed")
        log.warning("%s", notices.partly_failed(self.job_id, index.failed, index.total))

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
        if session is None or not self._playing or self.relay is None:
            return
        self.parts.progress.state("draining")
        self.stop("stopped")
        until = time.monotonic() + self.parts.settings.drain_s + 2.0
        try:
            while time.monotonic() < until:
                for _ in self.relay.follow(self._durable):
                    pass
                news = self._next(lambda: 0.2)
                if isinstance(news, Ended):
                    return
                if news is not None:
                    self.relay.tell(news)
        except BaseException:
            session.kill()
            raise

    def finish(self) -> None:
        """Write how the run ended, and free the job."""
        session, self._session = self._session, None
        if session is None:
            self._finish_afterwards()
            return
        close = close_payload(self._state, self.summary(), self._reason)
        try:
            session.finish(close if self.relay is not None and self.relay.started_at is not None else b"")
        except (SupervisorDied, LogError):
            self.parts.drop_session()  # a run without its CLOSE counts as interrupted
        if self._husk and self._claim is not None and self._claim.alone():
            with suppress(JobBusy, LogError, OSError):  # somebody else has begun it meanwhile, or removed it
                remove(self.folder, unless=is_begun)

    def _finish_afterwards(self) -> None:
        """Everything was there already. A run that was killed after its last result left no CLOSE that says so."""
        closed = self.relay.state.closed if self.relay is not None else None
        told = closed is not None and closed.state == "done"
        if told or self._ready is None or not self._ready.finished or self._state != "done":
            return
        close_done(self.folder, self.job_id, self.summary(), durability=self.parts.settings.durability)

    def summary(self) -> RunSummary:
        """The summary so far."""
        return self.tally.summary((time.monotonic() - self._began) * 1e3)

    def completed(self) -> RunSummary:
        """Tell that the run has its answer, and keep what ``keep`` says."""
        assert self.relay is not None
        summary = self.summary()
        self.relay.emit("job:complete", summary=summary)
        clear(self.folder, self.parts.keep)
        return summary

    def ended(self, error: BaseException | None) -> None:
        """Tell how the run ended; ``error``: what it raises. The last thing that is told of it."""
        state, summary = end_state(self._state, error, began=self._log.started), self.summary()
        if self._log.started:
            self._log.end(state, summary)
        self.parts.dispatcher.emit(events.JobEnd(job_id=self.job_id, at=time.time(), state=state, summary=summary))

    def close(self) -> None:
        """Close what is open, and take the bar off the screen; results that were handed out stay readable."""
        self.parts.progress.close()
        if self.relay is not None:
            self.relay.close()
        if self._ready is not None and self._ready.fresh is not None:
            self._ready.fresh.discard()
        if self._claim is not None:
            self._claim.release()
