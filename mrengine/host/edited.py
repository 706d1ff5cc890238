"""Has edited documents cut where their earlier versions were, so that unchanged chunks are found in the log."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mrengine.chunking.chunker import Chunker
from mrengine.chunking.guide import Guide, OldChunk, guide
from mrengine.log.format.job_records import DocumentRow, JobRecord
from mrengine.log.view.job_view import ResumeEngine
from mrengine.records import Chunk
from mrengine.sources.spool import spool_name

__all__ = ["guided"]


def guided(
    chunker: Chunker, stored: ResumeEngine | None, job: JobRecord, documents: Sequence[DocumentRow], spool: Path
) -> Callable[..., Iterator[Chunk]]:
    """``chunker.chunk``, guided for each document of which the log has another version: by the chunk table of that
    version, if it was cut with the same settings and its text is still there.
    """
    old = _versions(stored, job, documents)
    new = {row.id: row for row in documents if row.id in old}
    if stored is None or stored.epoch is None or not new:
        return chunker.chunk
    place = Path(stored.folder) / spool_name(stored.epoch.spool)
    if not place.is_file():
        return chunker.chunk
    rows = _rows(stored, {index for index, _ in old.values()})

    def chunk(document: Any, *, document_id: str, first_id: int) -> Iterator[Chunk]:
        found: Guide | None = None
        if document_id in new:
            index, before = old[document_id]
            found = _guide(place, before, spool, new[document_id], rows.get(index, []))
        return chunker.chunk(document, document_id=document_id, first_id=first_id, guide=found)

    return chunk


def _versions(
    stored: ResumeEngine | None, job: JobRecord, documents: Sequence[DocumentRow]
) -> dict[str, tuple[int, DocumentRow]]:
    """The versions that the log has of edited documents: by id, the index in the log and the row."""
    if stored is None or stored.epoch is None or stored.epoch.job.chunking != job.chunking:  # other cuts are wanted
        return {}
    if stored.epoch.job.documents == job.documents:  # none was edited: a record that says so is damaged
        return {}
    now = {row.id: row.digest for row in documents}
    names = stored.documents()
    known = ((index, names.get(index)) for index in range(stored.epoch.document_count))
    return {
        row.id: (index, row) for index, row in known if row is not None and row.digest != now.get(row.id, row.digest)
    }


def _rows(stored: ResumeEngine, wanted: set[int]) -> dict[int, list[Any]]:
    rows: dict[int, list[Any]] = {}
    for row in stored.chunk_table():
        if row.document in wanted:
            rows.setdefault(row.document, []).append(row)
    return rows


def _guide(old_spool: Path, old: DocumentRow, new_spool: Path, new: DocumentRow, rows: Sequence[Any]) -> Guide | None:
    """None: what is there is not what the log says, or there is nothing to align."""
    if not rows or not old.n_bytes or not new.n_bytes:
        return None
    with ExitStack() as stack:
        try:
            before = _mapped(stack, old_spool, old)
            after = _mapped(stack, new_spool, new)
        except (OSError, ValueError):
            return None
        chunks = []
        for row in rows:
            first, end = row.spool_from - old.spool_offset, row.spool_to - old.spool_offset
            # The overlap is counted in characters, and belongs to the chunk before: its own bytes begin behind it.
            overlap = bytes(before[first:end]).decode("utf-8", "surrogatepass")[: row.overlap]
            own = first + len(overlap.encode("utf-8", "surrogatepass"))
            chunks.append(OldChunk(first, own, end, row.digest))
        try:  # mmap refuses to close while a view of it is open: release both before the stack closes them
            return guide(before, after, chunks)
        finally:
            before.release()
            after.release()


def _mapped(stack: ExitStack, spool: Path, document: DocumentRow) -> memoryview:
    """The bytes of a document in a spool. ValueError: it has fewer."""
    file = stack.enter_context(spool.open("rb"))
    if os.fstat(file.fileno()).st_size < document.spool_offset + document.n_bytes:
        raise ValueError("the spool is cut short")
    whole = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    view = stack.enter_context(memoryview(whole))
    return view[document.spool_offset : document.spool_offset + document.n_bytes]
