"""Owns which results of earlier epochs fit into a new one: chunks are matched by what the map function was given."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from mrengine.log.chunktable import ChunkTable, DocumentNames
from mrengine.log.msg import key
from mrengine.log.reader import LogReader
from mrengine.log.records import READ_POSITION, CarryRecord, result_flags
from mrengine.log.replay import Epoch

__all__ = ["carry"]

_Place = tuple[int, int, int]  # chunk id, start, end


def carry(reader: LogReader, epochs: Sequence[Epoch], target: Epoch) -> Iterator[CarryRecord]:
    """The CARRY records with which ``target`` takes over what fits of the other epochs of the log.

    ``target``'s documents and chunk table must have been written, they need not be synced. A chunk keeps model and
    result where text, overlap, document id and map version are the same and the model is still one of the job's;
    n-th duplicate goes to n-th duplicate, the newest epoch wins. A result whose map function read the chunk's
    position stays with its id, start and end. LogError: a record cannot be read.
    """
    taken: set[int] = set()
    outcomes = target.index(0)
    for source in reversed(epochs):
        if source is target or source.job.map_version != target.job.map_version or not source.index(0).done:
            continue
        for place, old_place in _matches(_places(reader, source), _places(reader, target)):
            for record in _taken_over(reader, epochs, source, target, place, old_place):
                slot = outcomes.slot(record.chunk_id, record.model_index)
                if slot not in taken:
                    taken.add(slot)
                    yield record


def _taken_over(
    reader: LogReader, epochs: Sequence[Epoch], source: Epoch, target: Epoch, place: _Place, old_place: _Place
) -> Iterator[CarryRecord]:
    """The results of one old chunk that one new chunk may keep."""
    for model in range(source.models):
        offset = source.index(0).result(old_place[0] * source.models + model)
        if not offset:
            continue
        payload = reader.payload(offset)
        if result_flags(payload) & READ_POSITION and place != old_place:
            continue
        index = _model_index(_origin(epochs, offset), target, key(payload)[2])
        if index is not None:
            yield CarryRecord(0, place[0], index, offset)


def _origin(epochs: Sequence[Epoch], offset: int) -> Epoch:
    """The epoch in which a RESULT was written: its model index counts in that epoch's models."""
    return epochs[bisect_right([epoch.offset for epoch in epochs], offset) - 1]


def _model_index(origin: Epoch, target: Epoch, index: int) -> int | None:
    """The place among the target's models of the one that made a result; None: it is not there any more."""
    if index < 0:
        return -1 if target.models == 1 else None
    models = origin.job.models
    if index >= len(models) or models[index] not in target.job.models:
        return None
    return target.job.models.index(models[index])


def _places(reader: LogReader, epoch: Epoch) -> Iterator[tuple[bytes, _Place]]:
    """(digest of document id, overlap and text; id, start and end) of every chunk, in order."""
    documents = DocumentNames(reader, epoch.documents)
    document, name = -1, b""
    for chunk_id, row in enumerate(ChunkTable(reader.fd, epoch.segments.get(0, []))):
        if row.document != document:
            document = row.document
            name = blake2b(documents[document].id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        digest = blake2b(name + row.digest + row.overlap.to_bytes(4, "little"), digest_size=16).digest()
        yield digest, (chunk_id, row.start, row.end)


def _matches(
    source: Iterator[tuple[bytes, _Place]], target: Iterator[tuple[bytes, _Place]]
) -> Iterator[tuple[_Place, _Place]]:
    """(place, old place) of every chunk of ``target`` that ``source`` has, too.

    What both begin with needs no memory; duplicates there are as many on both sides, so the rest may count anew.
    """
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
    """Where each digest stands; a deque only for those that stand more than once."""
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
