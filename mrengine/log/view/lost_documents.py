"""Restores documents whose DOCUMENTS record was lost, from what the caller gave again or from the rest of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby

from mrengine.errors import LogError
from mrengine.log.format.chunk_rows import ChunkRow
from mrengine.log.format.job_records import DocumentRow, batch_documents
from mrengine.log.format.task_records import unpack_failure, unpack_result
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Epoch
from mrengine.sources.spool import SpoolFile

__all__ = ["lacking_documents", "restated_documents"]

_Chunks = list[tuple[int, ChunkRow]]


def lacking_documents(epoch: Epoch, known: Mapping[int, DocumentRow]) -> Iterator[bytes]:
    """Payloads of DOCUMENTS for those lost documents that are ``known``, by index."""
    # A record holds consecutive documents: their index less their position is the same in a run of them.
    for first, stop in epoch.lost_documents():
        found = (index for index in range(first, stop) if index in known)
        for _, run in groupby(enumerate(found), lambda item: item[1] - item[0]):
            indexes = [index for _, index in run]
            yield from batch_documents(indexes[0], [known[index] for index in indexes], epoch=epoch.job.epoch)


def restated_documents(stored: ResumeEngine, text: SpoolFile) -> dict[int, DocumentRow]:
    """The lost documents that the rest of the log implies, by index; only those with every chunk in the spool."""
    # Outcomes have a document's id, rows of the chunk table its place in the spool, and by the digest of each chunk it
    # is known whether its text still stands there.
    lost = stored.epoch.lost_documents() if stored.epoch is not None else []
    if not lost:
        return {}
    chunks: dict[int, _Chunks] = {}
    for chunk_id, row in enumerate(stored.chunk_table()):
        if any(first <= row.document < stop for first, stop in lost):
            chunks.setdefault(row.document, []).append((chunk_id, row))
    found: dict[int, DocumentRow] = {}
    for index, of_document in chunks.items():
        name = _name(stored, of_document)
        restated = _row(name, [row for _, row in of_document], text) if name is not None else None
        if restated is not None:
            found[index] = restated
    return found


def _name(stored: ResumeEngine, chunks: _Chunks) -> str | None:
    """The document's id, from the outcome of any of its chunks."""
    index = stored.index()
    for chunk_id, _ in chunks:
        for slot in range(chunk_id * index.models, (chunk_id + 1) * index.models):
            with suppress(LogError):
                if at := index.result(slot):
                    return unpack_result(stored.reader.payload(at)).document_id
                if at := index.failure(slot):
                    return unpack_failure(stored.reader.payload(at)).document_id or None
    return None


def _row(name: str, rows: list[ChunkRow], text: SpoolFile) -> DocumentRow | None:
    """A document's row. None: the spool has lost one of its chunks."""
    digest, end = blake2b(digest_size=16), rows[0].spool_from
    for row in rows:
        data = text.read(row.spool_from, row.spool_to)
        if data is None or blake2b(data, digest_size=16).digest() != row.digest:
            return None
        digest.update(data[end - row.spool_from :])  # without the overlap, which was in the chunk before
        end = row.spool_to
    return DocumentRow(name, digest.digest(), rows[0].spool_from, end - rows[0].spool_from, rows[-1].end)
