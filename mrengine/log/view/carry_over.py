"""Finds results of earlier epochs that a new one may keep: chunks are matched by what the map function was given."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from mrengine.errors import LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.row_reader import ChunkTable, DocumentNames
from mrengine.log.format.chunk_rows import ROW_BYTES, ChunkRow, heads_in, stands_in, unpack_chunks, unpack_row
from mrengine.log.format.heads import NO_HEADS, HeadPlaces
from mrengine.log.format.job_records import DocumentRow, JobRecord
from mrengine.log.format.packing import key
from mrengine.log.format.task_records import READ_FACTS, READ_POSITION, CarryRecord, pack_carry, result_flags
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Epoch

__all__ = ["carried"]

_Place = tuple[int, int, int, bytes]  # chunk id, start, end, digest of the document's fields and pages


def carried(
    stored: ResumeEngine, job: JobRecord, documents: Sequence[DocumentRow], tables: Sequence[bytes]
) -> Iterator[bytes]:
    """Payloads of the CARRY records with which a new epoch takes over the fitting results in the log.

    ``job``, ``documents`` and ``tables`` (payloads of CHUNKS) describe the new epoch, which need not be in the log. A
    chunk keeps model and result if text, overlap, headings, document id and map version are the same and the model is
    still one of the job's. Where the map function read the chunk's position, or its fields or pages, these must be the
    same, too. Of equal chunks the n-th keeps the result of the n-th; the newest epoch wins. LogError: a record cannot
    be read.
    """
    # Chunks are compared by digests, and lazily: neither table is held in memory as long as the two agree.
    models = max(1, len(job.models)) if job.all_models else 1
    taken: set[int] = set()
    for source in reversed(stored.state.epochs):
        if source.job.map_version != job.map_version or not source.index(0).done:
            continue
        old = _places(_stored_rows(stored.reader, source))
        for place, old_place in _matches(old, _places(_new_rows(documents, tables))):
            for record in _taken_over(stored, source, job, place, old_place):
                slot = place[0] * models + (record.model_index if models > 1 else 0)
                if slot not in taken:
                    taken.add(slot)
                    yield pack_carry(record)


def _taken_over(
    stored: ResumeEngine, source: Epoch, job: JobRecord, place: _Place, old_place: _Place
) -> Iterator[CarryRecord]:
    """The CARRY records of the results of an old chunk that a new chunk may keep."""
    for model in range(source.models):
        offset = source.index(0).result(old_place[0] * source.models + model)
        if not offset:
            continue
        payload = stored.reader.payload(offset)
        flags = result_flags(payload)
        if (flags & READ_POSITION and place[:3] != old_place[:3]) or (flags & READ_FACTS and place[3] != old_place[3]):
            continue
        index = _model_index(_origin(stored.state.epochs, offset), job, key(payload)[2])
        if index is not None:
            yield CarryRecord(0, place[0], index, offset)


def _origin(epochs: Sequence[Epoch], offset: int) -> Epoch:
    """The epoch in which a RESULT was written; its model index counts in that epoch's models."""
    # Not the epoch that is looked at: that may have carried the result over from an earlier one.
    return epochs[bisect_right([epoch.offset for epoch in epochs], offset) - 1]


def _model_index(origin: Epoch, job: JobRecord, index: int) -> int | None:
    """The index among the new job's models of the one that made a result; None: it is no longer one of them."""
    if index < 0:
        return None if job.all_models and job.models else -1
    models = origin.job.models
    if index >= len(models) or models[index] not in job.models:
        return None
    return job.models.index(models[index])


# The document (None: the log has lost it, or the row does not fit it), the row, what stands above the chunk.
_Row = tuple[DocumentRow | None, ChunkRow, HeadPlaces]


def _stored_rows(reader: LogReader, epoch: Epoch) -> Iterator[_Row]:
    names = DocumentNames(reader, epoch.documents)
    table = ChunkTable(reader.fd, epoch.segments.get(0, []))
    for index, row in enumerate(table):
        known = names.get(row.document)
        if known is not None and not stands_in(row, known):
            known = None
        try:
            heads = table.heads(index, row)
        except LogError:
            known, heads = None, NO_HEADS  # what the map function was given is not known: it matches nothing
        yield known, row, heads


def _new_rows(documents: Sequence[DocumentRow], tables: Sequence[bytes]) -> Iterator[_Row]:
    for payload in tables:
        rows, heads = unpack_chunks(payload)[2], [NO_HEADS, *heads_in(payload)]
        for at in range(0, len(rows), ROW_BYTES):
            row = unpack_row(rows, at)
            yield documents[row.document], row, heads[row.context]


def _places(rows: Iterator[_Row]) -> Iterator[tuple[bytes, _Place]]:
    """(digest of document id, text, overlap and heads; place) of every chunk, in order.

    The digest is b"" where the document was lost, and equals none of a new epoch.
    """
    last, name, facts = None, b"", b""
    for chunk_id, (document, row, heads) in enumerate(rows):
        if document is None:
            yield b"", (chunk_id, row.start, row.end, b"")
            continue
        if document.id != last:
            last = document.id
            name = blake2b(last.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            facts = blake2b(document.facts, digest_size=16).digest() if document.facts else b""
        digest = blake2b(name + row.digest + row.overlap.to_bytes(4, "little") + heads.digest, digest_size=16).digest()
        yield digest, (chunk_id, row.start, row.end, facts)


def _matches(
    source: Iterator[tuple[bytes, _Place]], target: Iterator[tuple[bytes, _Place]]
) -> Iterator[tuple[_Place, _Place]]:
    """(place, old place) of every chunk of ``target`` that ``source`` has as well."""
    # As long as both agree, nothing is remembered: each duplicate in this prefix has its partner in it, and the
    # n-th behind it still goes to the n-th.
    for (digest, place), (old_digest, old_place) in zip(target, source, strict=False):
        if digest != old_digest:
            found = _by_digest(old_digest, old_place, source)
            yield from _found(found, digest, place)
            for further, further_place in target:
                yield from _found(found, further, further_place)
            return
        yield place, old_place


def _by_digest(
    digest: bytes, place: _Place, rest: Iterator[tuple[bytes, _Place]]
) -> dict[bytes, _Place | deque[_Place]]:
    """The places of each digest."""
    # A deque only where a digest occurs more than once, as most do not: it takes more memory than the place in it.
    found: dict[bytes, _Place | deque[_Place]] = {digest: place}
    for further, further_place in rest:
        known = found.setdefault(further, further_place)
        if isinstance(known, deque):
            known.append(further_place)
        elif known is not further_place:
            found[further] = deque((known, further_place))
    return found


def _found(found: dict[bytes, _Place | deque[_Place]], digest: bytes, place: _Place) -> Iterator[tuple[_Place, _Place]]:
    known = found.get(digest)
    if isinstance(known, deque):
        if known:
            yield place, known.popleft()
    elif known is not None:
        del found[digest]
        yield place, known
