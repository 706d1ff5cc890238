"""The view of a job's log for readers: replayed once, then continued, without a lock or any change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from mrengine.log.file.reader import LogReader, open_log
from mrengine.log.file.recovery import Recovery
from mrengine.log.file.row_reader import ChunkTable, DocumentNames
from mrengine.log.format.codec import HEADER_BYTES, Frame
from mrengine.log.view.outcome_index import OutcomeIndex
from mrengine.log.view.replay import Epoch, Replay
from mrengine.log.view.results import Results
from mrengine.records import ChunkFailure

__all__ = ["ResumeEngine"]


class ResumeEngine:
    """A job as its log describes it. ``recovery`` has damage and torn tail, ``state`` the rest.

    A view is continued in two ways: ``refresh()`` takes whatever has been added, ``catch_up()`` and ``follow()`` stop
    at an offset that the log's writer has announced as durable.
    """

    # A resume once replayed the log four times; docs/decisions/one-view-of-the-log.md says how one replay is enough.

    reader: LogReader
    state: Replay
    recovery: Recovery

    def __init__(self, job_folder: str | os.PathLike[str]) -> None:
        """JobNotFound: the folder holds no log. LogError: the log cannot be used."""
        self.folder = job_folder
        self._open()
        try:
            self._walk()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.reader = open_log(self.folder)
        self.state = Replay()
        self.recovery = Recovery(HEADER_BYTES)
        self._durable = HEADER_BYTES  # what a writer has announced
        # Start, stop and digest of the bytes that a writer may still cut back.
        self._tail = HEADER_BYTES, HEADER_BYTES, self._digest(HEADER_BYTES, HEADER_BYTES)

    def _reopen(self) -> None:
        before = self.reader
        self._open()  # first: if it raises, the view is as it was
        before.close()

    @property
    def position(self) -> int:
        """The offset up to which the log was read."""
        return self.state.end

    def refresh(self) -> Recovery:
        """Read what was added, and return the log's present end and damage. JobNotFound: it was purged."""
        if not self._stands():
            self._reopen()
        self._walk()
        return self.recovery

    def _walk(self) -> None:
        # The first walk starts without an earlier one: only then is a damaged header reported as damage.
        after = None
        if self.position > HEADER_BYTES:
            watermark = max(self.recovery.watermark, self._durable)
            after = replace(self.recovery, end=self.position, watermark=watermark)
        self.recovery = self.reader.walk(self.state.add_all, after=after)
        start, stop = min(self.recovery.watermark, self.position), self.position
        self._tail = start, stop, self._digest(start, stop)

    def catch_up(self, durable: int) -> None:
        """Read up to ``durable``, which the writer that has just opened the log announced.

        LogError: the log cannot be read. JobNotFound: it was purged.
        """
        # That writer may have repaired damage, cut the log back, or begun another log: then everything is read again.
        if self.position > durable or not self._stands():
            self._reopen()
        self._durable = max(self._durable, durable)
        if durable > self.position:
            self.state.add_all(self.reader.frames(self.position, durable))

    def follow(self, durable: int) -> Iterator[tuple[Frame, bool]]:
        """(frame, whether it is an outcome that counts) for each frame up to ``durable``; nothing beyond is read."""
        self._durable = max(self._durable, durable)
        if durable > self.position:
            for frame in self.reader.frames(self.position, durable):
                yield frame, self.state.add(frame)

    def _stands(self) -> bool:
        """Whether the log still begins with the bytes that were read."""
        # A writer whose disk fails cuts the log back to what is durable, and another one goes on from there: the bytes
        # beyond the newest watermark may be other ones by now, and neither size nor newest frame would tell. Damage
        # that was seen is repaired by the next writer, and then reads differently.
        if self.recovery.damage or not self._is_named():
            return False
        start, stop, digest = self._tail
        return self._digest(start, stop) == digest

    def _digest(self, start: int, stop: int) -> bytes:
        found = blake2b(digest_size=16)
        for data in self.reader.raw(start, stop):
            found.update(data)
        return found.digest()

    def _is_named(self) -> bool:
        with suppress(OSError):
            named = os.stat(os.path.join(os.fspath(self.folder), "log"), follow_symlinks=False)
            return os.path.samestat(named, os.fstat(self.reader.fd))
        return False

    @property
    def epoch(self) -> Epoch | None:
        """The epoch that counts; None: the job was interrupted before its first record."""
        return self.state.epoch

    @property
    def has_begun(self) -> bool:
        """Whether any chunk of the map round has an outcome, or any call was made."""
        index = self.index(0)
        return bool(index.done or index.failed or self.state.call_totals.spent())

    @property
    def complete(self) -> bool:
        """Whether every task of every round has its result."""
        # Not whether there is a CLOSE: a job that was killed behind its last result is done, too.
        epoch = self.epoch
        if epoch is None or epoch is not self.state.newest or not epoch.complete:
            return False
        return all(epoch.index(round_).done == epoch.index(round_).total for round_ in epoch.rounds)

    def index(self, round_: int = 0) -> OutcomeIndex:
        """The outcomes of a round; empty if there are none."""
        return self.epoch.index(round_) if self.epoch else OutcomeIndex(round_, 0)

    def pending(self, round_: int = 0) -> Iterator[tuple[int, int]]:
        """(chunk_id, model_index) of every key without a result, failed ones too; -1 where models share a key."""
        return self.index(round_).pending()

    def get_pending_chunks(self, round_: int = 0) -> list[int]:
        """Ids of the chunks that a resume would run: those without a result, failed ones included."""
        return list(dict.fromkeys(chunk_id for chunk_id, _ in self.pending(round_)))

    def results(self, round_: int = 0, *, resumed_before: int = 0, result_type: Any = None) -> Results:
        """The results of a round, read lazily through a descriptor of their own; ``.failures`` has the rest."""
        index, before = self.index(round_), resumed_before
        return Results(self.reader, index, self.epoch, resumed_before=before, result_type=result_type)

    def failures(self, round_: int = 0) -> Sequence[ChunkFailure]:
        """The failures of a round, read lazily."""
        return self.results(round_).failures

    def chunk_table(self, round_: int = 0) -> ChunkTable:
        """The rows of the chunk table; valid while this engine is open."""
        segments = self.epoch.segments.get(round_, []) if self.epoch else []
        return ChunkTable(self.reader.fd, segments)

    def documents(self) -> DocumentNames:
        """The documents by index; valid while this engine is open."""
        return DocumentNames(self.reader, self.epoch.documents if self.epoch else [])

    def close(self) -> None:
        """Close the descriptor; results already returned have their own."""
        self.reader.close()

    def __enter__(self) -> ResumeEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
