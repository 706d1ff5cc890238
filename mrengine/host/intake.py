"""Reads the documents of a job into its spool: all at once, or one after another as they are asked for."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, SourceError
from mrengine.host.document_rows import DocumentRows
from mrengine.log.format.document_facts import pack_facts
from mrengine.log.format.job_records import DocumentRow, DocumentsDigest
from mrengine.log.view.chunk_facts import unread_of
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Epoch
from mrengine.private import make_private
from mrengine.sources import Reading, Source, documents_of
from mrengine.sources.opening import BLOCK
from mrengine.sources.spool import Spool, SpoolReader, sweep_spools, whole_surrogates

__all__ = [
    "Intake",
    "Opened",
    "Spooled",
    "check_documents",
    "is_read_once",
    "spool_all",
    "spool_documents",
    "spool_unnamed",
    "unread_before",
]

_SMALL_BYTES = 1 << 16  # a document up to here is given as a str, a larger one in pieces


class Opened:
    """A document that is being read. ``n_bytes``: how much of it is in the spool; ``given``: some of its chunks were
    handed out, so it cannot be left out any more.
    """

    def __init__(self, source: Source, offset: int, pieces: Iterator[str], errors: int) -> None:
        self.source, self.offset = source, offset
        self.pieces, self.errors = pieces, errors
        self.digest = blake2b(digest_size=16)
        self.n_bytes = self.n_chars = 0
        self.given = False
        self.row: DocumentRow | None = None  # None while it is read

    @property
    def provisional(self) -> DocumentRow:
        """Its row while it is open: without digest and length."""
        return DocumentRow(self.source.id, b"", self.offset, 0, 0, pack_facts(self.source.id, self.source.fields))


class Intake:
    """Reads documents into a spool, when they are asked for.

    ``rows``: documents that were read, and that nobody has taken yet; ``opened``: the one that is being read;
    ``ended``: all were read. ``stays(index, id)``: whether a document that breaks off is kept as far as it was read,
    though it could be left out. ``at_once``: raise the error of a source as soon as it fails, and not after the last
    source.
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
        """Read the next document. None: reading was due to stop in the middle of one (``opened``), a document is left
        out, or there are no more (``ended``).
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
            # Page marks are whole at the end only; what can be read once is kept whole before any of it is used.
            if not once and is_due() and not self.reading.pages:
                return None
        return opened.row

    def _small(self, source: Source) -> DocumentRow | None:
        """Take a short str, without the readers of sources; None: it is another kind of source."""
        # Jobs of a million short rows spend their time here: no generator, no loader, one digest.
        text = source.origin
        if type(text) is not str or len(text) > BLOCK:
            return None
        try:
            data = text.encode()
        except UnicodeEncodeError:  # lone surrogates take the long way, which joins halves of pairs
            return None
        self.reading.count_text()
        self.has_text = self.has_text or not (not text or text.isspace())
        offset = self.spool.write(data)
        digest = blake2b(data, digest_size=16).digest()
        facts = pack_facts(source.id, source.fields) if source.fields else b""
        return self._read(DocumentRow(source.id, digest, offset, len(data), len(text), facts))

    def _open(self, source: Source) -> None:
        pieces = whole_surrogates(self.reading.text(source))
        self.opened = Opened(source, self.spool.size, pieces, len(self.reading.errors))

    def read(self, opened: Opened) -> str | None:
        """Read the next piece of a document and append it to the spool. None: the document has ended."""
        piece = next(opened.pieces, None)
        if piece is None:
            self._end(opened)
            return None
        self.has_text = self.has_text or not (not piece or piece.isspace())
        data = piece.encode("utf-8", "surrogatepass")
        self.spool.write_part(data, opened.digest)
        opened.n_bytes += len(data)
        opened.n_chars += len(piece)
        return piece

    def _end(self, opened: Opened) -> None:
        self.opened, name = None, opened.source.id
        if len(self.reading.errors) > opened.errors:
            if self.at_once and not self._skip:
                raise _first(self.reading.errors[opened.errors])
            # Chunks that were handed out may be paid for: their document stays, as far as it came.
            if not opened.given and not (opened.n_bytes and self._skip and self.stays(self.count, name)):
                self.spool.take_back(opened.offset)
                return
            self.cut_short.append(name)
        self.spool.catch_up()
        facts = _facts(opened.source, self.reading.pages)
        row = DocumentRow(name, opened.digest.digest(), opened.offset, opened.n_bytes, opened.n_chars, facts)
        opened.row = self._read(row)

    def _read(self, row: DocumentRow) -> DocumentRow:
        self.count += 1
        name, identity, _, n_bytes, _, facts = row
        if facts:
            self.has_facts, identity = True, row.identity
        if not n_bytes:
            self.textless.append(name)
        self._digest.add(name, identity, n_bytes)
        return row

    def texts(self) -> Iterator[tuple[DocumentRow | Opened, Any]]:
        """Each document that nobody has taken, with its text as a str or in pieces: first those that were read
        already, then the others as they are read. A long document is yielded open, and read through its pieces.
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
        """A document that is read to its end before it is yielded."""
        # Its pages are known only then; and what can be read once must be kept before any of it is used.
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
        """Close the sources and the spool, and remove a spool that was not published."""
        close = getattr(self._sources, "close", None)
        if close is not None:
            close()
        self.spool.discard()


def _facts(source: Source, pages: Any) -> bytes:
    return pack_facts(source.id, source.fields, pages) if source.fields or pages else b""


def _first(error: SourceError) -> SourceError:
    message = f"{error}\n  reading ended there; on_source_error='skip' leaves such sources out"
    return SourceError(message, source=error.source, offset=error.offset, line=error.line, errors=(error,))


def is_read_once(origin: Any) -> bool:
    """Whether a source can be read only once: a pipe, a socket, a terminal."""
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
    except (OSError, ValueError):  # a closed file, for one: nothing says that it can be read again
        return True


UNNAMED = ".unnamed"  # beside the jobs, none of which can have such a name


@dataclass(frozen=True, slots=True)
class Spooled:
    """Documents that were read: the spool with their text, which is not published yet, and their rows for the log.

    ``blank``: no document has anything but blanks. ``unread``: the sources that were left out; ``unread_message``: the
    warning about them. ``warnings``: others for the caller.
    """

    spool: Spool
    rows: DocumentRows
    blank: bool
    unread: tuple[SourceError, ...] = ()
    unread_message: str = ""
    warnings: Sequence[str] = ()


def spool_documents(folder: Path, document: Any, *, skip: bool, optional: bool = False) -> Spooled:
    """Read all documents, once; see Spool for ``optional``. SourceError: some cannot be read.

    ``skip``: leave out what cannot be read.
    """
    return spool_all(Intake(folder, document, skip=skip, optional=optional))


def spool_all(intake: Intake, stored: ResumeEngine | None = None) -> Spooled:
    """Read all documents that are left. ``stored``: a log that may have the same. SourceError: some cannot be read."""
    reading, rows = intake.reading, DocumentRows(stored)
    try:
        while intake.rows or not intake.ended:
            row = intake.rows.popleft() if intake.rows else intake.next()
            if row is not None:
                rows.append(row)
        rows.summary, rows.has_facts, rows.textless = intake.summary, intake.has_facts, intake.textless
        reading.check()
        intake.spool.flush()
        unread_message = reading.unread_message() if reading.errors else ""
        return Spooled(intake.spool, rows, not intake.has_text, tuple(reading.errors), unread_message, reading.warnings)
    except BaseException:
        intake.discard()
        raise


def unread_before(epoch: Epoch) -> tuple[SourceError, ...]:
    """The sources that a job was begun without, from its log."""
    found = []
    for name, why in unread_of(epoch):
        found.append(SourceError(why, source=name))
        found[-1].document_id = name
    return tuple(found)


def spool_unnamed(jobs: Path, document: Any, *, skip: bool) -> Spooled:
    """Read the documents of a job whose name, and so its folder, is not known before; then ``spool.move()`` it there.

    Spools of hosts that were killed are swept; a spool that another host is writing is locked, and stays.
    """
    folder = jobs / UNNAMED
    make_private(folder)
    with suppress(OSError):  # a later run sweeps what is left
        sweep_spools(folder)
    return spool_documents(folder, document, skip=skip, optional=True)


def check_documents(documents: Spooled) -> None:
    """ConfigError: there is no document; SourceError: all are empty or blank."""
    rows = documents.rows
    if not rows:
        raise ConfigError("there is no document", setting="document")
    if documents.blank:
        what = f"the document {rows[0].id!r} is" if len(rows) == 1 else f"all {len(rows)} documents are"
        how = "blank" if any(row.n_bytes for row in rows) else "empty"
        raise SourceError(f"{what} {how}: there is nothing to run the map function on", source=rows[0].id)
