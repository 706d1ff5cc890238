"""Reads the documents of a job one after another into its spool, as far as somebody asks for them."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mrengine.errors import SourceError
from mrengine.log.format.document_facts import pack_facts
from mrengine.log.format.job_records import DocumentRow, DocumentsDigest
from mrengine.sources import Reading, Source, Spool, documents_of
from mrengine.sources.opening import BLOCK
from mrengine.sources.spool import SpoolReader, whole_surrogates

__all__ = ["Intake", "Opened", "is_read_once"]

_SMALL_BYTES = 1 << 16


class Opened:
    """A document that is being read. ``n_bytes``: of it that are in the spool; ``given``: chunks of it were given out,
    so that it cannot be left out any more.
    """

    def __init__(self, source: Source, offset: int, pieces: Iterator[str], errors: int) -> None:
        self.source, self.offset = source, offset
        self.pieces, self.errors = pieces, errors
        self.digest = blake2b(digest_size=16)
        self.n_bytes = self.n_chars = 0
        self.given = False
        self.row: DocumentRow | None = None  # once it was read

    @property
    def provisional(self) -> DocumentRow:
        """What is known of it while it is read."""
        return DocumentRow(self.source.id, b"", self.offset, 0, 0, pack_facts(self.source.id, self.source.fields))


class Intake:
    """``rows``: documents that were read, and that nobody has taken yet; ``opened``: the one that is being read.

    ``ended``: all were read. ``stays(index, id)``: whether a document that breaks off stays as far as it was read,
    though it could be left out. ``at_once``: a source that cannot be read, and may not be left out, is an error there
    and then, and not after the last one.
    """

    def __init__(self, folder: Path, document: Any, *, skip: bool, optional: bool = False) -> None:
        self.spool = Spool(folder, optional=optional)
        self.reading = Reading(skip=skip)
        self._skip = skip
        self._sources = documents_of(document)
        self.rows: deque[DocumentRow] = deque()
        self.opened: Opened | None = None
        self.ended = self.has_text = self.has_facts = self.at_once = False
        self.stays: Callable[[int, str], bool] = lambda index, name: False
        self.cut_short: list[str] = []  # ids of documents that stay though they broke off
        self.textless: list[str] = []  # ids of documents without text
        self._digest = DocumentsDigest()
        self.count = 0  # documents that were read

    def advance(self, is_due: Callable[[], bool] = lambda: False) -> bool:
        """Read on until it ``is_due``, in the middle of a long document if need be; whether all has been read."""
        while not self.ended and not is_due():
            row = self.next(is_due)
            if row is not None:
                self.rows.append(row)
        return self.ended

    def next(self, is_due: Callable[[], bool] = lambda: False) -> DocumentRow | None:
        """Read the next document. None: it was due in the middle of it (``opened``), it is left out, or none is left
        (``ended``).
        """
        if self.opened is None:
            source = next(self._sources, None)
            if source is None:
                self.ended = True
                return None
            row = self._small(source)
            if row is not None:
                return row
            self._open(source)
        opened = self.opened
        assert opened is not None
        once = is_read_once(opened.source.origin)
        while self.read(opened) is not None:
            if not once and is_due() and not self.reading.pages:
                return None
        return opened.row

    def _small(self, source: Source) -> DocumentRow | None:
        """A short text, which needs no reading."""
        text = source.origin
        if type(text) is not str or len(text) > BLOCK:
            return None
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return None
        self.reading.given()
        self.has_text = self.has_text or not (not text or text.isspace())
        offset = self.spool.write(data)
        digest = blake2b(data, digest_size=16).digest()
        return self._read(DocumentRow(source.id, digest, offset, len(data), len(text), _facts(source, ())))

    def _open(self, source: Source) -> None:
        pieces = whole_surrogates(self.reading.text(source))
        self.opened = Opened(source, self.spool.size, pieces, len(self.reading.errors))

    def read(self, opened: Opened) -> str | None:
        """The next piece of a document, which is in the spool then. None: that was the end of it."""
        piece = next(opened.pieces, None)
        if piece is None:
            self._end(opened)
            return None
        self.has_text = self.has_text or not (not piece or piece.isspace())
        data = piece.encode("utf-8", "surrogatepass")
        self.spool.write(data)
        opened.digest.update(data)
        opened.n_bytes += len(data)
        opened.n_chars += len(piece)
        return piece

    def _end(self, opened: Opened) -> None:
        self.opened, name = None, opened.source.id
        if len(self.reading.errors) > opened.errors:
            if self.at_once and not self._skip:
                raise _first(self.reading.errors[opened.errors])
            if not opened.given and not (opened.n_bytes and self._skip and self.stays(self.count, name)):
                self.spool.take_back(opened.offset)
                return
            self.cut_short.append(name)
        facts = _facts(opened.source, self.reading.pages)
        row = DocumentRow(name, opened.digest.digest(), opened.offset, opened.n_bytes, opened.n_chars, facts)
        opened.row = self._read(row)

    def _read(self, row: DocumentRow) -> DocumentRow:
        self.count += 1
        self.has_facts = self.has_facts or bool(row.facts)
        if not row.n_bytes:
            self.textless.append(row.id)
        self._digest.add(row.id, row.identity, row.n_bytes)
        return row

    def texts(self) -> Iterator[tuple[DocumentRow | Opened, Any]]:
        """Each document that nobody has taken, with its text, a str or pieces: first those that were read, then the
        others as they are read. A long one comes while it is read.
        """
        self.spool.flush()
        with SpoolReader(self.spool.path) as reader:
            while self.rows:
                row = self.rows.popleft()
                pieces = reader.pieces(row.spool_offset, row.n_bytes)
                yield row, "".join(pieces) if row.n_bytes <= _SMALL_BYTES else pieces
            if self.opened is not None:
                opened = self.opened
                if self.reading.pages or is_read_once(opened.source.origin):
                    yield from self._whole(opened, reader)
                else:
                    yield opened, self._pieces(opened, reader)
            yield from self._further(reader)

    def _further(self, reader: SpoolReader) -> Iterator[tuple[DocumentRow | Opened, Any]]:
        for source in self._sources:
            row = self._small(source)
            if row is not None:
                yield row, source.origin
                continue
            self._open(source)
            opened = self.opened
            assert opened is not None
            first = self.read(opened)
            if is_read_once(source.origin) or self.reading.pages or first is None:
                yield from self._whole(opened, reader)
            else:
                yield opened, self._pieces(opened, reader)
        self.ended = True

    def _whole(self, opened: Opened, reader: SpoolReader) -> Iterator[tuple[DocumentRow, Any]]:
        """Read to its end first: its pages are known then; what can be read once must be durable before it is used."""
        while self.opened is opened and self.read(opened) is not None:
            pass
        self.spool.flush()
        if opened.row is not None:
            pieces = reader.pieces(opened.offset, opened.row.n_bytes)
            yield opened.row, "".join(pieces) if opened.row.n_bytes <= _SMALL_BYTES else pieces

    def _pieces(self, opened: Opened, reader: SpoolReader) -> Iterator[str]:
        self.spool.flush()
        yield from reader.pieces(opened.offset, opened.n_bytes)
        while (piece := self.read(opened)) is not None:
            yield piece

    @property
    def summary(self) -> tuple[int, int, bytes]:
        """(count, bytes, digest) of all documents so far."""
        return self._digest.summary()

    def discard(self) -> None:
        """Close the sources and the spool; it goes, if it has no place yet."""
        close = getattr(self._sources, "close", None)
        if close is not None:
            close()
        self.spool.discard()


def _facts(source: Source, pages: Any) -> bytes:
    return pack_facts(source.id, source.fields, pages) if source.fields or pages else b""


def _first(error: SourceError) -> SourceError:
    told = f"{error}\n  reading ended there; on_source_error='skip' leaves such sources out"
    return SourceError(told, source=error.source, offset=error.offset, line=error.line, errors=(error,))


def is_read_once(origin: Any) -> bool:
    """Whether a source gives its bytes once: a pipe, a socket, a terminal."""
    if isinstance(origin, os.PathLike):
        try:
            mode = os.stat(origin).st_mode
        except OSError:
            return False
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))
    if not hasattr(origin, "read"):
        return False
    seekable = getattr(origin, "seekable", None)
    try:
        return not (callable(seekable) and seekable())
    except (OSError, ValueError):
        return True
