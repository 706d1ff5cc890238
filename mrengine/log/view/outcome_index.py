"""Where the outcome of each task of a round stands in the log."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from mrengine.errors import LogError
from mrengine.log.format.codec import CARRY, FAILURE, HEADER_BYTES, RESULT, Frame
from mrengine.log.format.packing import bad_record
from mrengine.log.format.task_records import unpack_carry

__all__ = ["OutcomeIndex"]

# A slot is eight bytes: the offset of its outcome, and a bit for a FAILURE; 0: there is none yet. So a million outcomes
# take 8 MB, in a process whose memory each forked worker copies.
_FAILED = 1 << 63
_OFFSET = _FAILED - 1


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
