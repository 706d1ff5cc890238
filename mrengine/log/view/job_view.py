"""A job folder as seen from outside: its replayed log, read without a lock and without changing a byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from mrengine.log.file.reader import open_log
from mrengine.log.file.recovery import Recovery
from mrengine.log.format.chunk_rows import ChunkTable, DocumentNames
from mrengine.log.format.codec import HEADER_BYTES
from mrengine.log.view.outcome_index import OutcomeIndex
from mrengine.log.view.replay import Epoch, Replay
from mrengine.log.view.results import Results
from mrengine.records import ChunkFailure

__all__ = ["ResumeEngine"]


class ResumeEngine:
    """The current state of a job by its log. ``recovery``: damage and torn tail; ``state``: the rest."""

    def __init__(self, job_folder: str | os.PathLike[str]) -> None:
        """JobNotFound: the folder holds no log. LogError: the log cannot be used."""
        self.reader = open_log(job_folder)
        self.state = Replay()
        self.recovery = Recovery(HEADER_BYTES)
        self.refresh()

    def refresh(self) -> Recovery:
        """Take in what was added since, and update the log's end and damage."""
        self.recovery = self.reader.walk(self.state.add, after=self.recovery)
        return self.recovery

    @property
    def epoch(self) -> Epoch | None:
        """The epoch that counts; None: the job was interrupted before its first record."""
        return self.state.epoch

    def index(self, round_: int = 0) -> OutcomeIndex:
        """The outcomes of a round; empty if there are none."""
        return self.epoch.index(round_) if self.epoch else OutcomeIndex(round_, 0)

    def pending(self, round_: int = 0) -> Iterator[tuple[int, int]]:
        """(chunk_id, model_index) of every key without a result, failed ones too; -1 where models share a key."""
        return self.index(round_).pending()

    def get_pending_chunks(self, round_: int = 0) -> list[int]:
        """Ids of the chunks that a resume would run: those that have no result, or failed."""
        return list(dict.fromkeys(chunk_id for chunk_id, _ in self.pending(round_)))

    def results(self, round_: int = 0, *, resumed_before: int = 0, result_type: Any = None) -> Results:
        """The results of a round, lazily, with a descriptor of their own; ``.failures`` has the rest."""
        return Results(self.reader, self.index(round_), resumed_before=resumed_before, result_type=result_type)

    def failures(self, round_: int = 0) -> Sequence[ChunkFailure]:
        """The failures of a round, lazily."""
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

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
