"""The outcomes of a round: an index of where each stands in the log, and lazy sequences of results and failures."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from mrengine.errors import LogError
from mrengine.html_views import rows_html
from mrengine.log.file.reader import LogReader
from mrengine.log.format.chunk_rows import ChunkTable, DocumentNames, document_of
from mrengine.log.format.codec import CARRY, FAILURE, HEADER_BYTES, RESULT, Frame
from mrengine.log.format.instances import instance_of
from mrengine.log.format.packing import bad_record
from mrengine.log.format.task_records import (
    FROM_INSTANCE,
    FailureRecord,
    ResultRecord,
    unpack_carry,
    unpack_failure,
    unpack_result,
)
from mrengine.log.view.chunk_facts import ChunkFacts, Inputs
from mrengine.records import ChunkFailure, ChunkResult, Usage

__all__ = ["UNREADABLE", "Failures", "OutcomeIndex", "Results", "failure_of", "result_of"]

UNREADABLE = "the record of its outcome cannot be read: the next run of the job runs it again"

# A slot is eight bytes: the offset of its outcome, and a bit for a FAILURE; 0: there is none yet. So a million outcomes
# take 8 MB, in a process whose memory each forked worker copies.
_FAILED = 1 << 63
_OFFSET = _FAILED - 1

_T = TypeVar("_T")
_NONE: Mapping[str, Any] = {}


class OutcomeIndex:
    """The outcomes of one round. A *slot* is ``chunk_id`` or, with all models, ``chunk_id * models + model_index``.

    ``done`` and ``failed`` count slots; ``total`` is their number.
    """

    def __init__(self, round_: int, chunks: int, models: int = 1) -> None:
        """``models``: their number with ``all_models``, else 1."""
        self.round = round_
        self.models = models
        self.done = self.failed = 0
        self._slots = array("Q")
        self.grow(chunks)

    @property
    def total(self) -> int:
        """The number of slots: of outcomes, when the round is done."""
        return len(self._slots)

    @property
    def chunks(self) -> int:
        """The number of chunks in the round."""
        return len(self._slots) // self.models

    def grow(self, chunks: int) -> None:
        """Make room for this many chunks; present outcomes stay."""
        missing = chunks * self.models - len(self._slots)
        if missing > 0:
            self._slots.frombytes(bytes(8 * missing))

    def slot(self, chunk_id: int, model_index: int) -> int:
        """The slot of a task. LogError: the round has no such task."""
        # With one model the index is not part of the key: a balanced or fallback model may be any of the job's.
        slot = chunk_id if self.models == 1 else chunk_id * self.models + model_index
        if slot >= len(self._slots) or (self.models > 1 and not 0 <= model_index < self.models):
            raise LogError(f"an outcome of chunk {chunk_id}, which the round has not", reason="damaged")
        return slot

    def put(self, frame: Frame, chunk_id: int, model_index: int, *, readable: bool = True) -> bool:
        """Add a RESULT, FAILURE or CARRY of this round. True: it counts (a second RESULT of a task does not).

        An outcome that is not ``readable`` is a failure of kind "damaged". LogError: the round has no such task.
        """
        # There is one for each chunk: the common cases, one model and a first RESULT, come first and make no call.
        slot, slots = chunk_id, self._slots
        if self.models > 1 or slot >= len(slots):
            slot = self.slot(chunk_id, model_index)
        known, kind = slots[slot], frame.kind
        if known and not known & _FAILED:  # the first RESULT was announced, and stays
            return False
        if kind == RESULT and readable and not known:
            slots[slot] = frame.offset
            self.done += 1
            return True
        failed = kind == FAILURE or not readable
        slots[slot] = frame.offset | _FAILED if failed else _result_offset(frame)
        self.failed += failed - bool(known)
        self.done += not failed
        return True

    def put_first(self, chunk_id: int, offset: int) -> bool:
        """Add a RESULT if it is the first outcome of a chunk, and the chunk is a slot; whether it was added."""
        if chunk_id >= len(self._slots) or self._slots[chunk_id] or self.models > 1:
            return False
        self._slots[chunk_id] = offset
        self.done += 1
        return True

    def result(self, slot: int) -> int:
        """Offset of the RESULT of a slot; 0: none."""
        value = self._slots[slot]
        return 0 if value & _FAILED else value

    def failure(self, slot: int) -> int:
        """Offset of the FAILURE of a slot that has no RESULT; 0: none."""
        value = self._slots[slot]
        return value & _OFFSET if value & _FAILED else 0

    def outcome(self, chunk_id: int, model_index: int) -> int:
        """Offset of a task's outcome; 0: none, or no such task."""
        slot = chunk_id if self.models == 1 else chunk_id * self.models + model_index
        return self._slots[slot] & _OFFSET if 0 <= slot < len(self._slots) else 0

    def pending(self) -> Iterator[tuple[int, int]]:
        """(chunk_id, model_index) of every key without a RESULT, failed ones too; -1 where models share a key."""
        models = self.models
        for slot, value in enumerate(self._slots):
            if not value or value & _FAILED:
                yield (slot, -1) if models == 1 else divmod(slot, models)

    def results(self) -> array[int]:
        """Offsets of all RESULTs, in the order of slots."""
        return array("Q", (value for value in self._slots if value and not value & _FAILED))

    def result_slots(self) -> array[int]:
        """Slots that have a RESULT, in order."""
        return array("Q", (slot for slot, value in enumerate(self._slots) if value and not value & _FAILED))

    def failure_slots(self) -> array[int]:
        """Slots that have a FAILURE and no RESULT, in order."""
        return array("Q", (slot for slot, value in enumerate(self._slots) if value & _FAILED))


def _result_offset(frame: Frame) -> int:
    if frame.kind == RESULT:
        return frame.offset
    if frame.kind != CARRY:
        raise ValueError(f"kind {frame.kind} is no outcome")
    offset = unpack_carry(frame.payload).offset
    if not HEADER_BYTES <= offset < frame.offset:
        raise bad_record("CARRY")
    return offset


class _Outcomes(Sequence[_T], Generic[_T]):
    """Outcomes by position. In memory are two numbers of each; the rest is read from the log on access."""

    def __init__(self, reader: LogReader, slots: Sequence[int], offsets: array[int], models: int) -> None:
        self._reader = reader
        self._slots = slots
        self._offsets = offsets
        self._models = models

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | list[_T]:
        """Read one outcome. LogError: the record cannot be read any more."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return self._read(self._slots[index] // self._models, self._offsets[index])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}>"

    @abstractmethod
    def _read(self, chunk_id: int, offset: int) -> _T: ...

    def _payload(self, offset: int, kind: int) -> bytes:
        frame = self._reader.frame(offset)
        if frame.kind != kind:
            ranges = [(offset, frame.end)]
            raise LogError(f"the record at byte {offset} is of another kind", reason="damaged", ranges=ranges)
        return frame.payload


class Failures(_Outcomes[ChunkFailure]):
    """The failures of a round, in chunk order; one whose record cannot be read has the kind "damaged"."""

    def __init__(self, reader: LogReader, index: OutcomeIndex, epoch: Inputs | None) -> None:
        slots = index.failure_slots()
        super().__init__(reader, slots, array("Q", map(index.failure, slots)), index.models)
        self._table = ChunkTable(reader.fd, epoch.segments.get(index.round, []) if epoch else [])
        self._names = DocumentNames(reader, epoch.documents if epoch else [])
        self._facts = ChunkFacts(reader, epoch, index.round)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        columns = ("chunk_id", "document_id", "model", "kind", "message", "attempts")
        return rows_html(self, columns, caption=f"{len(self):,} failures")

    def _read(self, chunk_id: int, offset: int) -> ChunkFailure:
        frame = self._reader.frame(offset)
        if frame.kind == FAILURE:
            with suppress(LogError):
                record = replace(unpack_failure(frame.payload), chunk_id=chunk_id)
                return failure_of(record, self._facts.of(chunk_id))
        document = document_of(self._table, self._names, chunk_id)
        return ChunkFailure(chunk_id, document, None, "damaged", UNREADABLE, **self._facts.of(chunk_id))


class Results(_Outcomes[ChunkResult]):
    """The results of a round, in chunk order (with all models: in model order within a chunk).

    A snapshot of ``index``, with a descriptor of its own: it stays readable while the log grows and after the job
    folder is deleted. 8 bytes a result, 16 where some are missing. ``failures``: the rest.
    """

    def __init__(
        self,
        reader: LogReader,
        index: OutcomeIndex,
        epoch: Inputs | None = None,
        *,
        resumed_before: int = 0,
        result_type: Any = None,
    ) -> None:
        """``epoch``: for the facts of chunks, and the documents of damaged outcomes. ``resumed_before``: an offset;
        results before it are ``resumed``. ``result_type``: what each is rebuilt as; reading one that does not fit
        raises InvalidResult.
        """
        own = reader.duplicate()  # stays readable after the caller has closed its reader, and the folder is gone
        # Where all are done, slots are positions: no second number for each is kept.
        complete = index.done == index.total
        slots: Sequence[int] = range(index.total) if complete else index.result_slots()
        super().__init__(own, slots, index.results(), index.models)
        self._resumed_before, self._result_type = resumed_before, result_type
        self._facts = ChunkFacts(own, epoch, index.round)
        self.failures: Sequence[ChunkFailure] = Failures(own, index, epoch)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        columns = ("chunk_id", "document_id", "model", "result", "cost_usd", "duration_ms")
        return rows_html(self, columns, caption=f"{len(self):,} results")

    def _read(self, chunk_id: int, offset: int) -> ChunkResult:
        # The id is that of the slot: a RESULT that was carried over has the one of its own epoch.
        record = unpack_result(self._payload(offset, RESULT))._replace(chunk_id=chunk_id)
        resumed = offset < self._resumed_before
        return result_of(record, self._result_type, resumed=resumed, facts=self._facts.of(chunk_id))


def result_of(r: ResultRecord, result_type: Any, *, resumed: bool, facts: Mapping[str, Any] = _NONE) -> ChunkResult:
    """A record as users see it; ``facts``: of its document. InvalidResult: it does not match ``result_type``."""
    result = r.result
    if result_type is not None:
        made = bool(r.flags & FROM_INSTANCE)
        result = instance_of(result_type, result, made=made, path=f"chunk {r.chunk_id}: result")
    usage = r.usage or Usage()
    about = (r.chunk_id, r.document_id, r.model, r.worker_id, result, usage, r.cost_usd, r.duration_ms, r.attempt)
    return ChunkResult(*about, resumed, **facts)


def failure_of(r: FailureRecord, facts: Mapping[str, Any] = _NONE) -> ChunkFailure:
    """A record as users see it; ``facts``: of its document."""
    about = (r.chunk_id, r.document_id, r.model, r.kind, r.message, r.attempts, r.traceback, r.answers)
    return ChunkFailure(*about, **facts)
