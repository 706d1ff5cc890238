"""Owns the host's reading of a running job: the log up to where it is durable becomes events, counts and results.

Nothing of an outcome comes by message: what is announced was read from the disk's own file, so a callback that is slow
slows only itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrengine import events
from mrengine.backends.process.driver import Line, News, Note
from mrengine.host.run_summary import SummaryBuilder
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.codec import HEADER_BYTES, Frame
from mrengine.log.format.records import FailureRecord, ResultRecord, unpack_call, unpack_failure, unpack_result
from mrengine.log.view.replay import Replay
from mrengine.log.view.results import Results, result_of
from mrengine.progress import Progress, Silent
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.records import ChunkFailure, ChunkResult, Usage

__all__ = ["LogFollower", "Outcome"]

Outcome = ChunkResult | ChunkFailure
_NO_USAGE = Usage()
log = logging.getLogger("mrengine")
PRINTED = "map_fn"  # the logger of what map functions print


class LogFollower:
    """Follows one run of a job. ``state`` is what the log adds up to as far as it was read."""

    def __init__(
        self,
        folder: Path,
        job_id: str,
        dispatcher: events.Dispatcher,
        progress: Progress,
        tally: SummaryBuilder,
        balancer: ModelLoadBalancer | None,
        result_type: Any = None,
    ) -> None:
        self._job_id, self._dispatcher, self._progress, self.tally = job_id, dispatcher, progress, tally
        self._balancer = balancer  # for its statistics alone: the supervisor has one of its own, and decides
        self._result_type = result_type  # of the map round's results
        self._reader = LogReader(folder / "log")
        self.state = Replay()
        self.position = HEADER_BYTES
        self.started_at: int | None = None
        self.round = 0

    def catch_up(self, stop: int) -> None:
        """Read what stood in the log before this run, up to ``stop``, which is durable: no events are made of it."""
        for frame in self._reader.frames(self.position, stop):
            self.state.add(frame)
        self.position = stop

    def begin(self, round_: int) -> None:
        """A round starts here: what comes from now on is this run's."""
        self.round = round_
        if self.started_at is None:
            self.started_at = self.position
        index = self.index
        if round_ == 0:
            self.tally.total, self.tally.resumed = index.total, index.done
            self._emit("job:start", total=index.total, resumed=index.done)

    @property
    def index(self) -> Any:
        """The outcomes of the round that runs."""
        assert self.state.epoch is not None
        return self.state.epoch.index(self.round)

    def follow(self, durable: int, *, outcomes: bool = False) -> Iterator[Outcome]:
        """Read on to ``durable``: count, tell who listens, and yield outcomes where they are asked for."""
        if durable <= self.position:
            return
        for frame in self._reader.frames(self.position, durable):
            counts = self.state.add(frame)
            self.position = frame.end
            outcome = self._take(frame, counts, outcomes)
            if outcome is not None:
                yield outcome

    def _take(self, frame: Frame, counts: bool, wanted: bool) -> Outcome | None:
        if frame.kind == codec.CALL:
            call = unpack_call(frame.payload)
            if call.finish_reason != "refused":
                self.tally.call(call.model, call.usage, call.cost_usd)
                self._count(call.model, call.usage)
        elif frame.kind == codec.ATTEMPT:
            self.tally.retries += 1
        elif not counts or self.round != 0:
            return None
        elif frame.kind == codec.RESULT:
            return self._result(frame, wanted)
        elif frame.kind == codec.FAILURE:
            return self._failure(frame, wanted)
        return None

    def _result(self, frame: Frame, wanted: bool) -> ChunkResult | None:
        tally = self.tally
        tally.processed += 1
        record = unpack_result(frame.payload)
        tally.reused_calls += record.reused_calls
        self._count(record.model, done=1)
        if self._dispatcher.wants("chunk:processed") or not isinstance(self._progress, Silent):
            self._send(self._processed(record, tally.done, tally.total))
        return result_of(record, self._result_type, resumed=False) if wanted else None

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
        )

    def _failure(self, frame: Frame, wanted: bool) -> ChunkFailure | None:
        record, tally = unpack_failure(frame.payload), self.tally
        tally.failure(f"{record.kind}: {record.message}")
        self._count(record.model, failed=1)
        self._emit(
            "chunk:failed",
            chunk_id=record.chunk_id,
            document_id=record.document_id,
            model=record.model,
            kind=record.kind,
            error=record.message,
            attempts=record.attempts,
            done=tally.done,
            total=tally.total,
            progress=tally.done / tally.total if tally.total else 1.0,
        )
        return _chunk_failure(record) if wanted else None

    def _count(self, model: str | None, usage: Usage | None = None, *, done: int = 0, failed: int = 0) -> None:
        if self._balancer is not None and model is not None:
            self._balancer.count(model, usage, done=done, failed=failed)

    def tell(self, news: News) -> None:
        """What is not in the log: an event, or a line that map_fn printed or logged, to the logger of its name."""
        if isinstance(news, Note):
            self._note(news)
        elif isinstance(news, Line):
            self._line(news)

    def _line(self, line: Line) -> None:
        """What was printed is seen on stderr, as in any program, unless logging shows it or was told not to."""
        logger = logging.getLogger(line.logger)
        shown = logger.hasHandlers() and logger.isEnabledFor(line.level)
        if line.logger == PRINTED and not shown and logger.level == logging.NOTSET:
            self._progress.say(line.text)
        else:
            logger.log(line.level, "%s", line.text)

    def _note(self, note: Note) -> None:
        if note.name == "worker:crashed":
            self.tally.worker_restarts += 1
        elif note.name == "call:retry":
            self._call_retry(note.fields["model"], note.fields["error"], limited=note.fields["limited"])
        elif note.name == "models:load" and self._balancer is not None:
            self._balancer.carries(note.fields["in_flight"])
        elif note.name == "supervisor:crashed":
            log.error("the supervisor crashed:\n%s", note.fields["report"])
        elif note.name == "preload:failed":
            log.info("%s could not be imported before the workers: %s", note.fields["module"], note.fields["error"])
        if note.name in events.EVENTS:
            known = events.EVENTS[note.name].__dataclass_fields__
            self._emit(note.name, **{name: value for name, value in note.fields.items() if name in known})

    def _call_retry(self, model: str, error: str, *, limited: bool) -> None:
        """A provider that is away is told of, though nothing has failed: the calls go on for a long time."""
        if self.tally.call_retry(error, limited=limited):
            log.warning("job %s: a call to %s failed and is made again: %s", self._job_id, model, error)

    def _emit(self, name: str, **fields: Any) -> None:
        self._send(events.make(name, job_id=self._job_id, at=time.time(), **fields))

    def _send(self, event: events.Event) -> None:
        self._progress(event)
        self._dispatcher.emit(event)

    def emit(self, name: str, **fields: Any) -> None:
        """An event of the host's own."""
        self._emit(name, **fields)

    def results(self, round_: int = 0) -> Results:
        """The results so far, lazily, with ``.failures``."""
        assert self.state.epoch is not None
        kind = self._result_type if round_ == 0 else None
        index = self.state.epoch.index(round_)
        return Results(self._reader, index, resumed_before=self.started_at or 0, result_type=kind)

    def close(self) -> None:
        """Close the reader; results that were handed out have their own."""
        self._reader.close()


def _chunk_failure(r: FailureRecord) -> ChunkFailure:
    return ChunkFailure(r.chunk_id, r.document_id, r.model, r.kind, r.message, r.attempts, r.traceback, r.answers)
