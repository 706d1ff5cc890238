"""The records of the job itself: JOB, DOCUMENTS, READ, ROUND, NOTE and CLOSE, as dataclasses and payloads.

Their layout is in docs/log-format.md. Every ``unpack_x`` raises LogError(reason="damaged") and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from mrengine.log.format.packing import Types, array, bad_record, check_types, pack
from mrengine.log.format.values import Plain

__all__ = [
    "READING", "CloseRecord", "DocumentRow", "DocumentsDigest", "DocumentsRecord", "JobRecord", "NoteRecord",
    "ReadRecord", "RoundRecord", "batch_documents", "pack_close", "pack_documents", "pack_job", "pack_note",
    "pack_read", "pack_round", "unpack_close", "unpack_documents", "unpack_job", "unpack_note", "unpack_read",
    "unpack_round",
]  # fmt: skip

MAX_BATCH_BYTES = 1 << 20
READING = "reading"  # a key of JOB's settings: the documents are still being read
# Types of the fields of a JOB, in the order of JobRecord.
_JOB_TYPES: Types = (
    {str}, {int, float}, {int}, {str}, {str}, {list}, {dict}, {list}, {bool}, {str}, {str}, {str, dict, type(None)},
    {dict},
)  # fmt: skip


class DocumentRow(NamedTuple):
    """A document in the spool, at ``spool_offset``. ``digest``: 16 bytes blake2b of its UTF-8.

    ``facts``: its fields and pages as ``document_facts`` packs them; b"" if there are none.
    """

    id: str
    digest: bytes
    spool_offset: int
    n_bytes: int
    n_chars: int
    facts: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether the document is still being read: its text, digest and size come with another row."""
        return not self.digest

    @property
    def identity(self) -> bytes:
        """What tells a document from another version of it: the digest of its text and of its facts."""
        return blake2b(self.digest + self.facts, digest_size=16).digest() if self.facts else self.digest


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The first record of an epoch: the inputs that the job has from here on.

    ``python``: "3.11". ``documents``: (count, bytes of UTF-8, digest) as ``DocumentsDigest`` makes it. ``models``:
    (name, digest of its parameters) each. ``all_models``: every model runs on every chunk. ``map_source``:
    "module:qualname", the dict of a prompt, or None.

    A job that begins while its documents are read has no documents yet: the digest then only names their spool, and
    ``settings[READING]`` is set until a READ completes the record.
    """

    job_id: str
    at: float
    epoch: int
    version: str
    python: str
    documents: tuple[int, int, bytes]
    chunking: Mapping[str, Plain]
    models: tuple[tuple[str, str], ...]
    all_models: bool
    map_version: str
    map_name: str
    map_source: str | Mapping[str, Plain] | None
    settings: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentsRecord:
    """Consecutive documents; the first has the index ``first``. ``epoch``: that of the JOB to which they belong."""

    first: int
    rows: tuple[DocumentRow, ...]
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Says that all documents of an epoch are read. ``documents`` and ``settings`` replace those of its JobRecord.

    ``epoch``: that of the JOB to which it belongs.
    """

    documents: tuple[int, int, bytes]
    settings: Mapping[str, Plain]
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The start, or a further run, of a round of ``total`` chunks. ``version``: of the function that runs in it.

    ``facts`` may have "open": the documents are still being cut, and ``total`` counts the chunks so far; or "closes":
    the chunk table of such a round is complete now.
    """

    round: int
    at: float
    total: int
    version: str = ""
    facts: Mapping[str, Plain] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether more rows of the chunk table follow."""
        return self.facts.get("open") is True

    @property
    def closes(self) -> bool:
        """Whether the record only ends the chunk table of a round that goes on."""
        return self.facts.get("closes") is True


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """An event of a round that changes no state: a death, a wait for the budget, a call that is tried again.

    ``name``: that of the event; ``fields``: the event's. ``worker_id`` and ``chunk_id`` are -1 where it concerns none.
    """

    round: int
    at: float
    name: str
    worker_id: int
    chunk_id: int
    fields: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloseRecord:
    """The end of a run. ``state``: "done", "failed", "stopped", "cancelled", "timeout" or "budget"."""

    at: float
    state: str
    summary: Mapping[str, Plain] = field(default_factory=dict)


class DocumentsDigest:
    """Digests a sequence of documents: ``add`` each in order; ``summary()`` then is ``JobRecord.documents``."""

    def __init__(self) -> None:
        self._count = self._bytes = 0
        self._hash = blake2b(digest_size=16)

    def add(self, document_id: str, digest: bytes, n_bytes: int) -> None:
        """Add a document; ``digest``: 16 bytes, its ``identity``."""
        name = document_id.encode("utf-8", "surrogatepass")
        # With its length, or another division of the same bytes into ids and digests would have the same digest.
        self._hash.update(len(name).to_bytes(8, "little") + name + digest)
        self._count += 1
        self._bytes += n_bytes

    def summary(self) -> tuple[int, int, bytes]:
        """(count, bytes, 16 bytes digest of all ids and digests)."""
        return self._count, self._bytes, self._hash.digest()


def pack_job(record: JobRecord) -> bytes:
    """The payload of a JOB."""
    r = record
    models = [list(model) for model in r.models]
    source = dict(r.map_source) if isinstance(r.map_source, Mapping) else r.map_source
    begin = (r.job_id, r.at, r.epoch, r.version, r.python, list(r.documents), dict(r.chunking), models)
    return pack([*begin, r.all_models, r.map_version, r.map_name, source, dict(r.settings)])


def unpack_job(payload: bytes) -> JobRecord:
    """Unpack a JOB."""
    v = array(payload, _JOB_TYPES, "JOB")
    try:
        v[5], v[7] = _totals(v[5], "JOB"), tuple((str(name), str(params)) for name, params in v[7])
    except (TypeError, ValueError):
        raise bad_record("JOB") from None
    return JobRecord(*v)


def batch_documents(first: int, rows: Sequence[DocumentRow], *, epoch: int = 0) -> Iterator[bytes]:
    """Payloads of DOCUMENTS of about 1 MiB at most, but for a single row with a longer id."""
    start, size = 0, 0
    # Weighed and not measured: a character takes at most four bytes, the numbers and the digest at most 60.
    for index, row in enumerate(rows):
        weight = 4 * len(row.id) + 60 + len(row.facts)
        if size + weight > MAX_BATCH_BYTES and index > start:
            yield pack_documents(DocumentsRecord(first + start, tuple(rows[start:index]), epoch))
            start, size = index, 0
        size += weight
    if start < len(rows):
        yield pack_documents(DocumentsRecord(first + start, tuple(rows[start:]), epoch))


def pack_documents(record: DocumentsRecord) -> bytes:
    """The payload of a DOCUMENTS."""
    rows = [row if row.facts else row[:5] for row in record.rows]  # most documents have no facts: nothing is stored
    return pack([record.first, rows, record.epoch])


def unpack_documents(payload: bytes) -> DocumentsRecord:
    """Unpack a DOCUMENTS."""
    first, rows, epoch = packed_documents(payload)
    return DocumentsRecord(first, tuple(map(document_row, rows)), epoch)


def packed_documents(payload: bytes) -> tuple[int, list[list[Any]], int]:
    """Unpack a DOCUMENTS, but leave its rows as lists, to be turned into ``DocumentRow`` by ``document_row``."""
    # A record has thousands of rows, of which most readers look at few: no object is made for the others.
    first, rows, epoch = array(payload, ({int}, {list}, {int}), "DOCUMENTS")
    if not {list}.issuperset(map(type, rows)) or min(map(len, rows), default=5) < 5:
        raise bad_record("DOCUMENTS")
    return first, rows, epoch


def document_row(packed: list[Any]) -> DocumentRow:
    """The ``DocumentRow`` of a row from ``packed_documents``."""
    return DocumentRow(*packed[:6])


def pack_read(record: ReadRecord) -> bytes:
    """The payload of a READ."""
    return pack([list(record.documents), dict(record.settings), record.epoch])


def unpack_read(payload: bytes) -> ReadRecord:
    """Unpack a READ."""
    documents, settings, epoch = array(payload, ({list}, {dict}, {int}), "READ")
    return ReadRecord(_totals(documents, "READ"), settings, epoch)


def _totals(values: list[Any], name: str) -> tuple[int, int, bytes]:
    """The documents' count, bytes and digest."""
    # By type, not by bytes(): of a number that stands there by damage, that would ask for as many bytes of memory.
    check_types(values, ({int}, {int}, {bytes}), name)
    count, size, digest = values
    return count, size, digest


def pack_round(record: RoundRecord) -> bytes:
    """The payload of a ROUND."""
    return pack([record.round, record.at, record.total, record.version, dict(record.facts)])


def unpack_round(payload: bytes) -> RoundRecord:
    """Unpack a ROUND."""
    return RoundRecord(*array(payload, ({int}, {float}, {int}, {str}, {dict}), "ROUND"))


def pack_note(record: NoteRecord) -> bytes:
    """The payload of a NOTE."""
    r = record
    return pack([r.round, r.at, r.name, r.worker_id, r.chunk_id, dict(r.fields)])


def unpack_note(payload: bytes) -> NoteRecord:
    """Unpack a NOTE."""
    return NoteRecord(*array(payload, ({int}, {float}, {str}, {int}, {int}, {dict}), "NOTE"))


def pack_close(record: CloseRecord) -> bytes:
    """The payload of a CLOSE."""
    return pack([record.at, record.state, dict(record.summary)])


def unpack_close(payload: bytes) -> CloseRecord:
    """Unpack a CLOSE."""
    return CloseRecord(*array(payload, ({float}, {str}, {dict}), "CLOSE"))
