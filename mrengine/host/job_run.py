"""One run of a job, from its documents to its outcomes: prepare, play rounds, end.

``rounds`` plays the rounds; ``outcomes()`` yields outcomes as they become durable; ``reduce`` makes
the result of them.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrengine import events
from mrengine.errors import ConfigError, JobBusy, JobError, JobFailed, JobNotFound, LogError, SourceError
from mrengine.host import notices
from mrengine.host.batches import BatchCoordinator
from mrengine.host.chunk_table import append_inputs, input_version
from mrengine.host.intake import Spooled
from mrengine.host.log_follower import LogFollower, OnStep, OnText, Outcome
from mrengine.host.prepare import Preparation
from mrengine.host.prepared import Prepared, identity, is_begun, no_text, without_text
from mrengine.host.requests import RoundSpec, RunConfig, shared_answers
from mrengine.host.rounds import RoundPlayer
from mrengine.host.run_end import clear, close_payload, end_state, ending
from mrengine.host.run_log import RunLog
from mrengine.host.run_summary import SummaryBuilder
from mrengine.host.stored import chunks_of
from mrengine.host.table_checks import lacking_text
from mrengine.host.waiting import BusyWait
from mrengine.job.driver import Ended
from mrengine.log.file.folder import claimed, remove
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Epoch
from mrengine.log.view.results import Results
from mrengine.mapfn.describe import MapFunction, shown
from mrengine.mapfn.pickling import pack_function
from mrengine.private import FolderLock
from mrengine.records import Batch, ChunkResult, RunSummary
from mrengine.sources.spool import sweep_spools
from mrengine.telemetry.watcher import open_watchers

__all__ = ["JobRun"]

log = logging.getLogger("mrengine")


class JobRun:
    """One ``run()``. ``summary()`` and ``follower`` can be used at any time after ``prepare()``."""

    def __init__(
        self,
        config: RunConfig,
        job_id: str,
        folder: Path,
        mapping: MapFunction,
        *,
        until: float | None,
        detach: bool = False,
    ) -> None:
        """``until``: when ``timeout_s`` is over, of ``time.monotonic()``. ``detach``: do not wait for batches."""
        self._detach = detach
        self._coordinator: BatchCoordinator | None = None
        kinds = {model.name: model.kind for model in config.models}
        config = replace(config, watchers=open_watchers(config.settings.telemetry, job_id, kinds))
        self.config, self.job_id, self.folder, self._mapping = config, job_id, folder, mapping
        self._began, self._until = time.monotonic(), until
        self.counts = SummaryBuilder(job_id)
        self._log = RunLog(self.counts, job_id)
        self._player = RoundPlayer(config, job_id, folder, mapping, until=until, tick=self._tick)
        self._follower: LogFollower | None = None
        self._ready: Prepared | None = None
        self._state = "stopped"
        self._reason = ""  # why the run ended, where it is not done
        self._husk = False  # a new job was refused: its folder is removed
        self._claim: FolderLock | None = None
        self.on_text: OnText | None = None  # is given what a model writes of the run's last answer
        self.on_step: OnStep | None = None  # is given each result as it becomes durable
        chooses = getattr(mapping.function, "prepared", None) is not None
        self.needs_whole = chooses or config.settings.batching is not None  # the whole table, before the first call
        self.remind: Callable[[], None] = lambda: None  # Signals.remind: delivers signals that were put off

    @property
    def follower(self) -> LogFollower:
        """The follower of this run's log; there is none before ``prepare()``."""
        assert self._follower is not None
        return self._follower

    @property
    def ready(self) -> Prepared:
        """The result of ``prepare()``."""
        assert self._ready is not None
        return self._ready

    # before the first round

    def prepare(self, document: Any) -> None:
        """Read and plan. Afterwards the log holds the chunk table and nothing has run, or the job is finished."""
        try:
            self._claim = claimed(self.folder)
            self._prepare(document)
        finally:
            if isinstance(document, Spooled) and (self._ready is None or self._ready.fresh is None):
                document.spool.discard()

    def _prepare(self, document: Any) -> None:
        before, new = identity(self.folder), not os.path.lexists(self.folder / "log")
        try:
            self._use(self._preparation().from_documents(document))
        except Exception as error:
            # Another folder of that name: a purge has struck between, and errors of files are only its trace.
            same = identity(self.folder) == before
            self._husk = new and same and not isinstance(error, (JobError, LogError))
            if same or not isinstance(error, (OSError, LogError, SourceError, ConfigError)):
                raise
            message = f"job {self.job_id} was purged while it began: run it again"
            raise JobNotFound(message, job_id=self.job_id) from error

    def prepare_stored(self, view: ResumeEngine | None) -> None:
        """Prepare a job that goes on from its log and spool. ``view``: of its log, where the caller has one."""
        self._use(self._preparation(view).from_log())

    def _preparation(self, view: ResumeEngine | None = None) -> Preparation:
        wait = BusyWait(
            self.job_id,
            on_busy=self.config.settings.on_busy,
            until=self._until,
            stopped=lambda: self._player.stop_reason is not None,
            progress=self.config.progress,
        )
        what = (self.config, self.job_id, self.folder, self._mapping, self._player.begin, self._player.drop)
        return Preparation(*what, wait, view, first_s=math.inf if self.needs_whole else None)

    def _use(self, ready: Prepared) -> None:
        self._ready = ready
        if ready.damage:
            self._warn(notices.damaged(self.job_id, ready.damage))
        for message in ready.notes:
            self._warn(message)
        self.counts.unread = tuple(ready.unread)
        if textless := without_text(ready.documents) if ready.intake is None else ():
            self._warn(notices.empty(self.job_id, textless))
        if ready.rows is None and (blank := ready.blank()):
            self._warn(notices.blank(self.job_id, blank))
        config, kind = self.config, self._mapping.result_type
        listeners = (config.dispatcher, config.progress, self.counts, config.balancer)
        observers = (config.settings.collector, config.watchers)
        self._follower = LogFollower(ready.view, self.job_id, *listeners, kind, *observers)
        self._follower.on_text, self._follower.on_step = self.on_text, self.on_step
        if ready.finished:
            self._begin_round(0)

    def _warn_of_documents(self) -> None:
        """Warn of documents that were read or cut while the round was played."""
        if (intake := self.ready.intake) is not None:
            self.counts.unread = tuple(intake.reading.errors)
        for message in notices.of_documents(self.job_id, intake):
            self._warn(message)
        if blank := self.ready.blank():
            self._warn(notices.blank(self.job_id, blank))

    def _warn(self, message: str) -> None:
        self.counts.warnings.append(message)
        log.warning("%s", message)

    # rounds

    def earlier(self) -> Sequence[ChunkResult]:
        """The results of earlier runs."""
        return self.follower.results()

    def outcomes(self, *, wanted: bool = False) -> Iterator[Outcome]:
        """Play the map round; yields its outcomes as they become durable, if they are ``wanted``."""
        if self.ready.finished:
            return
        newest, rows = self.ready.view.state.newest, self.ready.rows
        assert newest is not None
        yield from self._play(RoundSpec(0, newest.chunks(), self._bound(), rows=rows), wanted=wanted)
        if rows is not None:
            self._warn_of_documents()

    def try_chunks(self, chunks: Sequence[int]) -> None:
        """Play the map round for some chunks, except those that have a result already."""
        if self.ready.finished:
            return
        newest = self.ready.view.state.newest
        assert newest is not None
        for _ in self._play(RoundSpec(0, newest.chunks(), self._bound(), only=tuple(chunks)), wanted=False):
            pass
        self._state, self._reason = "stopped", f"a pilot of {len(chunks)} chunks: run() goes on from here"

    def _bound(self) -> MapFunction:
        """The map function; one that chooses among the chunks (``prepared``) is given them all first."""
        prepared = getattr(self._mapping.function, "prepared", None)
        epoch = self.follower.view.epoch
        assert epoch is not None
        if prepared is None:
            return shown(self._mapping) if self._is_one_call(epoch) else self._mapping
        chunks = chunks_of(self.follower.view, self.ready.spool)
        function = prepared(chunks, epoch.job.settings.get("room_tokens"))
        return replace(self._mapping, function=function, blob=pack_function(function, setting="map_fn"))

    def _is_one_call(self, epoch: Epoch) -> bool:
        return self.on_text is not None and epoch.chunks() == 1 and self.ready.rows is None

    def play_round(
        self, round_: int, inputs: Sequence[tuple[str, str]], mapping: MapFunction, *, last: bool = False
    ) -> Results:
        """Play a later round over texts, (document id, text) each, one task for each; returns its results in order.
        ``last``: its only answer is the answer of the run.

        A round that the log has in full, over the same texts and with the same function, is not played again.
        """
        epoch = self.follower.view.epoch
        assert epoch is not None
        version = input_version(mapping.version, inputs)
        logged = epoch.rounds.get(round_)
        if logged is None or logged.version != version or epoch.index(round_).done < len(inputs):
            if not self._player.has_driver:
                self._reopen()
            indexes = {row.id: index for index, row in enumerate(self.ready.documents)}
            texts = [(indexes[name], text) for name, text in inputs]
            records = tuple(append_inputs(self.ready.spool, round_, texts))
            mapping = shown(mapping) if last and self.on_text is not None else mapping
            spec = RoundSpec(round_, len(inputs), replace(mapping, version=version), records)
            for _ in self._play(spec, wanted=False):
                pass
        results = self.follower.results(round_)
        if results.failures:
            first = results.failures[0]
            message = f"job {self.job_id}: the reduce call failed ({first.kind}): {first.message}"
            raise self._error(JobFailed, message, state="failed")
        return results

    def _reopen(self) -> None:
        """Open a finished job again, for a reduce round that its log does not have."""
        ready = self.ready
        ready.view.catch_up(self._player.begin().opened())
        why = lacking_text(ready.spool, () if ready.fresh is None else ready.documents)
        if why is not None and ready.fresh is None:
            raise no_text(self.job_id, why)
        if why is not None and ready.fresh is not None:
            ready.fresh.publish(ready.spool)

    def _play(self, round_: RoundSpec, *, wanted: bool) -> Iterator[Outcome]:
        def begun() -> None:
            self._begin_round(round_.number)
            with suppress(OSError):  # a later run sweeps what is left
                sweep_spools(self.folder, keep=self.ready.spool)

        batches, play = self._batches(pilot=round_.only is not None), self._player.play
        since = self.ready.durable
        ended = yield from play(round_, self.follower, since=since, wanted=wanted, begun=begun, batches=batches)
        self._check_end(ended)

    def _batches(self, *, pilot: bool) -> BatchCoordinator | None:
        """The coordinator of the job's batches; None: there are none, and none are wanted. A pilot asks directly:
        ConfigError where what it would ask may be in a batch.
        """
        if pilot and not self.follower.view.state.batches.under_way():
            return None
        if pilot:
            why = f"job {self.job_id} waits for its batches: a pilot would ask again what they hold; resume it first"
            raise ConfigError(why, setting="batch")
        if self._coordinator is None:
            settings, batch = self.config.settings, self.config.settings.batching
            if batch is None and self.follower.view.state.batches.under_way():
                batch = Batch() if settings.batch is None else Batch(deadline_s=0)
            if batch is not None:
                epoch = self.follower.view.epoch
                self._coordinator = BatchCoordinator(
                    self.config.models,
                    settings.budget,
                    batch,
                    self.job_id,
                    self.folder,
                    detach=self._detach,
                    resumed=epoch is not None and bool(epoch.rounds),
                    answers=shared_answers(self.config),
                )
        return self._coordinator

    def _begin_round(self, round_: int) -> None:
        self.follower.begin(round_)
        if not self._log.started:
            workers = 1 if self.config.settings.backend_name == "sequential" else self.config.settings.workers
            self._log.start(workers=workers, models=[model.name for model in self.config.models])

    def _tick(self) -> None:
        self.config.progress.tick()
        self._log.tick()
        self.remind()

    def _check_end(self, ended: Ended) -> None:
        """Raise the error that the end of a round stands for; none where it is done."""
        facts = dict(ended.facts)
        message = facts.pop("message", "")
        if ended.state == "log":
            raise LogError(message, **facts)
        if ended.state != "done":
            end = ending(ended.state, message, self.job_id, trouble=self.counts.trouble)
            raise self._error(end.error, end.message, state=end.state, **(facts if end.has_facts else {}))

    def check_failures(self) -> None:
        """JobFailed: no chunk has a result, or more failed than ``max_failed`` allows."""
        index = self.follower.view.index(0)
        if not index.failed:
            return
        limit = self.config.settings.max_failed
        if index.done == 0 or (limit is not None and index.failed > limit):
            first = next(iter(self.follower.results().failures))
            message = f"job {self.job_id}: {notices.failed(index.failed, index.total)} ({first.kind}): {first.message}"
            raise self._error(JobFailed, message, state="failed")
        log.warning("%s", notices.partly_failed(self.job_id, index.failed, index.total))

    def _error(self, kind: type[JobError], message: str, *, state: str = "stopped", **facts: Any) -> JobError:
        self._state, self._reason = state, message
        results = self.follower.results()
        return kind(
            message,
            job_id=self.job_id,
            summary=self.summary(),
            results=results,
            failures=results.failures,
            **facts,
        )

    # the end

    def stop(self, reason: str) -> None:
        """Start nothing new, let what is in flight end. From any thread, and from signal handlers."""
        self._player.stop(reason)

    def interrupted(self) -> None:
        """After an exception: let what is in flight end, for ``drain_s``."""
        if self._follower is not None:
            self._player.drain(self._follower)

    def complete(self) -> None:
        """The rounds are over: the job is done, and free."""
        self._state = "done"
        closed = self.follower.view.state.closed
        if closed is not None and closed.state != "done" and not self._player.has_driver:
            # An earlier run ended otherwise after the last result: its CLOSE counts until another one is written.
            with suppress(JobError, LogError, OSError):
                self._player.begin().opened()
        self.finish()

    def finish(self) -> None:
        """Have the log's writer record how the run ended, and free the job.

        A run that found all results there has no writer, and adds nothing: the CLOSE in the log, or the outcomes, show
        that the job is done.
        """
        if not self._player.has_driver:
            return
        began = self._follower is not None and self._follower.started_at is not None
        self._player.finish(close_payload(self._state, self.summary(), self._reason) if began else b"")
        if self._husk and self._claim is not None and self._claim.alone():
            with suppress(JobBusy, LogError, OSError):  # another process has begun it meanwhile, or removed it
                remove(self.folder, unless=is_begun)

    def summary(self) -> RunSummary:
        """The summary so far."""
        return self.counts.summary((time.monotonic() - self._began) * 1e3)

    def completed(self) -> RunSummary:
        """Announce that the run has its answer, and remove what ``keep`` does not keep."""
        summary = self.summary()
        self.follower.emit("job:complete", summary=summary)
        clear(self.folder, self.config.keep)
        return summary

    def ended(self, error: BaseException | None) -> None:
        """Announce how the run ended; ``error``: what it raises. Nothing is announced after this."""
        state, summary = end_state(self._state, error, began=self._log.started), self.summary()
        if self._log.started:
            self._log.end(state, summary)
        self.config.watchers.end(state)
        self.config.dispatcher.emit(events.JobEnd(job_id=self.job_id, at=time.time(), state=state, summary=summary))

    def close(self) -> None:
        """Close what is open, and remove the progress bar; results that were handed out stay readable."""
        self.config.progress.close()
        if self._coordinator is not None:
            self._coordinator.close()
        if self._ready is not None:
            self._ready.view.close()
            for spooled in (self._ready.fresh, self._ready.intake):
                if spooled is not None:
                    spooled.discard()
        if self._claim is not None:
            self._claim.release()
