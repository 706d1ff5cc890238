"""What preparation hands to a run, and what a job's folder tells about it."""

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
from mrengine.sources.spool import Spool, SpoolFile

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
    """A job that is ready for its first round; its owner closes ``view`` and discards ``fresh`` and ``intake``.

    ``view``: the log as far as it was read. ``durable``: where this run begins in the log. ``finished``: every chunk
    has its result, and no driver was begun. ``damage``: ranges of the log that are lost. ``notes``: other warnings for
    the caller. ``fresh``: of a finished job, whose spool may be gone, the documents as they were read now.
    ``blank()``: how many of the chunks cut so far have nothing but blanks, and are not sent. ``unread``: the errors of
    sources that were left out. ``rows``: the rest of the chunk table, if it is cut during the round. ``intake``: reads
    the documents during the round, if they were not all read before; ``documents`` then grows.
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


def known_documents(stored: ResumeEngine, text: SpoolFile) -> list[DocumentRow]:
    """All documents of a job: from the DOCUMENTS records, or from what other records say of them, else ``LOST``."""
    assert stored.epoch is not None
    names, restated = stored.documents(), restated_documents(stored, text)
    return [names.get(index) or restated.get(index, LOST) for index in range(stored.epoch.document_count)]


def says_otherwise(stored: ResumeEngine, documents: Sequence[DocumentRow]) -> bool:
    """Whether the documents of a log, none of which is lost, are not those of its JOB record."""
    assert stored.epoch is not None
    # Rows that were restored from outcomes lack some facts: the digest over all of them says nothing then.
    was_mended = stored.state.repaired or bool(stored.state.problems)
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
    """Whether the log of a job has its whole chunk table."""
    with suppress(JobNotFound), ResumeEngine(folder) as stored:
        return stored.epoch is not None and stored.epoch.complete
    return False


def identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode, which tell a folder from a later one of the same name; None: there is none."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def cut_short_before(folder: Path) -> Sequence[str]:
    """The ids of documents that broke off while they were read, and that an earlier run has kept."""
    with suppress(JobNotFound), ResumeEngine(folder) as stored:
        return cut_short_of(stored.epoch)
    return ()
