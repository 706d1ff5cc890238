"""Reads chunks in a worker: the row from the log and, only when map_fn asks for it, the text from the spool."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from mrengine.errors import LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.row_reader import Batch, ChunkTable, DocumentNames, document_of
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import ChunkRow, Segment, chunks_segment, stands_in
from mrengine.log.format.codec import Frame
from mrengine.log.format.document_facts import Facts, pages_between, unpack_facts, without_pages
from mrengine.log.format.heads import NO_HEADS, Heads, read_heads
from mrengine.log.format.job_records import packed_documents
from mrengine.private import open_file
from mrengine.records import Chunk

__all__ = ["ChunkReader", "TrackedChunk", "decoded", "read_bytes"]


TextOf = Callable[[int, ChunkRow], str]
_SMALL_BYTES, _FAR = 1 << 20, 1 << 50  # a read within both needs no fstat before it
_NOTHING_ABOVE: Heads = ((), "")
_ROWS = frozenset({codec.DOCUMENTS, codec.CHUNKS})


class TrackedChunk(Chunk):
    """A chunk in a worker: reads its text on first use, and notes whether its place or fields were read."""

    # A result that depends on ``id``, ``start`` or ``end`` cannot be carried to another place when documents are added.
    __slots__ = ("_facts", "_seen")

    _facts: tuple[int, str, ChunkRow, TextOf, Heads, bytes]
    _seen: dict[str, Any]

    def __init__(
        self,
        chunk_id: int,
        document_id: str,
        row: ChunkRow,
        text_of: TextOf,
        heads: Heads = _NOTHING_ABOVE,
        facts: bytes = b"",
    ) -> None:
        """``text_of(chunk_id, row)`` reads the text; LogError: it is damaged."""
        set_slot = object.__setattr__  # Chunk is frozen
        set_slot(self, "_facts", (chunk_id, document_id, row, text_of, heads, facts))
        set_slot(self, "_seen", {})

    @property
    def id(self) -> int:
        self._seen["place"] = True
        return self._facts[0]

    @property
    def document_id(self) -> str:
        return self._facts[1]

    @property
    def start(self) -> int:
        self._seen["place"] = True
        return self._facts[2].start

    @property
    def end(self) -> int:
        self._seen["place"] = True
        return self._facts[2].end

    @property
    def overlap(self) -> int:
        return self._facts[2].overlap

    @property
    def tokens(self) -> int:
        return self._facts[2].tokens

    @property
    def kind(self) -> str:
        return self._facts[2].kind

    @property
    def headings(self) -> tuple[str, ...]:
        return self._facts[4][0]

    @property
    def table_header(self) -> str:
        return self._facts[4][1]

    def _known(self) -> Facts:
        known: Facts | None = self._seen.get("known")
        if known is None:
            known = self._seen["known"] = unpack_facts(self._facts[5])
        return known

    @property
    def fields(self) -> Mapping[str, Any]:
        self._seen["facts"] = True
        return self._known().fields

    @property
    def page_marks(self) -> tuple[tuple[int, int], ...]:
        self._seen["facts"] = True
        row = self._facts[2]
        return pages_between(self._known().pages, row.start - row.overlap, row.end)

    @property
    def pages(self) -> tuple[int, ...]:
        self._seen["facts"] = True
        row = self._facts[2]
        return tuple(number for number, _ in pages_between(self._known().pages, row.start, row.end))

    @property
    def text(self) -> str:
        text: str | None = self._seen.get("text")
        if text is None:
            chunk_id, _, row, text_of, *_ = self._facts
            text = self._seen["text"] = text_of(chunk_id, row)
        return text

    @property
    def text_or_nothing(self) -> str:
        """The text, or "" where it cannot be read."""
        try:
            return self.text
        except (LogError, OSError):
            return ""

    @property
    def parts(self) -> tuple[int, str, ChunkRow, TextOf, Heads, bytes]:
        """The arguments of the constructor, for a backend that makes the chunk again in another process."""
        return self._facts

    @property
    def looked_at(self) -> bool:
        """Whether ``position_read`` or ``facts_read`` may be true: one cheap test for tasks that read nothing."""
        return bool(self._seen)

    @property
    def position_read(self) -> bool:
        """Whether ``id``, ``start`` or ``end`` was read."""
        return "place" in self._seen

    @property
    def facts_read(self) -> bool:
        """Whether its fields or pages were read."""
        return "facts" in self._seen

    @property
    def field_texts(self) -> list[str]:
        """The strings among its fields. Like the text, they must not stand in error messages."""
        try:
            return list(_texts_in(self._known().fields)) if self._facts[5] else []
        except LogError:
            return []

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain Chunk, for a process that map_fn starts."""
        # ``text_of`` reads from this worker's descriptors. What the copy is asked for is seen by nobody, so all counts
        # as read.
        fields = (self.id, self.document_id, self.start, self.end, self.overlap, self.tokens, self.kind, self.text)
        return Chunk, (*fields, *self._facts[4], dict(self.fields), self.page_marks)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(item)


def read_bytes(spool_fd: int, start: int, stop: int) -> bytes | None:
    """The bytes between two offsets of a spool; None: the spool ends before ``stop``."""
    # A damaged row may hold any numbers: those too large for a system call or for memory are compared with the file's
    # size first.
    is_small = 0 < stop - start <= _SMALL_BYTES and start >= 0 and stop <= _FAR
    if not is_small and not 0 <= start <= stop <= os.fstat(spool_fd).st_size:
        return None
    data = os.pread(spool_fd, stop - start, start)
    while len(data) < stop - start:
        more = os.pread(spool_fd, stop - start - len(data), start + len(data))
        if not more:
            return None
        data += more
    return data


def decoded(chunk: int, row: ChunkRow, data: bytes) -> str:
    """Decode a chunk's text. LogError: the bytes do not fit its row."""
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8", "surrogatepass")
        if len(text) == row.end - row.start + row.overlap:
            return text
    raise _damaged(chunk)


def _damaged(chunk: int) -> LogError:
    message = f"the text of chunk {chunk} in the spool is damaged: run the job again with its documents"
    return LogError(message, reason="damaged")


class ChunkReader:
    """Reads chunks by id: one ``pread`` of the log for the row, one of the spool for the text. Safe from any thread.

    A chunk beyond the given table is looked for in the log: the table may have grown since.

    ``check``: compare each text with its digest (1.7 µs a KB), for a spool that has been on disk since an earlier run.
    """

    def __init__(
        self,
        folder: str,
        spool: str,
        table: Sequence[Sequence[int]],
        documents: Sequence[Sequence[int]],
        *,
        check: bool,
    ) -> None:
        self._check = check
        self.reader = LogReader(os.path.join(folder, "log"))
        self._spool = os.path.join(folder, spool)
        self._spool_fd = open_file(self._spool, os.O_RDONLY)
        self._table = ChunkTable(self.reader.fd, [Segment(*segment) for segment in table])
        self._paged = not any(Segment(*segment).round for segment in table)  # a later round's texts are on no page
        self._names = DocumentNames(self.reader, documents)
        # The headings read last. The tuple is replaced whole, never changed: all slots read it without a lock.
        self._above: tuple[bytes, Heads] = (NO_HEADS.digest, _NOTHING_ABOVE)
        self._growing = threading.Lock()
        self._scanned = self._table.scanned or codec.HEADER_BYTES

    def _row(self, chunk: int) -> ChunkRow:
        try:
            return self._table[chunk]
        except IndexError:
            with self._growing:
                self._take_in(chunk)
            return self._table[chunk]

    def _take_in(self, chunk: int) -> None:
        """Take in rows that were added to the map round's table, as far as those of a chunk."""
        # Compared again under the lock: another slot may have taken them in meanwhile. Thousands of outcomes stand
        # between two CHUNKS records; frames_of() skips their payloads.
        for frame in self.reader.frames_of(_ROWS, self._scanned) if chunk >= len(self._table) else ():
            self._scanned = frame.end
            if frame.kind == codec.DOCUMENTS:
                self._name(frame)
            else:
                segment = chunks_segment(frame.payload, frame.offset)
                if segment.round == 0 and segment.first == len(self._table):
                    self._table.grow(segment)
                    if chunk < len(self._table):
                        return

    def _name(self, frame: Frame) -> None:
        """Take in the names of new documents; a second record of a document adds nothing that is needed here."""
        first, rows, _ = packed_documents(frame.payload)
        if first >= len(self._names):
            self._names.grow(Batch(first, len(rows), frame.offset), rows)

    def read(self, chunk: int) -> TrackedChunk:
        """Make a chunk, whose text is read on first use. LogError: its row is damaged."""
        row = self._row(chunk)
        heads = self._heads_of(chunk, row) if row.context else _NOTHING_ABOVE
        document = self._names[row.document]
        if self._paged and not stands_in(row, document):  # both were vouched for by a CRC, and one of them is wrong
            message = f"the log has lost of which document chunk {chunk} is: run the job again with its documents"
            raise LogError(message, reason="damaged")
        facts = document.facts if self._paged or not document.facts else without_pages(document.facts)
        return TrackedChunk(chunk, document.id, row, self._text_of, heads, facts)

    def _heads_of(self, chunk: int, row: ChunkRow) -> Heads:
        places = self._table.heads(chunk, row)
        digest, heads = self._above
        if digest != places.digest:
            found = read_heads(places, self._read)
            if found is None:
                raise _damaged(chunk)
            self._above, heads = (places.digest, found), found
        return heads

    def _text_of(self, chunk: int, row: ChunkRow) -> str:
        return decoded(chunk, row, self.bytes_of(chunk, row))

    def bytes_of(self, chunk: int, row: ChunkRow) -> bytes:
        """A chunk's text in UTF-8, surrogatepass. LogError: it is damaged."""
        data = self._read(row.spool_from, row.spool_to)
        if data is None or (self._check and blake2b(data, digest_size=16).digest() != row.digest):
            raise _damaged(chunk)
        return data

    def _read(self, start: int, stop: int) -> bytes | None:
        """Read bytes of the spool; None: it is too short."""
        data = read_bytes(self._spool_fd, start, stop)
        # A resumed job writes a new spool, which takes the old one's name once all documents were compared.
        if data is None:
            with suppress(OSError), os.fdopen(open_file(self._spool, os.O_RDONLY), "rb") as file:
                os.dup2(file.fileno(), self._spool_fd, inheritable=False)  # at once, for all threads
            data = read_bytes(self._spool_fd, start, stop)
        return data

    def document_of(self, chunk: int) -> str:
        """The id of a chunk's document; "" where the log has lost it."""
        with suppress(LogError, IndexError):
            self._row(chunk)
        return document_of(self._table, self._names, chunk)

    def close(self) -> None:
        """Close both files."""
        self.reader.close()
        os.close(self._spool_fd)
