"""Follows the log of a running job, and makes events, counts and results of what is durable.

No outcome comes by message: each one was read from the log. So no event announces what a crash could undo, and a slow
callback slows only itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mrengine import events
from mrengine.errors import LogError
from mrengine.host.run_summary import StageTimes, SummaryBuilder
from mrengine.job.driver import Note, PrintedLine, Update
from mrengine.log.file.row_reader import document_of
from mrengine.log.format import codec
from mrengine.log.format.codec import Frame
from mrengine.log.format.packing import key
from mrengine.log.format.task_records import (
    FailureRecord,
    ResultRecord,
    unpack_attempt,
    unpack_call,
    unpack_failure,
    unpack_result,
)
from mrengine.log.view.chunk_facts import ChunkFacts
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.results import UNREADABLE, Results, failure_of, result_of
from mrengine.profiling import PerformanceCollector
from mrengine.progress import Progress, Silent
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.records import ChunkFailure, ChunkResult, Usage
from mrengine.telemetry.watcher import Watchers

__all__ = ["LogFollower", "OnStep", "OnText", "Outcome", "Step"]

Outcome = ChunkResult | ChunkFailure
_NO_USAGE = Usage()
NOBODY = Watchers(())
log = logging.getLogger("mrengine")
OnText = Callable[[int, str], None]


class Step(NamedTuple):
    """A durable result, number ``done`` of ``total`` of its round; ``final``: a document's answer, so counted."""

    round: int
    done: int
    total: int
    document_id: str
    chunk_id: int | None
    value: Any
    final: bool = False


OnStep = Callable[[Step], None]
PRINTED = "map_fn"  # the name of the logger for lines that map functions print


class LogFollower:
    """Follows one run of a job. ``view``: the log, read up to where this run begins; preparation has opened it."""

    def __init__(
        self,
        view: ResumeEngine,
        job_id: str,
        dispatcher: events.Dispatcher,
        progress: Progress,
        counts: SummaryBuilder,
        balancer: ModelLoadBalancer | None,
        result_type: Any = None,
        collector: PerformanceCollector | None = None,
        watchers: Watchers = NOBODY,
    ) -> None:
        self._job_id, self._dispatcher, self._progress, self.counts = job_id, dispatcher, progress, counts
        self._balancer = balancer  # for statistics only: the supervisor's own balancer decides
        self._result_type = result_type  # for results of the map round
        self._stages = StageTimes(collector) if collector is not None else None
        self._watchers = watchers
        self.view = view
        self.on_text: OnText | None = None  # is given what the model writes of an answer that is shown
        self.on_step: OnStep | None = None  # is given each result of any round
        self._chunk_facts: ChunkFacts | None = None
        self.started_at: int | None = None
        self.round = 0

    def begin(self, round_: int) -> None:
        """A round starts here: what the log gets from now on belongs to this run."""
        self.round = round_
        if self.started_at is None:
            self.started_at = self.view.position
        if self._watchers:
            self._watchers.begin_round(round_, self.view.index(round_).total)
        if round_ == 0:
            index = self.view.index(0)
            self.counts.resumed = index.done
            self._total()
            self._emit("job:start", total=index.total, resumed=index.done, total_so_far=self.counts.so_far)

    def _total(self) -> None:
        epoch = self.view.epoch
        self.counts.total, self.counts.so_far = self.view.index(0).total, epoch is not None and not epoch.complete

    def follow(self, durable: int, *, outcomes: bool = False) -> Iterator[Outcome]:
        """Read on to ``durable``: count, announce, and yield the outcomes if they are asked for."""
        for frame, counts in self.view.follow(durable):
            outcome = self._take(frame, counts, outcomes)
            if outcome is not None:
                yield outcome

    def _take(self, frame: Frame, counts: bool, wanted: bool) -> Outcome | None:
        try:
            return self._announced(frame, counts, wanted)
        except LogError:  # its CRC is right, yet it cannot be unpacked: it fails its own chunk, not the run
            return self._failure(self._damaged(frame), wanted) if counts and self.round == 0 else None

    def _damaged(self, frame: Frame) -> FailureRecord:
        """The failure that stands in for an outcome that cannot be read."""
        round_, chunk, model = key(frame.payload)
        document = document_of(self.view.chunk_table(), self.view.documents(), chunk)
        return FailureRecord(round_ & 0xFFFF, chunk, model, document, None, 0, 1, time.time(), "damaged", UNREADABLE)

    def _watched(self, frame: Frame, counts: bool) -> None:
        if frame.kind == codec.CALL:
            self._watchers.call(unpack_call(frame.payload))
        elif frame.kind == codec.ATTEMPT:
            self._watchers.attempt(unpack_attempt(frame.payload))
        elif counts and frame.kind == codec.RESULT:
            self._watchers.outcome(unpack_result(frame.payload))
        elif counts and frame.kind == codec.FAILURE:
            self._watchers.outcome(unpack_failure(frame.payload))

    def _announced(self, frame: Frame, counts: bool, wanted: bool) -> Outcome | None:
        if self._watchers:
            self._watched(frame, counts)
        if frame.kind == codec.CALL:
            call = unpack_call(frame.payload)
            if self._stages is not None:
                self._stages.call(call)
            # A refusal that a batch brought stands in the log as an answer, but nothing was bought.
            if call.finish_reason != "refused":
                self._progress.use(call.model, call.usage.total_tokens)
                self.counts.call(call.model, call.usage, call.cost_usd)
                self._count(call.model, call.usage)
        elif frame.kind == codec.ATTEMPT:
            self.counts.retries += 1
        elif frame.kind in (codec.CHUNKS, codec.ROUND) and self.round == 0:
            self._total()
        elif not counts or self.round != 0:
            if counts and frame.kind == codec.RESULT:
                self._step(unpack_result(frame.payload))
            return None
        elif frame.kind == codec.RESULT:
            return self._result(unpack_result(frame.payload), wanted)
        elif frame.kind == codec.FAILURE:
            return self._failure(unpack_failure(frame.payload), wanted)
        return None

    def _result(self, record: ResultRecord, wanted: bool) -> ChunkResult | None:
        if self._stages is not None:
            self._stages.result(record)
        counts = self.counts
        counts.processed += 1
        counts.reused_calls += record.reused_calls
        self._count(record.model, done=1)
        # Making an event is a third of the host's time for an outcome: only where somebody receives it.
        if self._dispatcher.wants("chunk:processed") or not isinstance(self._progress, Silent):
            self._send(self._processed(record, counts.done, counts.total))
        self._step(record)
        if not wanted:
            return None
        return result_of(record, self._result_type, resumed=False, facts=self._facts().of(record.chunk_id))

    def _step(self, record: ResultRecord) -> None:
        if self.on_step is not None:
            index = self.view.index(self.round)
            chunk = record.chunk_id if self.round == 0 else None
            value = record.result
            self.on_step(Step(self.round, index.done + index.failed, index.total, record.document_id, chunk, value))

    def _facts(self) -> ChunkFacts:
        """The fields and pages of this run's documents."""
        if self._chunk_facts is None:
            self._chunk_facts = ChunkFacts(self.view.reader, self.view.epoch)
        return self._chunk_facts

    def _processed(self, r: ResultRecord, done: int, total: int) -> events.ChunkProcessed:
        return events.ChunkProcessed(
            job_id=self._job_id,
            at=time.time(),
            chunk_id=r.chunk_id,
            document_id=r.document_id,
            model=r.model,
            worker_id=r.worker_id,
            attempt=r.attempt,
            duration_ms=r.duration_ms,
            usage=r.usage or _NO_USAGE,
            cost_usd=r.cost_usd,
            done=done,
            total=total,
            progress=done / total if total else 1.0,
            total_so_far=self.counts.so_far,
        )

    def _failure(self, record: FailureRecord, wanted: bool) -> ChunkFailure | None:
        counts = self.counts
        counts.failure(f"{record.kind}: {record.message}")
        self._count(record.model, failed=1)
        self._emit(
            "chunk:failed",
            chunk_id=record.chunk_id,
            document_id=record.document_id,
            model=record.model,
            kind=record.kind,
            error=record.message,
            attempts=record.attempts,
            done=counts.done,
            total=counts.total,
            progress=counts.done / counts.total if counts.total else 1.0,
            total_so_far=self.counts.so_far,
        )
        return failure_of(record, self._facts().of(record.chunk_id)) if wanted else None

    def _count(self, model: str | None, usage: Usage | None = None, *, done: int = 0, failed: int = 0) -> None:
        if self._balancer is not None and model is not None:
            self._balancer.count(model, usage, done=done, failed=failed)

    def report(self, update: Update) -> None:
        """Pass on what is not in the log: events, and lines that map_fn printed or logged, each to its logger."""
        if isinstance(update, Note):
            self._note(update)
        elif isinstance(update, PrintedLine):
            self._line(update)

    def _line(self, line: PrintedLine) -> None:
        """Show a printed line on stderr, as in any program, unless logging shows it or was configured to hide it."""
        logger = logging.getLogger(line.logger)
        shown = logger.hasHandlers() and logger.isEnabledFor(line.level)
        if line.logger == PRINTED and not shown and logger.level == logging.NOTSET:
            self._progress.say(line.text)
        else:
            logger.log(line.level, "%s", line.text)

    def _note(self, note: Note) -> None:
        self._watchers.note(note.name, note.fields)
        if note.name == "worker:crashed":
            self.counts.worker_restarts += 1
        elif note.name == "call:retry":
            self._call_retry(note.fields["model"], note.fields["error"], limited=note.fields["limited"])
        elif note.name == "answer:piece" and self.on_text is not None:
            self.on_text(note.fields["at"], note.fields["text"])
        elif note.name == "models:load":
            self._progress.load(sum(note.fields["in_flight"].values()))
            if self._balancer is not None:
                self._balancer.carries(note.fields["in_flight"])
        elif note.name in ("profile", "budget:waited") and self._stages is not None:
            self._stages.note(note)
        elif note.name == "supervisor:crashed":
            log.error("the supervisor crashed:\n%s", note.fields["report"])
        elif note.name == "preload:failed":
            log.info("%s could not be imported before the workers: %s", note.fields["module"], note.fields["error"])
        if note.name in events.EVENTS:
            known = events.EVENTS[note.name].__dataclass_fields__
            self._emit(note.name, **{name: value for name, value in note.fields.items() if name in known})

    def _call_retry(self, model: str, error: str, *, limited: bool) -> None:
        """Warn of a call that failed and is made again, once for each kind of error."""
        # Retries may go on for a long time before anything fails: a silent run would look like one that hangs.
        if self.counts.call_retry(error, limited=limited):
            log.warning("job %s: a call to %s failed and is made again: %s", self._job_id, model, error)

    def _emit(self, name: str, **fields: Any) -> None:
        self._send(events.make(name, job_id=self._job_id, at=time.time(), **fields))

    def _send(self, event: events.Event) -> None:
        self._progress(event)
        self._dispatcher.emit(event)

    def emit(self, name: str, **fields: Any) -> None:
        """Announce an event of the host's own."""
        self._emit(name, **fields)

    def results(self, round_: int = 0) -> Results:
        """The results so far, lazily, with ``.failures``; empty where the log has no such round."""
        kind = self._result_type if round_ == 0 else None
        return self.view.results(round_, resumed_before=self.started_at or 0, result_type=kind)

    def close(self) -> None:
        """Close the view; results that were handed out have a descriptor of their own."""
        self.view.close()
