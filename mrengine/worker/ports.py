"""What a worker needs from outside to run tasks: chunk texts, stored answers, a budget, and a journal of its answers.

Where the job's folder can be seen, ``local_ports`` opens all of them there. A backend whose workers sit elsewhere
brings its own, and nothing else in this room changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mrengine.budget.pending_requests import BudgetPort
from mrengine.engine.protocol import JobFiles, WorkerConfig
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.reader import LogReader
from mrengine.log.file.worker_journal import WorkerJournal
from mrengine.log.format.task_records import CallRecord
from mrengine.log.shared_answers import SharedAnswers
from mrengine.worker.chunk_reader import ChunkReader, TrackedChunk
from mrengine.worker.stored_answers import StoredCalls

__all__ = ["AnswerJournal", "BudgetPort", "ChunkTexts", "StoredAnswers", "WorkerPorts", "local_ports", "stored_calls"]


class ChunkTexts(Protocol):
    """Chunks by id. Safe from any thread."""

    def document_of(self, chunk: int) -> str:
        """The id of a chunk's document; "" where the log has lost it."""

    def read(self, chunk: int) -> TrackedChunk:
        """A chunk, whose text is read on first use. LogError: its row is lost or damaged."""

    def close(self) -> None:
        """Give back what is open."""


class StoredAnswers(Protocol):
    """Answers that were paid for. Safe from any thread."""

    def turns(self, digest: bytes, *, chunk: int, attempt: int, owner: bytes = b"") -> Sequence[CallRecord]:
        """All answers to a call that a task may take, in the order in which they were given. With ``owner``, those that
        other jobs of this owner have left, too.
        """

    def share(self, call: CallRecord, payload: bytes, owner: bytes) -> None:
        """Leave an answer to other jobs. Never fails a task."""

    def close(self) -> None:
        """Give back what is open."""

    def earlier(self, digest: bytes, *, chunk: int, attempt: int) -> int | None:
        """In batch mode, how many of the answers are older than the current logical run; None: all."""

    def text(self, offset: int) -> str:
        """In batch mode, the text of the CALL at an offset of the log. LogError: it cannot be read."""


class AnswerJournal(Protocol):
    """Keeps the latest answers in a place that survives the process that owns the log."""

    def keep(self, payload: bytes) -> None:
        """Keep a CALL record, before it is sent. Never fails a task."""

    def close(self) -> None:
        """Give back what is open; what was kept stays."""


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """All ports of a worker; ``TaskRunner`` closes them. ``budget`` None: calls are neither limited nor counted."""

    chunks: ChunkTexts
    stored: StoredAnswers
    budget: BudgetPort | None
    journal: AnswerJournal

    def close(self) -> None:
        """Close all of them."""
        self.journal.close()
        if self.budget is not None:
            self.budget.close()
        self.stored.close()
        self.chunks.close()  # last: stored answers are read through its reader of the log


def stored_calls(reader: LogReader, config: WorkerConfig, files: JobFiles, answers: CallIndex | None) -> StoredCalls:
    """The stored answers, for a process that can read the log."""
    batch = config.batch or {}
    return StoredCalls(
        reader,
        answers,
        run_began=files.run_began,
        shared=None if config.answers is None else SharedAnswers(*config.answers),
        any_chunk=config.single_flight,
        batches_since=batch.get("since"),
        began=batch.get("began"),
    )


def local_ports(
    config: WorkerConfig,
    files: JobFiles,
    worker: int,
    slots: int,
    *,
    answers: CallIndex | None,
    budget: BudgetPort | None,
) -> WorkerPorts:
    """The ports of a worker that sees the job's folder. ``answers``: shared with the process that owns the log."""
    chunks = ChunkReader(files.folder, files.spool, files.table, files.documents, check=files.check_texts)
    stored = stored_calls(chunks.reader, config, files, answers)
    return WorkerPorts(chunks, stored, budget, WorkerJournal(files.folder, config.job_id, worker, slots))
