"""Makes the records of a job's chunk table, from the documents in its spool or from the texts of a later round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mrengine.errors import LogError
from mrengine.host.head_finder import HeadFinder, Read
from mrengine.log.file.row_reader import ChunkTable
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import MAX_ROWS, ROW_BYTES, ChunkRow, pack_chunks, pack_row, pack_whole
from mrengine.log.format.heads import NO_HEADS, HeadPlaces
from mrengine.log.format.job_records import DocumentRow
from mrengine.private import open_file
from mrengine.sources.spool import SpoolReader, not_kept

__all__ = [
    "Batch",
    "Whole",
    "append_inputs",
    "beyond",
    "chunk_records",
    "input_version",
    "rows_of",
    "whole_row",
]

_MOST_HEADS = 1 << 15  # sets of headings in one record
_FEW = 64  # characters


def chunk_records(
    spool: Path,
    documents: Sequence[DocumentRow],
    chunk: Callable[..., Iterator[Any]],
    *,
    whole: Whole | None = None,
    round_: int = 0,
    blank: Callable[[], None] = lambda: None,
    is_due: Callable[[], bool] = lambda: False,
    since: tuple[int, int] = (0, 0),
    known: ChunkTable | None = None,
) -> Iterator[bytes]:
    """Cut the documents of a spool into payloads of CHUNKS records, each with the rows of at most 16,384 chunks.

    ``chunk``, ``whole``: methods of a ``Chunker`` or of what acts like it. ``blank`` is called for each chunk that is
    left out because it has nothing but blanks beside its overlap. ``is_due``: asked after each row whether the record
    is to end here. ``since``: the document to begin with, and the id of its first chunk. ``known``: the rows that the
    log has; they are cut once more, compared and left out, and b"" is yielded where a record is due meanwhile.
    LogError: they differ.
    """
    # Opened at once, and read by this descriptor to the end: the spool gets its final name while it is cut.
    rows = _rows(SpoolReader(spool), documents, chunk, blank, *since, whole, 0 if known is None else len(known))
    return _in_batches(rows if known is None else beyond(known, rows, since[1]), round_, since[1], known, is_due)


_Row = tuple[ChunkRow, HeadPlaces] | bytes  # bytes: packed, the only row of its document
Whole = Callable[[str, str], tuple[int, str] | None]


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
        batch.take(row)
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
    whole: Whole | None,
    known: int,
) -> Iterator[_Row]:
    with spool:
        for index in range(first_document, len(documents)):
            document = documents[index]
            position = document.spool_offset
            text = _whole_if_small(spool.pieces(position, document.n_bytes), document)
            # Rows that the log has take the long way: ``beyond`` compares them unpacked.
            if next_id >= known and whole is not None and type(text) is str:
                packed = whole_row(index, document, text, whole)
                if packed is not None:
                    yield packed
                    next_id += 1
                    continue
            chunks = chunk(text, document_id=document.id, first_id=next_id)
            for row in rows_of(index, position, chunks, blank, spool.read):
                yield row
                next_id += 1


def whole_row(index: int, document: DocumentRow, text: str, whole: Whole) -> bytes | None:
    """The packed row of a document that is one chunk. None: it has to be cut."""
    # Without Chunk, ChunkRow and a second digest: in a job of short rows this is the host's time.
    if text.isspace() or (found := whole(text, document.id)) is None:
        return None
    return pack_whole(index, document, *found)


def rows_of(
    index: int, position: int, chunks: Iterator[Any], blank: Callable[[], None], read: Read
) -> Iterator[tuple[ChunkRow, HeadPlaces]]:
    """The rows of a document's chunks, each with the places of the headings above it.

    ``position``: where the document begins in the spool; ``read``: reads what of it has been cut so far.
    """
    finder = HeadFinder(position, read)
    for piece in chunks:
        data = piece.text.encode("utf-8", "surrogatepass")
        overlap = piece.overlap
        position += len(data) - _bytes(piece.text[:overlap]) if overlap else len(data)
        if _is_blank(piece.text, overlap):  # no call is made for nothing but blanks
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
    """``rows``, which are counted from ``first``, without those that the log has: None stands in for each of these.

    A None among ``rows`` is a mere pause. LogError: a row is not as the log has it.
    """
    # Appended behind rows of another cut, the new ones would repeat some text and leave out other.
    present = (row for row in rows if row is not None)
    for index in range(first, len(known)):
        found = next(present, None)
        if not isinstance(found, tuple) or _cut_of(found[0]) != _cut_of(known[index]):
            raise LogError(f"the documents are not cut as row {index} of the chunk table says", reason="damaged")
        yield None
    yield from rows


def _cut_of(row: ChunkRow) -> ChunkRow:
    """Only the place and digest of a row's text: the rest follows from these."""
    return row._replace(context=0, kind="", tokens=0)


class Batch:
    """Collects the rows of one CHUNKS record; headings that consecutive chunks share are kept once."""

    def __init__(self, round_: int, first: int) -> None:
        self.rows = bytearray()
        self._round, self._first = round_, first
        self._heads: list[HeadPlaces] = []

    def take(self, row: _Row) -> None:
        """Add a row, packed or not."""
        if type(row) is bytes:
            self.rows += row
        else:
            self.add(*row)

    def add(self, row: ChunkRow, heads: HeadPlaces) -> None:
        if heads != NO_HEADS:
            if not self._heads or self._heads[-1] != heads:
                self._heads.append(heads)
            row = row._replace(context=len(self._heads))
        self.rows += pack_row(row)

    @property
    def stop(self) -> int:
        """The number of the first row of the next record."""
        return self._first + len(self.rows) // ROW_BYTES

    @property
    def is_full(self) -> bool:
        return len(self.rows) == MAX_ROWS * ROW_BYTES or len(self._heads) >= _MOST_HEADS

    def payload(self) -> bytes:
        return pack_chunks(self._round, self._first, bytes(self.rows), self._heads)


def input_version(version: str, inputs: Sequence[tuple[str, str]]) -> str:
    """A digest of a later round's function and texts: a round that the log has with another one is played again."""
    digest = blake2b(version.encode(), digest_size=16)
    for name, text in inputs:
        for part in (name, text):
            data = part.encode("utf-8", "surrogatepass")
            # With its length: otherwise ("ab", "c") and ("a", "bc") would be the same input.
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def append_inputs(spool: Path, round_: int, inputs: Sequence[tuple[int, str]]) -> Iterator[tuple[int, bytes]]:
    """Append the texts of a later round, (document index, text) each, to the spool; yields their CHUNKS records."""
    from mrengine.chunking.tokens import tokenizer

    rows = bytearray()
    try:
        # Never created here: a spool that is gone has lost its documents, too.
        with os.fdopen(open_file(spool, os.O_RDWR), "r+b") as file:
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
            os.fsync(file.fileno())  # before the rows are logged: a durable row must find its text
    except OSError as error:
        raise not_kept(error, spool.parent) from error
    size = MAX_ROWS * ROW_BYTES
    for at in range(0, len(rows), size):
        yield codec.CHUNKS, pack_chunks(round_, at // ROW_BYTES, bytes(rows[at : at + size]))


def _is_blank(text: str, start: int) -> bool:
    """Whether there is nothing but blanks from a place on."""
    # Nearly always a few characters tell: all of them would be a copy of the chunk.
    return text[start : start + _FEW].isspace() and text[start:].isspace()


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _whole_if_small(pieces: Iterator[str], document: DocumentRow) -> Any:
    """The text of a document, joined where it is one block: the chunker is faster with a str than with pieces."""
    return "".join(pieces) if document.n_bytes <= 1 << 16 else pieces
