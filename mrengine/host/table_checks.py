"""Checks whether a job can go on with the chunk table and the text that an earlier run has left.

A million rows are checked in arrays, one record at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from mrengine.errors import LogError
from mrengine.host.document_rows import DocumentRows
from mrengine.log.file.row_reader import ChunkTable, DocumentNames
from mrengine.log.format.chunk_rows import ChunkRow, rows_array, stands_in
from mrengine.log.format.heads import read_heads
from mrengine.log.format.job_records import DocumentRow
from mrengine.log.view.job_view import ResumeEngine
from mrengine.sources.spool import SpoolFile
from mrengine.worker.chunk_reader import decoded

__all__ = [
    "first_row",
    "has_wrong_rows",
    "is_there",
    "lacking_text",
    "not_held",
    "rows_follow",
    "rows_to_go_on_with",
    "tells_of_others",
]

# Places in a DocumentRow, and in a packed one. One without a digest is still being read.
_DIGEST, _OFFSET, _BYTES = 1, 2, 3
_ROWS = 4096
_FAR = (1 << 64) - 1  # stands for the end of a document that is still being read


def not_held(text: SpoolFile, documents: Iterable[DocumentRow]) -> list[DocumentRow]:
    """The documents whose text a spool does not have. Behind them it may have texts of later rounds."""
    return [row for row in documents if not text.holds(row.spool_offset, row.n_bytes, row.digest)]


def lacking_text(place: Path, documents: Iterable[DocumentRow]) -> str | None:
    """Why a spool cannot be used for these documents ("": there is no spool); None: it has their text."""
    with SpoolFile(place) as text:
        if not text.exists:
            return text.why
        return f"{place} is damaged" if not_held(text, documents) else None


def has_wrong_rows(stored: ResumeEngine, place: Path, documents: Sequence[DocumentRow]) -> bool:
    """Whether the chunk table names text that the spool does not have, although it has all documents."""
    # Such rows were wrong before their CRCs were made. They have failed their chunks, so only those are checked.
    failed = [failure.chunk_id for failure in stored.failures() if failure.kind == "damaged"]
    if not failed or lacking_text(place, documents) is not None:
        return False
    table = stored.chunk_table()
    with SpoolFile(place) as text:
        return any(not _is_right(table, chunk, text, documents) for chunk in failed)


def _is_right(table: ChunkTable, chunk: int, text: SpoolFile, documents: Sequence[DocumentRow]) -> bool:
    try:
        row = table[chunk]
        heads = table.heads(chunk, row)
        document = documents[row.document]
    except (LogError, IndexError):
        return False
    return stands_in(row, document) and is_there(chunk, row, text) and read_heads(heads, text.read) is not None


def is_there(chunk: int, row: ChunkRow, text: SpoolFile) -> bool:
    """Whether a spool has the text of a row."""
    data = text.read(row.spool_from, row.spool_to)
    if data is None or blake2b(data, digest_size=16).digest() != row.digest:
        return False
    with suppress(LogError):
        decoded(chunk, row, data)
        return True
    return False


def rows_follow(stored: ResumeEngine, documents: Iterable[DocumentRow]) -> bool:
    """Whether the rows of a table are in order, each inside its document (see ``stands_in``)."""
    import numpy

    places = array("Q"), array("Q")
    try:
        for rows in _batches(documents):
            places[0].extend([row[_OFFSET] for row in rows])
            places[1].extend([row[_OFFSET] + row[_BYTES] if row[_DIGEST] else _FAR for row in rows])
    except (OverflowError, TypeError):  # its CRC is right, but no writer makes such a record
        return False
    begins, ends = (numpy.array(place, numpy.uint64) for place in places)
    last = 0
    for data in stored.chunk_table().blocks():
        rows = rows_array(data)
        which = rows["document"]
        if which[0] < last or which[-1] >= len(begins) or (which[1:] < which[:-1]).any():
            return False
        start, stop, last = rows["spool_from"], rows["spool_to"], int(which[-1])
        if not ((begins[which] <= start) & (start <= stop) & (stop <= ends[which])).all():
            return False
    return True


def _batches(documents: Iterable[DocumentRow]) -> Iterable[Sequence[Any]]:
    """Some thousand rows at a time; those of a log as they are packed, as it may have a million."""
    if isinstance(documents, DocumentNames):
        return documents.packed()
    rows = iter(documents)
    return iter(lambda: list(islice(rows, _ROWS)), [])


def first_row(table: ChunkTable, document: int) -> int:
    """The first row of a document, or the place where it would be, in a table that is in order."""
    return bisect_left(range(len(table)), document, key=lambda row: table[row].document)


def rows_to_go_on_with(stored: ResumeEngine, place: Path, documents: Sequence[DocumentRow]) -> bool:
    """Whether an interrupted cut can go on behind the rows of the log: all are in order, and the spool has the text of
    the last document's rows.
    """
    if not rows_follow(stored, documents):
        return False
    table = stored.chunk_table()
    last = table[len(table) - 1].document if len(table) else 0
    with SpoolFile(place) as text:
        return all(is_there(chunk, table[chunk], text) for chunk in range(first_row(table, last), len(table)))


def tells_of_others(stored: ResumeEngine, documents: Sequence[DocumentRow]) -> bool:
    """Whether a DOCUMENTS record differs from these documents, although their digest is the job's."""
    # Such a record was wrong before its CRC was made; its chunks would be run under other names or at other places.
    if isinstance(documents, DocumentRows) and documents.are_those_of(stored):
        return False
    for first, rows in stored.documents().batches():
        now = tuple(documents[first : first + len(rows)])
        if rows[: len(now)] != now:
            return True
    return False
