"""A job's chunk table: cut from the documents in its spool, or made of the texts of a later round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mrengine.errors import LogError
from mrengine.host.head_finder import HeadFinder, Read
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import (
    MAX_ROWS,
    ROW_BYTES,
    ChunkRow,
    ChunkTable,
    pack_chunks,
    pack_row,
    stands_in,
)
from mrengine.log.format.heads import NO_HEADS, HeadPlaces, read_heads
from mrengine.log.format.job_records import DocumentRow, DocumentsDigest
from mrengine.log.view.job_view import ResumeEngine
from mrengine.private import open_file
from mrengine.sources.spool import SpoolReader, Text, not_kept
from mrengine.worker.chunk_reader import decoded

__all__ = [
    "Batch",
    "append_inputs",
    "beyond",
    "chunk_records",
    "digest_of",
    "has_wrong_rows",
    "input_version",
    "is_there",
    "lacking_text",
    "not_held",
    "rows_follow",
    "rows_of",
    "rows_to_go_on_with",
    "tells_of_others",
]

_MOST_HEADS = 1 << 15  # that one record tells of


def digest_of(rows: Sequence[DocumentRow]) -> tuple[int, int, bytes]:
    """(count, bytes, digest over all ids and digests)."""
    digest = DocumentsDigest()
    for row in rows:
        digest.add(row.id, row.identity, row.n_bytes)
    return digest.summary()


def chunk_records(
    spool: Path,
    documents: Sequence[DocumentRow],
    chunk: Callable[..., Iterator[Any]],
    *,
    round_: int = 0,
    blank: Callable[[], None] = lambda: None,
    is_due: Callable[[], bool] = lambda: False,
    since: tuple[int, int] = (0, 0),
    known: ChunkTable | None = None,
) -> Iterator[bytes]:
    """Cut the documents of a spool; payloads of CHUNKS records, each with the rows of at most 16,384 chunks.

    The spool is opened at once.

    ``chunk``: ``Chunker.chunk`` or what acts like it. ``blank`` is called for each chunk that is left out, because what
    it has of its own is nothing but blanks: no call is made for it. ``is_due``: whether a record is to end here, asked
    after each row. ``since``: the document to begin with, and the id of its first chunk. ``known``: the rows that there
    are already; they are cut once more and left out, and nothing (b"") is yielded where one is due meanwhile. LogError:
    they are others.
    """
    rows = _rows(SpoolReader(spool), documents, chunk, blank, *since)
    return _in_batches(rows if known is None else beyond(known, rows, since[1]), round_, since[1], known, is_due)


_Row = tuple[ChunkRow, HeadPlaces]


def _in_batches(
    rows: Iterator[_Row | None], round_: int, next_id: int, known: ChunkTable | None, is_due: Callable[[], bool]
) -> Iterator[bytes]:
    next_id = next_id if known is None else len(known)
    batch = Batch(round_, next_id)
    for row in rows:
        if row is None:
            if is_due():
                yield b""
            continue
        batch.add(*row)
        next_id += 1
        if batch.is_full or is_due():
            yield batch.payload()
            batch = Batch(round_, next_id)
    if batch.rows:
        yield batch.payload()


def _rows(
    spool: SpoolReader,
    documents: Sequence[DocumentRow],
    chunk: Callable[..., Iterator[Any]],
    blank: Callable[[], None],
    first_document: int,
    next_id: int,
) -> Iterator[_Row]:
    with spool:
        for index in range(first_document, len(documents)):
            document = documents[index]
            position = document.spool_offset
            text = _whole_if_small(spool.pieces(position, document.n_bytes), document)
            chunks = chunk(text, document_id=document.id, first_id=next_id)
            for row in rows_of(index, position, chunks, blank, spool.read):
                yield row
                next_id += 1


def rows_of(index: int, position: int, chunks: Iterator[Any], blank: Callable[[], None], read: Read) -> Iterator[_Row]:
    """The rows of a document's chunks, and where it stands what is above each. ``position``: where the document begins
    in the spool, which is ``read`` as far as it was cut.
    """
    finder = HeadFinder(position, read)
    for piece in chunks:
        data = piece.text.encode("utf-8", "surrogatepass")
        overlap = piece.overlap
        position += len(data) - _bytes(piece.text[:overlap]) if overlap else len(data)
        if (piece.text[overlap:] if overlap else piece.text).isspace():
            blank()
            continue
        row = ChunkRow(
            index,
            piece.kind,
            overlap,
            piece.tokens,
            piece.start,
            piece.end,
            position - len(data),
            position,
            blake2b(data, digest_size=16).digest(),
        )
        yield row, finder.places((tuple(piece.headings), piece.table_header), piece.kind, position)


def beyond(known: ChunkTable, rows: Iterator[_Row | None], first: int) -> Iterator[_Row | None]:
    """The rows, counted from ``first``; None for each that is known. None between them mean nothing."""
    present = (row for row in rows if row is not None)
    for index in range(first, len(known)):
        found = next(present, None)
        if found is None or _cut_of(found[0]) != _cut_of(known[index]):
            raise LogError(f"the documents are not cut as row {index} of the chunk table says", reason="damaged")
        yield None
    yield from rows


def _cut_of(row: ChunkRow) -> ChunkRow:
    """Where a row's chunk is, and its text: the rest follows from these."""
    return row._replace(context=0, kind="", tokens=0)


class Batch:
    """The rows of one CHUNKS record, and what stands above their chunks: each headings and header once in a row."""

    def __init__(self, round_: int, first: int) -> None:
        self.rows = bytearray()
        self._round, self._first = round_, first
        self._heads: list[HeadPlaces] = []

    def add(self, row: ChunkRow, heads: HeadPlaces) -> None:
        if heads != NO_HEADS:
            if not self._heads or self._heads[-1] != heads:
                self._heads.append(heads)
            row = row._replace(context=len(self._heads))
        self.rows += pack_row(row)

    @property
    def stop(self) -> int:
        """The row behind its last one."""
        return self._first + len(self.rows) // ROW_BYTES

    @property
    def is_full(self) -> bool:
        return len(self.rows) == MAX_ROWS * ROW_BYTES or len(self._heads) >= _MOST_HEADS

    def payload(self) -> bytes:
        return pack_chunks(self._round, self._first, bytes(self.rows), self._heads)


def input_version(version: str, inputs: Sequence[tuple[str, str]]) -> str:
    """What a later round is known by: its function and its texts."""
    digest = blake2b(version.encode(), digest_size=16)
    for name, text in inputs:
        for part in (name, text):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def not_held(text: Text, documents: Iterable[DocumentRow]) -> list[DocumentRow]:
    """The documents that are not in a spool as they were: texts of later rounds may stand behind them."""
    return [row for row in documents if not text.holds(row.spool_offset, row.n_bytes, row.digest)]


def lacking_text(place: Path, documents: Iterable[DocumentRow]) -> str | None:
    """Why a spool cannot be used for these documents, "" where there is none; None: it has them as they were."""
    with Text(place) as text:
        if not text.exists:
            return text.why
        return f"{place} is damaged" if not_held(text, documents) else None


def has_wrong_rows(stored: ResumeEngine, place: Path, documents: Sequence[DocumentRow]) -> bool:
    """Whether the chunk table names what the spool has not, though that has all documents: its records were wrong
    before their CRCs were made. Such rows have failed their chunks, and are looked for among those.
    """
    failed = [failure.chunk_id for failure in stored.failures() if failure.kind == "damaged"]
    if not failed or lacking_text(place, documents) is not None:
        return False
    table = stored.chunk_table()
    with Text(place) as text:
        return any(not _is_right(table, chunk, text, documents) for chunk in failed)


def _is_right(table: ChunkTable, chunk: int, text: Text, documents: Sequence[DocumentRow]) -> bool:
    try:
        row = table[chunk]
        heads = table.heads(chunk, row)
        document = documents[row.document]
    except (LogError, IndexError):
        return False
    return stands_in(row, document) and is_there(chunk, row, text) and read_heads(heads, text.read) is not None


def is_there(chunk: int, row: ChunkRow, text: Text) -> bool:
    """Whether a spool has the text that a row tells of."""
    data = text.read(row.spool_from, row.spool_to)
    if data is None or blake2b(data, digest_size=16).digest() != row.digest:
        return False
    with suppress(LogError):
        decoded(chunk, row, data)
        return True
    return False


def rows_follow(stored: ResumeEngine, documents: Sequence[DocumentRow]) -> bool:
    """Whether the rows of a table follow one another, each in its document."""
    last = 0
    for row in stored.chunk_table():
        if not last <= row.document < len(documents) or not stands_in(row, documents[row.document]):
            return False
        last = row.document
    return True


def rows_to_go_on_with(stored: ResumeEngine, place: Path, documents: Sequence[DocumentRow]) -> bool:
    """Whether a cut that was interrupted can go on behind the rows that the log has: they follow one another, and those
    of the last document, which is cut once more, tell of the text in the spool.
    """
    table = stored.chunk_table()
    last = table[len(table) - 1].document if len(table) else 0
    with Text(place) as text:
        return rows_follow(stored, documents) and all(
            is_there(chunk, table[chunk], text) for chunk in range(len(table)) if table[chunk].document == last
        )


def tells_of_others(stored: ResumeEngine, documents: Sequence[DocumentRow]) -> bool:
    """Whether a DOCUMENTS record says anything else of these documents, whose digest is the job's: it was wrong before
    its CRC was made.
    """
    names = stored.documents()
    found = ((names.get(index), row) for index, row in enumerate(documents))
    return any(known is not None and known != row for known, row in found)


def append_inputs(spool: Path, round_: int, inputs: Sequence[tuple[int, str]]) -> Iterator[tuple[int, bytes]]:
    """Put the texts of a later round, (document index, text) each, behind the documents; the CHUNKS records that name
    them.
    """
    from mrengine.chunking.tokens import tokenizer

    rows = bytearray()
    try:
        with os.fdopen(open_file(spool, os.O_RDWR), "r+b") as file:  # one that is not there has no documents, either
            position = file.seek(0, os.SEEK_END)
            for document, text in inputs:
                data = text.encode("utf-8", "surrogatepass")
                file.write(data)
                digest = blake2b(data, digest_size=16).digest()
                end = position + len(data)
                row = ChunkRow(document, "text", 0, tokenizer.count(text), 0, len(text), position, end, digest)
                rows += pack_row(row)
                position = end
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise not_kept(error, spool.parent) from error
    size = MAX_ROWS * ROW_BYTES
    for at in range(0, len(rows), size):
        yield codec.CHUNKS, pack_chunks(round_, at // ROW_BYTES, bytes(rows[at : at + size]))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _whole_if_small(pieces: Iterator[str], document: DocumentRow) -> Any:
    """A document of one block as a str: the chunker has a short way for those."""
    return "".join(pieces) if document.n_bytes <= 1 << 16 else pieces
