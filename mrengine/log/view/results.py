"""The results and failures of a round as sequences that read each from the log when it is looked at."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from mrengine.errors import LogError
from mrengine.html_views import rows_html
from mrengine.log.file.reader import LogReader
from mrengine.log.format.codec import FAILURE, RESULT
from mrengine.log.format.instances import instance_of
from mrengine.log.format.task_records import (
    FROM_INSTANCE,
    FailureRecord,
    ResultRecord,
    unpack_failure,
    unpack_result,
)
from mrengine.log.view.chunk_facts import ChunkFacts
from mrengine.log.view.outcome_index import OutcomeIndex
from mrengine.log.view.replay import Epoch
from mrengine.records import ChunkFailure, ChunkResult, Usage

__all__ = ["UNREADABLE", "Failures", "Results", "failure_of", "result_of"]

UNREADABLE = "the record of its outcome cannot be read: the next run of the job runs it again"

_T = TypeVar("_T")


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

    def __init__(self, reader: LogReader, index: OutcomeIndex, epoch: Epoch | None) -> None:
        slots = index.failure_slots()
        super().__init__(reader, slots, array("Q", map(index.failure, slots)), index.models)
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
        return ChunkFailure(
            chunk_id, self._facts.document_of(chunk_id), None, "damaged", UNREADABLE, **self._facts.of(chunk_id)
        )


class Results(_Outcomes[ChunkResult]):
    """The results of a round, in chunk order (with all models: in model order within a chunk).

    A snapshot of ``index``, with a descriptor of its own: it stays readable while the log grows and after the job
    folder is deleted. 8 bytes a result, 16 where some are missing. ``failures``: the rest.
    """

    def __init__(
        self,
        reader: LogReader,
        index: OutcomeIndex,
        epoch: Epoch | None,
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


def result_of(r: ResultRecord, result_type: Any, *, resumed: bool, facts: Mapping[str, Any]) -> ChunkResult:
    """A record as users see it; ``facts``: of its document. InvalidResult: it does not match ``result_type``."""
    result = r.result
    if result_type is not None:
        made = bool(r.flags & FROM_INSTANCE)
        result = instance_of(result_type, result, made=made, path=f"chunk {r.chunk_id}: result")
    usage = r.usage or Usage()
    about = (r.chunk_id, r.document_id, r.model, r.worker_id, result, usage, r.cost_usd, r.duration_ms, r.attempt)
    return ChunkResult(*about, resumed, **facts)


def failure_of(r: FailureRecord, facts: Mapping[str, Any]) -> ChunkFailure:
    """A record as users see it; ``facts``: of its document."""
    about = (r.chunk_id, r.document_id, r.model, r.kind, r.message, r.attempts, r.traceback, r.answers)
    return ChunkFailure(*about, **facts)
