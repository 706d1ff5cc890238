"""Replays a log: computes epochs, rounds, outcomes and calls from its frames, whether recovered or followed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mrengine.errors import LogError
from mrengine.log.file.repair import REPAIRED
from mrengine.log.file.row_reader import Batch
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import Segment, chunks_segment
from mrengine.log.format.codec import HEADER_BYTES, OVERHEAD_BYTES, Frame
from mrengine.log.format.job_records import (
    READING,
    CloseRecord,
    JobRecord,
    ReadRecord,
    RoundRecord,
    document_row,
    packed_documents,
    unpack_close,
    unpack_job,
    unpack_read,
    unpack_round,
)
from mrengine.log.format.packing import full_key, key
from mrengine.log.format.task_records import RESULT_SHAPES, check_outcome, unpack_attempt, unpack_carry
from mrengine.log.view.batch_ledger import BatchLedger
from mrengine.log.view.call_totals import CallTotals
from mrengine.log.view.outcome_index import OutcomeIndex

__all__ = ["Epoch", "Replay"]


@dataclass(slots=True)
class Epoch:
    """A job as described by one JOB record and those that follow it. ``offset``: that of the JOB.

    ``documents``: batches, in order, with a hole where a record was lost; ``segments``: where the rows of CHUNKS stand;
    ``indexes``: the outcomes of each round; ``attempts``: kinds of the ATTEMPTs of each task; ``assigned``: the model
    index that an INTENT fixed for a chunk without a result, by (round, chunk_id); ``spool``: the digest that names the
    spool; ``opened``: the index of the document that is still being read, -1 if there is none.
    """

    # Models by chunk: a task keeps its model over attempts and runs, or it would not find the answers it has paid for.

    job: JobRecord
    offset: int
    documents: list[Batch] = field(default_factory=list)
    number: int = 0
    segments: dict[int, list[Segment]] = field(default_factory=dict)
    rounds: dict[int, RoundRecord] = field(default_factory=dict)
    indexes: dict[int, OutcomeIndex] = field(default_factory=dict)
    attempts: dict[tuple[int, int, int], list[str]] = field(default_factory=dict)
    assigned: dict[tuple[int, int], int] = field(default_factory=dict)
    spool: bytes = b""
    opened: int = -1

    def __post_init__(self) -> None:
        self.number = self.job.epoch & 0xFFFF
        self.spool = self.job.documents[2]

    @property
    def reading(self) -> bool:
        """Whether the documents are still being read, and more may come."""
        return self.job.settings.get(READING) is True

    @property
    def document_count(self) -> int:
        """The number of documents so far."""
        if not self.reading:
            return self.job.documents[0]
        return self.documents[-1].first + self.documents[-1].rows if self.documents else 0

    @property
    def complete(self) -> bool:
        """Whether the chunk table is complete."""
        return 0 in self.rounds and not self.rounds[0].is_open

    @property
    def models(self) -> int:
        """The number of models that have an outcome of their own for each chunk."""
        return max(1, len(self.job.models)) if self.job.all_models else 1

    def index(self, round_: int) -> OutcomeIndex:
        """The outcomes of a round; an empty index where the log has none."""
        found = self.indexes.get(round_)
        if found is None:
            found = self.indexes[round_] = OutcomeIndex(round_, 0, self.models if round_ == 0 else 1)
        return found

    def chunks(self, round_: int = 0) -> int:
        """The number of rows of a round's chunk table."""
        segments = self.segments.get(round_)
        return segments[-1].first + segments[-1].rows if segments else 0

    def add_documents(self, first: int, rows: Sequence[list[Any]], epoch: int, offset: int) -> None:
        """Add documents that no earlier record names. LogError: one names them, or they are of another epoch."""
        stop = first + len(rows)
        # Three cases: the rest of the document that was open, further documents while they are read, a lost record that
        # a later run has restored.
        if 0 <= first == self.opened and len(rows) == 1 and epoch == self.job.epoch:
            self.opened = first if document_row(rows[0]).is_open else -1
            at = bisect_left(self.documents, (first,))
            self.documents[at] = Batch(first, 1, offset)
            return
        if self.reading and rows and first >= self.document_count and epoch == self.job.epoch:
            self.documents.append(Batch(first, stop - first, offset))
            self.opened = stop - 1 if document_row(rows[-1]).is_open else -1
            return
        if epoch != self.job.epoch or not any(a <= first and stop <= b for a, b in self.lost_documents()):
            message = f"documents {first} to {stop} of epoch {epoch} are known already, or of another epoch"
            raise LogError(message, reason="damaged")
        insort(self.documents, Batch(first, len(rows), offset))

    def lost_documents(self) -> list[tuple[int, int]]:
        """Ranges of document indexes, (first, stop), that no record names."""
        holes, known = [], 0
        for batch in (*self.documents, Batch(self.document_count, 0, 0)):
            if batch.first > known:
                holes.append((known, batch.first))
            known = batch.first + batch.rows
        return holes

    def read(self, record: ReadRecord) -> None:
        """Take in a READ: all documents are known. LogError: it is of another epoch, or they were known before."""
        if record.epoch != self.job.epoch or not self.reading:
            raise LogError(f"the documents of epoch {record.epoch} were read before", reason="damaged")
        # ``spool`` stays as it is: JOB's digest goes on naming it.
        self.job = replace(self.job, documents=record.documents, settings=record.settings)

    def forget_rounds(self) -> None:
        """Drop all reduce rounds; they will be run again."""
        for known in (self.segments, self.indexes, self.rounds):
            for round_ in [number for number in known if number]:
                del known[round_]

    def add_segment(self, segment: Segment) -> None:
        """Add rows of the chunk table. LogError: they do not follow the present ones."""
        if segment.round and segment.first == 0:  # the round is run on other inputs
            for known in (self.segments, self.indexes, self.rounds):
                known.pop(segment.round, None)
        if segment.first != self.chunks(segment.round):
            message = f"rows {segment.first} of the chunk table come after row {self.chunks(segment.round)}"
            raise LogError(message, reason="damaged")
        self.segments.setdefault(segment.round, []).append(segment)
        self.index(segment.round).grow(segment.first + segment.rows)

    def start_round(self, record: RoundRecord) -> None:
        """Take in a ROUND, which continues a round of the same total and version, and restarts any other."""
        known = self.rounds.get(record.round)
        if record.round and known and (known.total, known.version) != (record.total, record.version):
            self.indexes.pop(record.round, None)
        elif record.round == 0 and record.total != self.chunks():
            message = f"the chunk table has {self.chunks()} rows of {record.total}"
            raise LogError(message, reason="damaged")
        if record.round and not 0 <= record.total <= self.index(0).total:
            raise LogError(f"a round of {record.total} tasks over {self.index(0).total} results", reason="damaged")
        self.rounds[record.round] = record
        self.index(record.round).grow(record.total)


def _none(chunk_id: int, offset: int) -> bool:
    return False


class Replay:
    """The state of a log; ``add`` every frame in order. ``problems``: (offset, why) of inconsistent records.

    ``closed``: how the last run ended; None: it goes on, or was interrupted. ``updated``: the newest time of a JOB,
    ROUND or CLOSE. ``round_offset``: that of the newest ROUND 0, where the last run began. ``end``: of the last frame.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.call_totals = CallTotals()
        self.batches = BatchLedger()
        self.closed: CloseRecord | None = None
        self.updated = 0.0
        self.round_offset = 0
        self.problems: list[tuple[int, str]] = []
        # Two epochs, while a new JOB's chunk table is not complete: until then the one before it counts.
        self._current: Epoch | None = None
        self._newest: Epoch | None = None
        self._gaps = False
        self.repaired_by = 0.0  # the time of the first ROUND behind the last damage
        self._gap_is_last = False
        self._lost: list[tuple[int, int]] = []
        self.end = HEADER_BYTES
        self._unreadable: set[int] = set()  # offsets of outcomes whose CRC is right, but which cannot be unpacked
        self._takers: dict[int, Callable[[Frame], object]] = {
            codec.VOID: self._void,
            codec.JOB: self._job,
            codec.DOCUMENTS: self._documents,
            codec.CHUNKS: self._chunks,
            codec.ROUND: self._round,
            codec.INTENT: self._intent,
            codec.CALL: self._call,
            codec.RESULT: self._result,
            codec.FAILURE: self._outcome,
            codec.CARRY: self._outcome,
            codec.ATTEMPT: self._attempt,
            codec.CLOSE: self._close,
            codec.REQUEST: self._request,
            codec.BATCH: self.batches.batch,
            codec.READ: lambda frame: self._working().read(unpack_read(frame.payload)),
        }

    @property
    def epoch(self) -> Epoch | None:
        """The epoch that counts: the newest complete one, else the first. None: the log is empty."""
        return self._current

    @property
    def repaired(self) -> bool:
        """Whether damage was repaired, so that records may be lost."""
        return self._gaps

    @property
    def newest(self) -> Epoch | None:
        """The epoch of the newest JOB, complete or not."""
        return self._newest

    def add(self, frame: Frame) -> bool:
        """Take in one frame. True: it is an outcome that counts.

        A record with a valid CRC that is inconsistent nevertheless is noted in ``problems`` and skipped.
        """
        offset, kind, payload, _ = frame
        if offset != self.end:  # the walk has skipped damage that no writer has repaired yet
            self._lost.append((self.end, offset))
        self.end = offset + OVERHEAD_BYTES + len(payload)
        take = self._takers.get(kind)
        if take is None:
            return False
        if kind != codec.VOID:  # padding may follow a CLOSE; any record says that another run has begun
            self.closed = None
        try:
            return take(frame) is True
        except LogError as error:
            if not self._gaps:  # behind damage, records may refer to what it has taken
                self.problems.append((frame.offset, str(error)))
            return False

    def add_all(self, frames: Iterable[Frame]) -> None:
        """Take in frames that follow one another without a gap, as ``add`` does one by one."""
        # Of the million frames of a long log, nearly all are the first RESULT of a chunk in the map round. For these,
        # ``add`` is written out here, without what only others need. All others go to it; they alone may change what
        # ``first`` depends on.
        first: Callable[[int, int], bool] | None = None
        number, match = 0, RESULT_SHAPES.match
        frame: Frame | None = None
        try:
            for frame in frames:
                offset, kind, payload, _ = frame
                if kind == codec.RESULT and first is not None and match(payload):
                    of, round_, chunk_id, _ = full_key(payload)
                    if of == number and not round_ and first(chunk_id, offset):
                        continue
                if first is not None:  # ``end`` is still that of the last frame which ``add`` was given
                    self.end = offset
                self.add(frame)
                epoch, first = self._newest, None
                if epoch is not None and self.closed is None and not epoch.assigned and 0 in epoch.indexes:
                    number, first = epoch.number, epoch.indexes[0].put_first
        finally:
            if frame is not None:
                self.end = frame.end

    def add_ahead(self, frame: Frame) -> None:
        """Take in a frame that depends on none of those in front of it; when its turn comes, ``pass_over`` it."""
        end, self.end = self.end, frame.offset
        self.add(frame)
        self.end = end

    def pass_over(self, frame: Frame) -> None:
        """Skip a frame that was added ahead."""
        self.end = frame.end

    def _void(self, frame: Frame) -> None:
        """Take in a VOID: padding, or what a repair has put in place of damage."""
        if frame.payload[:1] == REPAIRED:
            # The damage may have held the restart of a later round, on other inputs: its outcomes would be mixed.
            self._gaps = self._gap_is_last = True
            self._lost.append((frame.offset, frame.end))
            if self._newest is not None:
                self._newest.forget_rounds()

    def _job(self, frame: Frame) -> None:
        epoch = Epoch(unpack_job(frame.payload), frame.offset)
        self.batches.begin_epoch(epoch.number)
        self.epochs.append(epoch)
        self._newest = epoch
        self._current = self._current or epoch
        self.updated = max(self.updated, epoch.job.at)

    def _documents(self, frame: Frame) -> None:
        self._working().add_documents(*packed_documents(frame.payload), frame.offset)

    def _chunks(self, frame: Frame) -> None:
        self._owner(full_key(frame.payload)[0]).add_segment(chunks_segment(frame.payload, frame.offset))

    def _round(self, frame: Frame) -> None:
        record, epoch = unpack_round(frame.payload), self._working()
        if self._gap_is_last:
            self._gap_is_last, self.repaired_by = False, record.at
        epoch.start_round(record)
        self.updated = max(self.updated, record.at)
        if record.round == 0:
            if not record.is_open:
                self._current = epoch
            if not record.closes:
                self.round_offset = frame.offset

    def _result(self, frame: Frame) -> bool:
        payload = frame[2]
        number, round_, chunk_id, model_index = full_key(payload)
        epoch = self._newest
        # One for each chunk: the common case makes few calls, here and where the index is looked up.
        if epoch is None or number != epoch.number:
            epoch = self._owner(number)
        readable = RESULT_SHAPES.match(payload) or self._is_readable(frame)
        if epoch.assigned and readable:
            epoch.assigned.pop((round_, chunk_id), None)
        index = epoch.indexes.get(round_) or epoch.index(round_)
        return index.put(frame, chunk_id, model_index, readable=readable)

    def _outcome(self, frame: Frame) -> bool:
        """Take in a FAILURE or CARRY."""
        number, round_, chunk_id, model_index = full_key(frame.payload)
        epoch = self._owner(number)
        if frame.kind == codec.CARRY and self._lost and self._is_lost(unpack_carry(frame.payload).offset):
            return False
        readable = self._is_readable(frame)
        if readable and frame.kind == codec.CARRY:
            epoch.assigned.pop((round_, chunk_id), None)
        return epoch.index(round_).put(frame, chunk_id, model_index, readable=readable)

    def _is_readable(self, frame: Frame) -> bool:
        """Whether an outcome can be unpacked."""
        # One that cannot counts as a failure of its own chunk, which the next run takes up again, and of nothing else.
        if frame.kind == codec.CARRY:
            return unpack_carry(frame.payload).offset not in self._unreadable
        try:
            check_outcome(frame.kind, frame.payload)
        except LogError as error:
            self._unreadable.add(frame.offset)
            self.problems.append((frame.offset, str(error)))
            return False
        return True

    def _call(self, frame: Frame) -> None:
        self.call_totals.call(frame)
        self.batches.call(frame)

    def _intent(self, frame: Frame) -> None:
        self.call_totals.intent(frame)
        self._assign(*key(frame.payload))

    def _request(self, frame: Frame) -> None:
        self.batches.request(frame)
        self._assign(*key(frame.payload))

    def _assign(self, round_: int, chunk_id: int, model_index: int) -> None:
        """Note the model of a task whose call was begun."""
        # With all models there is nothing to keep in round 0: each has tasks of its own.
        if model_index >= 0 and self._newest is not None and (round_ or self._newest.models == 1):
            self._newest.assigned[round_, chunk_id] = model_index

    def _attempt(self, frame: Frame) -> None:
        record = unpack_attempt(frame.payload)
        task = record.round, record.chunk_id, record.model_index
        self._owner(full_key(frame.payload)[0]).attempts.setdefault(task, []).append(record.kind)

    def _close(self, frame: Frame) -> None:
        self.closed = unpack_close(frame.payload)
        self.batches.close(frame)
        self.updated = max(self.updated, self.closed.at)

    def _is_lost(self, offset: int) -> bool:
        return any(start <= offset < end for start, end in self._lost)

    def _owner(self, number: int) -> Epoch:
        """The newest epoch. LogError: the record is of another, whose JOB was lost."""
        epoch = self._newest or self._working()
        if number != epoch.number:
            raise LogError("a record of an epoch whose JOB is lost", reason="damaged")
        return epoch

    def _working(self) -> Epoch:
        if self._newest is None:
            raise LogError("a record before the first JOB", reason="damaged")
        return self._newest
