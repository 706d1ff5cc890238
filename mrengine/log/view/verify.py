"""Checks a whole log: every frame by its CRC, every record by unpacking it and by what came before it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mrengine.errors import LogError
from mrengine.log.file.reader import open_log
from mrengine.log.file.recovery import drain
from mrengine.log.file.repair import REPAIRED
from mrengine.log.format import chunk_rows, codec, job_records, task_records
from mrengine.log.format.batch_records import unpack_batch, unpack_request
from mrengine.log.format.codec import Frame
from mrengine.log.format.packing import HEAD_BYTES, key
from mrengine.log.view.replay import Replay

__all__ = ["UNPACKERS", "Verification", "verify"]

UNPACKERS: dict[int, Callable[[bytes], object]] = {
    codec.JOB: job_records.unpack_job,
    codec.DOCUMENTS: job_records.unpack_documents,
    codec.CHUNKS: chunk_rows.unpack_chunks,
    codec.ROUND: job_records.unpack_round,
    codec.INTENT: task_records.unpack_intent,
    codec.CALL: task_records.unpack_call,
    codec.RESULT: task_records.unpack_result,
    codec.FAILURE: task_records.unpack_failure,
    codec.ATTEMPT: task_records.unpack_attempt,
    codec.CARRY: task_records.unpack_carry,
    codec.CLOSE: job_records.unpack_close,
    codec.NOTE: job_records.unpack_note,
    codec.REQUEST: unpack_request,
    codec.BATCH: unpack_batch,
    codec.READ: job_records.unpack_read,
}
_OF_TASKS = frozenset({codec.INTENT, codec.CALL, codec.RESULT, codec.FAILURE, codec.ATTEMPT})


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check. ``records``: the number of each kind, by name. Ranges are byte offsets of the log.

    ``damage``: announced bytes that are lost; ``repaired``: ranges that an earlier opening found damaged, saved
    aside and filled, and unreadable records that a later run has replaced; ``problems``: (offset, why) of inconsistent
    records that no run has replaced; ``torn``: the number of bytes after the end, which were never announced.
    """

    bytes: int
    records: Mapping[str, int]
    damage: tuple[tuple[int, int], ...]
    repaired: tuple[tuple[int, int], ...]
    problems: tuple[tuple[int, str], ...]
    torn: int

    @property
    def sound(self) -> bool:
        """Whether nothing announced is lost or unreadable."""
        # Repaired ranges count as sound: what they held has been run again, or will be.
        return not self.damage and not self.problems


def verify(job_folder: str | os.PathLike[str]) -> Verification:
    """Check a whole log without changing it. JobNotFound: there is none. LogError: its header is unusable."""
    state, counts = Replay(), Counter[str]()
    repaired: list[tuple[int, int]] = []
    problems: dict[int, str] = {}
    suspects: dict[int, Frame] = {}
    closed = 0

    def look(frame: Frame) -> None:
        nonlocal closed
        if frame.kind == codec.VOID:
            state.add(frame)
            if frame.payload[:1] == REPAIRED:
                repaired.append((frame.offset, frame.end))
            return
        counts[codec.KIND_NAMES[frame.kind] if frame.kind < len(codec.KIND_NAMES) else f"kind {frame.kind}"] += 1
        known = len(state.problems)
        # Unpacked here as well: a replay reads only the fixed parts of most records.
        try:
            UNPACKERS.get(frame.kind, len)(frame.payload)  # a kind that is not known is allowed, and skipped by readers
            closed = frame.offset if frame.kind == codec.CLOSE else closed
        except LogError as error:
            problems[frame.offset] = str(error)
        state.add(frame)
        problems.update(state.problems[known:])
        if frame.offset in problems:
            suspects[frame.offset] = frame

    with open_log(job_folder) as reader:
        found = reader.walk(lambda frames: drain(map(look, frames)))
    for offset, frame in suspects.items():  # at the end, as what replaces a record stands behind it
        if _is_replaced(frame, state, closed):
            del problems[offset]
            repaired.append((offset, frame.end))
    repaired.sort()
    return Verification(
        found.end, dict(counts), found.damage, tuple(repaired), tuple(sorted(problems.items())), found.torn
    )


def _is_replaced(frame: Frame, state: Replay, closed: int) -> bool:
    """Whether a later record says what this one should have said. ``closed``: offset of the last readable CLOSE."""
    epoch = state.epoch
    if epoch is None or not epoch.complete:
        return False
    # A RESULT replaces what was written of its task before, and the results of all tasks what names none; an unreadable
    # DOCUMENTS is replaced when no hole is left, and a CHUNKS when each round has all its rows; a later epoch, ROUND or
    # CLOSE replaces the records that describe the job.
    if frame.kind in _OF_TASKS and len(frame.payload) >= HEAD_BYTES:
        number, chunk, model = key(frame.payload)
        index = epoch.index(number)
        try:
            return index.result(index.slot(chunk, model)) > frame.offset
        except LogError:
            return all(epoch.index(at).done == epoch.index(at).total for at in epoch.rounds)
    if frame.kind == codec.DOCUMENTS:
        return not epoch.lost_documents()
    if frame.kind == codec.CHUNKS:
        last = max((segment.offset for rows in epoch.segments.values() for segment in rows), default=0)
        return frame.offset < last and all(epoch.chunks(at) == record.total for at, record in epoch.rounds.items())
    later = {codec.CLOSE: closed, codec.ROUND: state.round_offset}.get(frame.kind, 0)
    return frame.offset < max(epoch.offset, later)
