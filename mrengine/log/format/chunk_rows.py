"""The rows of the chunk table: 64 bytes each, inside CHUNKS records, so that one pread reads any of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from mrengine.log.format.codec import OVERHEAD_BYTES
from mrengine.log.format.heads import HeadPlaces, pack_heads, unpack_heads
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.format.packing import HEAD_BYTES, bad_record

__all__ = [
    "KINDS", "MAX_ROWS", "ROW_BYTES", "ChunkRow", "Segment", "chunks_segment", "heads_in", "pack_chunks",
    "pack_row", "pack_whole", "rows_array", "stands_in", "unpack_chunks", "unpack_row",
]  # fmt: skip

ROW_BYTES = 64
MAX_ROWS = (1 << 20) // ROW_BYTES  # a CHUNKS record holds at most 1 MiB of rows
# A row has the number of its kind: only append.
KINDS = (
    *("prose", "markdown", "code", "json", "dicom", "custom"),
    *("csv", "log", "yaml", "xml", "html", "chat", "diff", "sql", "hl7", "subtitles"),
)
_OTHER = 255
_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_ROW = struct.Struct("<IB3sIIQQQQ16s")
_CHUNKS = struct.Struct(">BHBIBQBI")
_NO_CONTEXT = bytes(3)


class ChunkRow(NamedTuple):
    """A row: ``document`` is an index; ``overlap``, ``start``, ``end`` are characters, ``spool_from:spool_to`` bytes.

    ``digest``: 16 bytes blake2b of the chunk's text (overlap included) in UTF-8, surrogatepass. ``context``: the
    number of its headings and table header in the list behind the rows of its record, from 1; 0: it has none.
    """

    document: int
    kind: str
    overlap: int
    tokens: int
    start: int
    end: int
    spool_from: int
    spool_to: int
    digest: bytes
    context: int = 0


class Segment(NamedTuple):
    """Where ``rows`` rows of ``round`` stand: the one with number ``first`` begins at ``offset`` of the log."""

    round: int
    first: int
    rows: int
    offset: int


def stands_in(row: ChunkRow, document: DocumentRow) -> bool:
    """Whether the text of a row lies inside a document, as that of each row of the map round must.

    It may lie behind the end that is known of a document that is still being read.
    """
    # A row whose CRC is right may still be wrong: its chunk must not be reported under another document's name.
    first, end = document.spool_offset, document.spool_offset + document.n_bytes
    return first <= row.spool_from <= row.spool_to and (row.spool_to <= end or document.is_open)


def pack_row(row: ChunkRow) -> bytes:
    """Pack a row into 64 bytes. An unknown kind is stored as "other". struct.error: a number is out of range."""
    context = row.context.to_bytes(3, "little")
    return _ROW.pack(row.document, _NUMBERS.get(row.kind, _OTHER), context, *row[2:9])


def pack_whole(index: int, document: DocumentRow, tokens: int, kind: str) -> bytes:
    """Pack the row of a document that is a single chunk, without headings; its digest is the document's."""
    # Without a ChunkRow between: jobs of many small documents have one such row for each.
    _, digest, start, n_bytes, n_chars, _ = document
    number = _NUMBERS.get(kind, _OTHER)
    return _ROW.pack(index, number, b"\0\0\0", 0, tokens, 0, n_chars, start, start + n_bytes, digest)


def rows_array(data: bytes) -> Any:
    """Packed rows as a numpy array with named fields, without an object for each row."""
    import numpy

    names = ("document", "kind", "context", "overlap", "tokens", "start", "end", "spool_from", "spool_to", "digest")
    kinds = ("<u4", "u1", "V3", "<u4", "<u4", "<u8", "<u8", "<u8", "<u8", "V16")
    return numpy.frombuffer(data, list(zip(names, kinds, strict=True)))


def unpack_row(data: bytes, at: int = 0) -> ChunkRow:
    """Unpack the row in ``data[at : at + 64]``. LogError: too few bytes."""
    try:
        document, kind, heads, overlap, tokens, start, end, spool_from, spool_to, digest = _ROW.unpack_from(data, at)
    except struct.error:
        raise bad_record("CHUNKS") from None
    name = KINDS[kind] if kind < len(KINDS) else "other"
    context = 0 if heads == _NO_CONTEXT else int.from_bytes(heads, "little")
    return ChunkRow(document, name, overlap, tokens, start, end, spool_from, spool_to, digest, context)


def pack_chunks(round_: int, first: int, rows: bytes, heads: Sequence[HeadPlaces] = ()) -> bytes:
    """The payload of a CHUNKS. ``rows``: at most ``MAX_ROWS`` packed rows. ValueError: more, or no whole rows.

    ``heads``: what ``context`` of the rows refers to.
    """
    if len(rows) % ROW_BYTES or not 0 < len(rows) <= MAX_ROWS * ROW_BYTES:
        raise ValueError(f"a CHUNKS record holds 1 to {MAX_ROWS} rows of {ROW_BYTES} bytes")
    start = _CHUNKS.pack(0xDC, 4 if heads else 3, 0xCE, round_, 0xCF, first, 0xC6, len(rows))
    return start + rows + pack_heads(list(heads)) if heads else start + rows


def unpack_chunks(payload: bytes) -> tuple[int, int, bytes]:
    """(round, first chunk id, rows) of a CHUNKS payload."""
    segment = chunks_segment(payload, 0)
    return segment.round, segment.first, payload[HEAD_BYTES : HEAD_BYTES + segment.rows * ROW_BYTES]


def heads_in(payload: bytes) -> list[HeadPlaces]:
    """The list behind the rows of a CHUNKS payload: where headings and table headers stand. LogError: malformed."""
    rest = payload[HEAD_BYTES + chunks_segment(payload, 0).rows * ROW_BYTES :]
    return unpack_heads(rest) if rest else []


def chunks_segment(payload: bytes, frame_offset: int) -> Segment:
    """The place in the file of the rows of a CHUNKS frame. LogError: the record is malformed."""
    try:
        tags = _CHUNKS.unpack_from(payload)
    except struct.error:
        raise bad_record("CHUNKS") from None
    size, rest = tags[7], len(payload) - HEAD_BYTES - tags[7]
    sized = rest == 0 if tags[1] == 3 else tags[1] == 4 and rest > 0
    if tags[::2] != (0xDC, 0xCE, 0xCF, 0xC6) or not sized or not size or size % ROW_BYTES:
        raise bad_record("CHUNKS")
    return Segment(tags[3] & 0xFFFF, tags[5], size // ROW_BYTES, frame_offset + OVERHEAD_BYTES + HEAD_BYTES)
