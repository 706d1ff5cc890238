"""The story of a job, read from its log in one pass: columns of tasks, calls and grants; runs; notes.

Columns are arrays, not objects: a job of a million chunks has a million tasks and more calls.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mrengine.errors import JobNotFound, LogError
from mrengine.log.file.recovery import drain
from mrengine.log.format import batch_records, codec, job_records, task_records
from mrengine.log.format.codec import Frame
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.outcome_index import OutcomeIndex
from mrengine.records import Usage

__all__ = ["DONE", "FAILED", "LOST", "PENDING", "BatchSpan", "Coverage", "Failure", "Run", "Story", "read_story"]

MOST_NOTES = 200_000  # that are kept; a storm of refused calls writes millions
MOST_FAILURES = 20_000
DONE, FAILED, LOST = 1, 0, -1  # outcomes of tasks
PENDING = -1  # the state of a span of a document without an outcome; the others are DONE and FAILED
SAME_S = 2.0  # at most between a crash and the records of the attempts that it ended


@dataclass(slots=True)
class Run:
    """One run of the job: from a ROUND record to a CLOSE, or to the last record where it was killed.

    ``state``: from the CLOSE, else "interrupted". ``facts``: pool and limits, from its ROUND record.
    """

    number: int
    began: float
    ended: float
    state: str = "interrupted"
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Failure(NamedTuple):
    """A chunk without a result."""

    chunk_id: int
    document_id: str
    model: str
    kind: str
    message: str
    attempts: int


# A document: its id, its characters, and (start, end, DONE | FAILED | PENDING) of its chunks, joined.
Coverage = tuple[str, int, list[tuple[int, int, int]]]


@dataclass(slots=True)
class BatchSpan:
    """A batch at a provider, from its intent to its end, or to the story's end while it is open.

    ``state``: "open", "ended", "failed" or "lost". Times in seconds since the epoch.
    """

    number: int
    model: str
    requests: int
    began: float
    ended: float
    state: str = "open"


@dataclass(slots=True)
class Tasks:
    """Tasks that ended, one entry in each column. Times in seconds since the epoch.

    ``ok``: DONE, FAILED, or LOST for an attempt whose work is gone. ``worker``: -1 where it is unknown. A failure and a
    lost attempt begin with their first call, the earliest time that the log has of them.
    """

    chunk: array[int] = field(default_factory=lambda: array("q"))
    round: array[int] = field(default_factory=lambda: array("i"))
    worker: array[int] = field(default_factory=lambda: array("i"))
    start: array[float] = field(default_factory=lambda: array("d"))
    end: array[float] = field(default_factory=lambda: array("d"))
    ok: array[int] = field(default_factory=lambda: array("b"))

    def add(self, chunk: int, round_: int, worker: int, start: float, end: float, ok: int) -> None:
        self.chunk.append(chunk)
        self.round.append(round_)
        self.worker.append(worker)
        self.start.append(min(start, end))  # clocks are set back
        self.end.append(end)
        self.ok.append(ok)

    def __len__(self) -> int:
        return len(self.chunk)


@dataclass(slots=True)
class Calls:
    """Calls that were answered, one entry in each column: when, how long it took, and the tokens used."""

    chunk: array[int] = field(default_factory=lambda: array("q"))
    at: array[float] = field(default_factory=lambda: array("d"))
    latency_ms: array[float] = field(default_factory=lambda: array("d"))
    tokens: array[int] = field(default_factory=lambda: array("q"))
    model: array[int] = field(default_factory=lambda: array("i"))
    refused: array[int] = field(default_factory=lambda: array("b"))

    def __len__(self) -> int:
        return len(self.at)


@dataclass(slots=True)
class Spending:
    """The calls to one model, their tokens and their cost. ``cost_usd``: None where a price was unknown."""

    calls: int = 0
    usage: Usage = Usage()  # noqa: RUF009  (frozen: it can be shared)
    cost_usd: float | None = 0.0


@dataclass(slots=True)
class Story:
    """A job's life. ``damage``: ranges of the log that are lost; ``now``: the newest time of any record.

    ``granted``: the tokens reserved for a call, and, below zero, those given back when it was answered; ``granted_to``:
    the model's place in ``models``. ``spans``: the characters of each failed chunk in its document. ``in_flight``: the
    time of the first call of each task that has called a model and not ended.
    """

    job_id: str = ""
    state: str = "interrupted"
    map_name: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    total: int = 0
    chunks: int = 0
    done: int = 0
    failed: int = 0
    runs: list[Run] = field(default_factory=list)
    tasks: Tasks = field(default_factory=Tasks)
    calls: Calls = field(default_factory=Calls)
    granted_at: array[float] = field(default_factory=lambda: array("d"))
    granted: array[int] = field(default_factory=lambda: array("q"))
    granted_to: array[int] = field(default_factory=lambda: array("i"))
    notes: list[job_records.NoteRecord] = field(default_factory=list)
    batches: list[BatchSpan] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    spending: dict[str, Spending] = field(default_factory=dict)
    documents: list[Coverage] = field(default_factory=list)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    in_flight: tuple[float, ...] = ()
    damage: int = 0
    now: float = 0.0


class _Reader:
    """Makes the story of the frames that it is given; each kind of record has a method."""

    def __init__(self) -> None:
        self.story = Story()
        # By chunk and model: a later run may fail anew, or succeed, which the index of outcomes knows.
        self.failures: dict[tuple[int, int], Failure] = {}
        self._models: dict[str, int] = {}
        self._batches: dict[int, BatchSpan] = {}
        self._begun: dict[tuple[int, int, int], float] = {}  # the first call of tasks that have not ended
        self._reserved: dict[tuple[int, int, bytes], int] = {}  # tokens of calls that are not answered
        self._orphans: list[int] = []  # lost attempts whose worker is unknown
        self._redone: list[tuple[int, int, int, float, float]] = []  # chunk, round, worker; first call, new start
        self._take: dict[int, tuple[Callable[[bytes], Any], Callable[[Any], None]]] = {
            codec.ROUND: (job_records.unpack_round, self._round),
            codec.INTENT: (task_records.unpack_intent, self._intent),
            codec.CALL: (task_records.unpack_call, self._call),
            codec.RESULT: (task_records.unpack_result, self._result),
            codec.FAILURE: (task_records.unpack_failure, self._failure),
            codec.ATTEMPT: (task_records.unpack_attempt, self._attempt),
            codec.NOTE: (job_records.unpack_note, self._note),
            codec.BATCH: (batch_records.unpack_batch, self._batch),
            codec.CLOSE: (job_records.unpack_close, self._close),
        }

    def add(self, frame: Frame) -> None:
        if frame.kind not in self._take:
            return
        unpack, take = self._take[frame.kind]
        try:
            record = unpack(frame.payload)
        except (LogError, struct.error):
            self.story.damage += 1
            return
        take(record)
        story = self.story
        story.now = max(story.now, record.at)
        if story.runs and story.runs[-1].state == "interrupted":
            story.runs[-1].ended = max(story.runs[-1].ended, record.at)

    def _round(self, record: job_records.RoundRecord) -> None:
        runs = self.story.runs
        if record.closes and runs:
            return  # it says that the round of the run that goes on has all its chunks
        # A later round (a reduce by prompt) is part of the run before it, unless that had ended.
        if record.round == 0 or not runs or runs[-1].state != "interrupted":
            self._all_lost()
            runs.append(Run(len(runs) + 1, record.at, record.at, facts=dict(record.facts)))

    def _intent(self, record: task_records.IntentRecord) -> None:
        tokens = record.input_tokens + record.output_tokens
        self._reserved[record.chunk_id, record.model_index, record.digest] = tokens
        self._grant(record.at, tokens, record.model)
        self._begun.setdefault((record.round, record.chunk_id, record.model_index), record.at)

    def _grant(self, at: float, tokens: int, model: str) -> None:
        self.story.granted_at.append(at)
        self.story.granted.append(tokens)
        self.story.granted_to.append(self._models.setdefault(model, len(self._models)))

    def _call(self, record: task_records.CallRecord) -> None:
        reserved = self._reserved.pop((record.chunk_id, record.model_index, record.digest), None)
        if reserved is not None:  # None: answered in a batch, or its intent is lost
            self._grant(record.at, record.usage.total_tokens - reserved, record.model)
        calls = self.story.calls
        calls.chunk.append(record.chunk_id)
        calls.at.append(record.at)
        calls.latency_ms.append(record.latency_ms)
        calls.tokens.append(record.usage.total_tokens)
        calls.model.append(self._models.setdefault(record.model, len(self._models)))
        calls.refused.append(record.finish_reason == "refused")
        if record.finish_reason != "refused":
            spent = self.story.spending.setdefault(record.model, Spending())
            spent.calls += 1
            spent.usage += record.usage
            priced = spent.cost_usd is not None and record.cost_usd is not None
            spent.cost_usd = spent.cost_usd + record.cost_usd if priced else None  # type: ignore[operator]

    def _result(self, record: task_records.ResultRecord) -> None:
        start, chunk, round_ = record.at - record.duration_ms / 1000, record.chunk_id, record.round
        begun = self._begun.pop((round_, chunk, record.model_index), start)
        # Its first call is older than this attempt: an earlier one was lost, with a worker that another chunk ended.
        # Such an attempt has no record, as it was not to blame; finish() looks for the crash.
        if begun < start:
            self._redone.append((chunk, round_, record.worker_id, begun, start))
        self.story.tasks.add(chunk, round_, record.worker_id, start, record.at, DONE)

    def _failure(self, record: task_records.FailureRecord) -> None:
        chunk = record.chunk_id
        start = self._begun.pop((record.round, chunk, record.model_index), record.at)
        self.story.tasks.add(chunk, record.round, record.worker_id, start, record.at, FAILED)
        if record.round == 0 and len(self.failures) < MOST_FAILURES:
            facts = (record.document_id, record.model or "", record.kind, record.message, record.attempts)
            self.failures[chunk, record.model_index] = Failure(chunk, *facts)

    def _attempt(self, record: task_records.AttemptRecord) -> None:
        start = self._begun.pop((record.round, record.chunk_id, record.model_index), record.at)
        self._orphans.append(len(self.story.tasks))
        self.story.tasks.add(record.chunk_id, record.round, -1, start, record.at, LOST)

    def _all_lost(self) -> None:
        """Add as lost what was in flight when the run was killed."""
        ended = self.story.runs[-1].ended if self.story.runs else 0.0
        for (round_, chunk, _), at in self._begun.items():
            self.story.tasks.add(chunk, round_, -1, at, max(at, ended), LOST)
        self._begun.clear()

    def finish(self, *, running: bool) -> None:
        """Settle, after the last record, what is still open, and find the workers of attempts that crashes took."""
        for span in self.story.batches:
            if span.state == "open":
                span.ended = max(span.ended, self.story.now)
        if running:
            self.story.in_flight = tuple(self._begun.values())
        else:
            self._all_lost()
        crashes = sorted((note.at, note.worker_id) for note in self.story.notes if note.name == "worker:crashed")
        # A worker's first crash between the two attempts took the earlier one; without any it was a retry.
        for chunk, round_, worker, begun, start in self._redone:
            for at, crashed in crashes[bisect_right(crashes, (begun, -1)) : bisect_right(crashes, (start, MOST_NOTES))]:
                if crashed == worker:
                    self.story.tasks.add(chunk, round_, worker, begun, at, LOST)
                    break
        # An ATTEMPT record names no worker: it is that of the nearest crash, whose note was written at the same time.
        for index in self._orphans if crashes else ():
            at = self.story.tasks.end[index]
            place = bisect_right(crashes, (at, MOST_NOTES))
            nearest = min(crashes[max(0, place - 1) : place + 1], key=lambda crash: abs(crash[0] - at))
            if abs(nearest[0] - at) < SAME_S:
                self.story.tasks.worker[index] = nearest[1]

    def _note(self, record: job_records.NoteRecord) -> None:
        if len(self.story.notes) < MOST_NOTES:
            self.story.notes.append(record)

    def _batch(self, record: batch_records.BatchRecord) -> None:
        span = self._batches.get(record.number)
        if span is None:
            span = BatchSpan(record.number, record.model, 0, record.at, record.at)
            self._batches[record.number] = span
            self.story.batches.append(span)
        span.requests = max(span.requests, len(record.digests) // task_records.DIGEST_BYTES)
        span.ended = max(span.began, record.at)  # of its records the last one counts
        span.state = record.state if record.state in ("ended", "failed", "lost") else "open"

    def _close(self, record: job_records.CloseRecord) -> None:
        if self.story.runs:
            run = self.story.runs[-1]
            reason = record.summary.get("reason")
            run.state, run.reason = record.state, reason if isinstance(reason, str) else ""
            run.ended = max(run.began, record.at)  # the clock may have been set back

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self._models)


def read_story(folder: Path, *, state: str = "") -> Story:
    """Read the log of a job folder; nothing is locked or changed. JobNotFound, LogError.

    ``state``: the job's state where the caller knows better than the log, such as "running", from its lock.
    """
    reader = _Reader()
    with ResumeEngine(folder) as stored:
        if stored.epoch is None:
            raise JobNotFound(f"the log in {folder} holds no job yet", job_id=folder.name)
        stored.reader.walk(lambda frames: drain(map(reader.add, frames)))
        reader.finish(running=state == "running")
        story = reader.story
        job = stored.epoch.job
        index = stored.index(0)
        story.job_id, story.map_name, story.version = job.job_id, job.map_name, job.version
        story.total, story.done, story.failed = index.total, index.done, index.failed
        story.models = reader.models
        story.failures = [failure for (chunk, model), failure in reader.failures.items() if _fails(index, chunk, model)]
        story.damage += len(stored.recovery.damage)
        story.documents = _coverage(stored)
        rows = stored.chunk_table(0)
        story.chunks = len(rows)
        failed = {failure.chunk_id for failure in story.failures}
        story.spans = {chunk: (rows[chunk].start, rows[chunk].end) for chunk in failed if chunk < len(rows)}
    story.now = story.now or job.at
    story.runs = story.runs or [Run(1, job.at, story.now)]
    story.state = state or (story.runs[-1].state)
    if state == "running":
        story.runs[-1].state = "running"
    return story


def _coverage(stored: ResumeEngine) -> list[Coverage]:
    documents: list[Coverage] = [(row.id, row.n_chars, []) for row in stored.documents()]
    index = stored.index(0)
    for number, row in enumerate(stored.chunk_table(0)):
        if row.document >= len(documents):
            continue  # the record of its document is damaged
        state = _outcome(index, number)
        spans = documents[row.document][2]
        if spans and spans[-1][2] == state and spans[-1][1] == row.start:
            spans[-1] = (spans[-1][0], row.end, state)
        else:
            spans.append((row.start, row.end, state))
    return documents


def _outcome(index: OutcomeIndex, chunk: int) -> int:
    """DONE: every model has a result of the chunk; FAILED: at least one has failed; PENDING: neither."""
    slots = range(chunk * index.models, (chunk + 1) * index.models)
    if any(index.failure(slot) for slot in slots):
        return FAILED
    return DONE if all(index.result(slot) for slot in slots) else PENDING


def _fails(index: OutcomeIndex, chunk: int, model: int) -> bool:
    """Whether a task still has no result: a later run may have done what failed in an earlier one."""
    slot = chunk if index.models == 1 else chunk * index.models + model
    return 0 <= slot < index.total and index.failure(slot) != 0
