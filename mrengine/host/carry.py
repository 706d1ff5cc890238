"""Owns which results of earlier epochs a new one takes over: those whose text, overlap, document and map version
match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mrengine.log.chunktable import ROW_BYTES, ChunkRow, ChunkTable, DocumentNames, unpack_chunks, unpack_row
from mrengine.log.jobrecords import DocumentRow, JobRecord
from mrengine.log.records import READ_POSITION, CarryRecord, pack_carry, unpack_result
from mrengine.log.replay import Epoch
from mrengine.log.resume import ResumeEngine

__all__ = ["carried"]

Place = tuple[str, bytes, int, int]  # document id, digest of the text, overlap, how manieth of its like


def carried(
    stored: ResumeEngine, job: JobRecord, documents: Sequence[DocumentRow], tables: Sequence[bytes]
) -> Iterator[bytes]:
    """Payloads of CARRY records; ``tables``: the CHUNKS payloads of the new epoch.

    The newest epoch that has a result wins, so that going back to an earlier prompt is free. The n-th of several equal
    chunks takes the result of the n-th. A result whose map function looked at its place is taken over only in place.
    """
    params = dict(job.models)
    models = [name for name, _ in job.models]
    sources = [
        _results(stored, epoch)
        for epoch in reversed(stored.state.epochs)
        if epoch.complete
        and epoch.job.map_version == job.map_version
        and epoch.job.all_models == job.all_models
        and all(params.get(name, digest) == digest for name, digest in epoch.job.models)
    ]
    taken: set[tuple[int, int]] = set()
    for found in sources:
        for chunk, place, row in _places(tables, documents):
            for model, offset in found.get(place, {}).items():
                index = _model_index(models, model, job.all_models)
                if index is None or (chunk, index) in taken or not _fits(stored, offset, chunk, row):
                    continue
                taken.add((chunk, index))
                yield pack_carry(CarryRecord(0, chunk, index, offset))


def _model_index(models: Sequence[str], model: str | None, all_models: bool) -> int | None:
    if model is None:
        return -1 if not models else None
    if model not in models:
        return None
    return models.index(model) if all_models else -1


def _results(stored: ResumeEngine, epoch: Epoch) -> dict[Place, dict[str | None, int]]:
    table = ChunkTable(stored.reader.fd, epoch.segments.get(0, []))
    names = DocumentNames(stored.reader, epoch.documents)
    index, seen = epoch.index(0), Counter[tuple[str, bytes, int]]()
    found: dict[Place, dict[str | None, int]] = {}
    for chunk, row in enumerate(table):
        kind = (names[row.document].id, row.digest, row.overlap)
        place = (*kind, seen[kind])
        seen[kind] += 1
        for model in range(index.models):
            offset = index.result(chunk * index.models + model)
            if offset:
                name = unpack_result(stored.reader.payload(offset)).model
                found.setdefault(place, {})[name] = offset
    return found


def _places(tables: Sequence[bytes], documents: Sequence[DocumentRow]) -> Iterator[tuple[int, Place, ChunkRow]]:
    seen = Counter[tuple[str, bytes, int]]()
    for payload in tables:
        _, first, rows = unpack_chunks(payload)
        for at in range(0, len(rows), ROW_BYTES):
            row = unpack_row(rows, at)
            kind = (documents[row.document].id, row.digest, row.overlap)
            yield first + at // ROW_BYTES, (*kind, seen[kind]), row
            seen[kind] += 1


def _fits(stored: ResumeEngine, offset: int, chunk: int, row: ChunkRow) -> bool:
    """Whether a result may stand at this place: it does not depend on one, or it is the same one."""
    result = unpack_result(stored.reader.payload(offset))
    if not result.flags & READ_POSITION:
        return True
    if result.chunk_id != chunk:
        return False
    for epoch in stored.state.epochs:
        table = ChunkTable(stored.reader.fd, epoch.segments.get(0, []))
        if (
            chunk < len(table)
            and (old := table[chunk]).digest == row.digest
            and (old.start, old.end) == (row.start, row.end)
        ):
            return True
    return False
