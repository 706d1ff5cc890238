"""A job that is ready for its first round, and what is known of one from its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mrengine.errors import JobNotFound, SourceError
from mrengine.host.document_rows import DocumentRows, digest_of
from mrengine.host.intake import Intake
from mrengine.host.row_stream import RowStream
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.chunk_facts import cut_short_of
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.lost_documents import restated_documents
from mrengine.sources.spool import Spool, Text

__all__ = [
    "LOST",
    "Prepared",
    "cut_short_before",
    "identity",
    "is_begun",
    "known_documents",
    "no_text",
    "says_otherwise",
    "without_text",
]

LOST = DocumentRow("", b"", 0, 0, 0)  # stands for a document of which the log has lost all


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is ready. ``view``: its log as far as it was read; who has this closes it. ``durable``: where this run
    begins in the log.

    ``finished``: every chunk has its result, and no session was begun. ``damage``: ranges of the log that are lost.
    ``notes``: other warnings for the caller. ``fresh``: the documents as they were read, of a finished job: its
    spool may be gone. Whoever has it discards it. ``unread``: why each source that was left out could not be read.
    ``blank()``: so many chunks, of those that were cut, have nothing but blanks, and are not sent. ``rows``: the rest
    of the chunk table, where it is cut while the workers are at its first rows. ``intake``: what reads the documents
    meanwhile, where they were not all read before; ``documents`` then are those of the log, whenever one looks.
    """

    documents: Sequence[DocumentRow]
    spool: Path
    view: ResumeEngine
    durable: int
    finished: bool = False
    damage: Sequence[tuple[int, int]] = ()
    notes: Sequence[str] = ()
    fresh: Spool | None = None
    blank: Callable[[], int] = lambda: 0
    unread: Sequence[SourceError] = ()
    rows: RowStream | None = None
    intake: Intake | None = None


def known_documents(stored: ResumeEngine, text: Text) -> list[DocumentRow]:
    """All documents of a job, by index: as the log has them, or restates them elsewhere; else ``LOST``."""
    assert stored.epoch is not None
    names, restated = stored.documents(), restated_documents(stored, text)
    return [names.get(index) or restated.get(index, LOST) for index in range(stored.epoch.document_count)]


def says_otherwise(stored: ResumeEngine, documents: Sequence[DocumentRow]) -> bool:
    """Whether a log names documents, none of them lost, that are not those with which its job began."""
    assert stored.epoch is not None
    was_mended = stored.state.repaired or bool(
        stored.state.problems
    )  # by what the outcomes name: with less than all facts
    return not was_mended and digest_of(documents) != stored.epoch.job.documents


def without_text(documents: Sequence[DocumentRow]) -> Sequence[str]:
    """The ids of documents without text."""
    if isinstance(documents, DocumentRows):
        return documents.textless
    return [row.id for row in documents if not row.n_bytes and row is not LOST]


def no_text(job_id: str, why: str = "") -> JobNotFound:
    """The error of a job that needs its documents, and has kept none."""
    cause = why or "keep='results'"
    return JobNotFound(f"job {job_id} keeps no document text ({cause}): run it with its documents again", job_id=job_id)


def is_begun(folder: Path) -> bool:
    """Whether a job has its chunks in its log."""
    with suppress(JobNotFound), ResumeEngine(folder) as stored:
        return stored.epoch is not None and stored.epoch.complete
    return False


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one of the same name; None: there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def cut_short_before(folder: Path) -> Sequence[str]:
    """Ids of documents that an earlier run of a job has kept, though they broke off."""
    with suppress(JobNotFound), ResumeEngine(folder) as stored:
        return cut_short_of(stored.epoch)
    return ()
