"""Turns whatever the caller gives, or a folder, into documents with ids. A str is always text, never a path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document
from mrengine.sources.encodings import check_encoding
from mrengine.sources.loaders import Notes
from mrengine.sources.opening import File, blocks
from mrengine.sources.seen_ids import SeenIds
from mrengine.sources.urls import Url

__all__ = ["Reading", "Source", "Unreadable", "documents_of", "is_one", "read_folder", "read_source"]


LONGEST_ID = 4096  # characters: a path fits
_USUAL = frozenset({str, Document})  # what most documents are: quick to see


class Source(NamedTuple):
    """One document to be read: its id, what to read it from, and the caller's fields for it."""

    # A frozen dataclass takes longer to create, and there is one for each row of a table.

    id: str
    origin: Any
    fields: Mapping[str, Any] | None = None


class Unreadable:
    """A file object in place of a source that could not be opened: reading it raises the error."""

    def __init__(self, error: SourceError) -> None:
        self._error = error

    def read(self, _size: int = -1) -> str:
        """SourceError."""
        raise self._error


def documents_of(document: Any) -> Iterator[Source]:
    """The documents of a job: a str, Path, bytes, file object or Document is one; any other iterable is many.

    A document without an id is named by its path, or by its place: "0", "1", …; a single one "document".
    """
    if is_one(document):
        yield _source_of(document, "document")
        return
    if isinstance(document, (Mapping, set, frozenset)):  # iterables, whose keys or random order nobody means
        raise ConfigError(
            f"a {type(document).__name__} cannot be the documents of a job: give a list of Document(id, source)"
            + (", as [Document(id, text) for id, text in documents.items()]" if isinstance(document, Mapping) else ""),
            setting="document",
        )
    if not isinstance(document, Iterable):
        raise ConfigError(
            f"a document is a str, Path, bytes, file object, Document, or an iterable of these, not "
            f"{type(document).__name__}",
            setting="document",
        )
    ids = SeenIds()
    for place, item in enumerate(document):
        if type(item) not in _USUAL and not is_one(item):
            raise ConfigError(
                f"document {place} is of type {type(item).__name__}: each is a str, Path, bytes, file object or "
                f"Document{_meant(item)}",
                setting="document",
            )
        source = _source_of(item, str(place))
        if (same := ids.add(source.id)) is not None:
            # Of many ids only digests are kept: a repetition is found later, when the id itself is gone.
            raise _have_one_id(*same, f" {source.id!r}" if same[1] == place else "")
        yield source
    if (same := ids.end()) is not None:
        raise _have_one_id(*same)


def _have_one_id(first: int, second: int, name: str = "") -> ConfigError:
    message = f"documents {first} and {second} have the {'id' if name else 'same id'}{name}: ids must differ"
    return ConfigError(message, setting="document")


def _meant(item: Any) -> str:
    if isinstance(item, tuple) and len(item) == 2:
        return ", which has an id: Document(id, text)"
    return ". Give one flat list" if isinstance(item, (list, tuple)) else ""


def is_one(item: Any) -> bool:
    """Whether a value is one document, rather than many."""
    if type(item) in _USUAL:
        return True
    kinds = (str, bytes, bytearray, memoryview, os.PathLike, Document, Url, File)
    return isinstance(item, kinds) or hasattr(item, "read")


def _source_of(item: Any, default: str) -> Source:
    if type(item) is str:
        return Source(default, item)
    if isinstance(item, Document):
        name: Any = item.id  # Any: callers need not check their types
        if not isinstance(name, str) or not name:
            raise ConfigError("a document's id is a str that is not empty", setting="document")
        if len(name) > LONGEST_ID:
            message = f"a document's id has at most {LONGEST_ID} characters, not {len(name)}: is the text in its place?"
            raise ConfigError(message, setting="document")
        fields: Any = item.fields
        if fields is not None and not isinstance(fields, Mapping):
            message = f"a document's fields are a dict, not of type {type(fields).__name__}"
            raise ConfigError(message, setting="fields")
        return Source(name, item.source, fields)
    if isinstance(item, os.PathLike):
        return Source(os.fspath(item) if isinstance(os.fspath(item), str) else os.fsdecode(os.fspath(item)), item)
    if isinstance(item, Url):
        return Source(item.url, item)
    return Source(default, item)


def read_source(origin: Any, *, name: str = "document") -> Iterator[str]:
    """The text of one document, in pieces: a str itself, or what a Path, Url, bytes or file object holds.

    Text is decoded by its byte order mark, as UTF-8, or as what it looks like, with a warning in the log. Text is
    extracted from PDF, HTML, DOCX, PPTX, XLSX, Parquet and DICOM, also packed with gzip or zstd. ``name``: what errors
    call a source without a name.

    Raises SourceError: it cannot be read, or is binary (the message says what it is and how to convert it); UrlRefused;
    MissingExtra.
    """
    _check_one(origin, name)
    return blocks(origin, name=name)


def _check_one(origin: Any, name: str) -> None:
    if isinstance(origin, Document) or not is_one(origin):
        raise ConfigError(f"{name} cannot be read: it is of type {type(origin).__name__}", setting="document")


def read_folder(path: str | os.PathLike[str], *, glob: str = "**/*", encoding: str | None = None) -> Iterator[Document]:
    """The files of a folder, of any kind, as documents of one job; their ids are their paths below it.

    They come in the order of these paths, without hidden files and folders, links that lead out of the folder, and
    empty files. ``encoding``: of those that are text, where it is known. A file that cannot be read is a failure of
    that file alone. SourceError: there is no such folder, or ``glob`` matches no file in it.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"read_folder takes a path, not an object of type {type(path).__name__}", setting="path")
    folder, codec = Path(path), check_encoding(encoding)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SourceError(f"{folder} {what}", source=str(folder))
    try:
        # Sorted, as folders are listed in any order: a job resumes only with the same documents in the same order.
        entries = sorted((entry.relative_to(folder).as_posix(), entry) for entry in folder.glob(glob))
    except (ValueError, NotImplementedError, IndexError) as error:
        # pathlib raises these for an empty pattern, an absolute one, and ".".
        raise ConfigError(f"glob={glob!r}: {error}", setting="glob") from None
    files = [(name, entry) for name, entry in entries if _is_document(folder, name, entry)]
    if not files:
        raise SourceError(f"{folder} has no file that {glob!r} matches", source=str(folder))
    return (Document(name, File(entry, codec)) for name, entry in files)


def _is_document(folder: Path, name: str, entry: Path) -> bool:
    if any(part.startswith((".", "~$")) for part in name.split("/")):  # "~$": the lock file of an open Office file
        return False
    try:
        inside = not entry.is_symlink() or entry.resolve().is_relative_to(folder.resolve())
        return entry.is_file() and inside and entry.stat().st_size > 0
    except OSError:
        return False


class Reading:
    """Reads sources one after another, and names all that cannot be read, rather than the first alone.

    ``skip``: some may be left out, but not all; ``errors`` has theirs. ``pages``: the page marks of the document that
    was read last; ``warnings``: for the user.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.errors: list[SourceError] = []
        self.pages: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self._skip = skip
        self._sources = 0

    @contextmanager
    def opening(self, document_id: str | None = None) -> Iterator[None]:
        """Keep the SourceError of one source, which ``check()`` raises after the last one."""
        self._sources += 1
        try:
            yield
        except SourceError as error:
            error.document_id = document_id
            self.errors.append(error)

    def text(self, source: Source) -> Iterator[str]:
        """The pieces of one document; ``check()`` reports its SourceError."""
        with self.opening(source.id):
            notes = Notes()
            self.pages = notes.pages
            _check_one(source.origin, source.id)
            yield from blocks(source.origin, name=source.id, notes=notes)
            self.warnings += notes.warnings

    def count_text(self) -> None:
        """Count a source that was text already."""
        self._sources += 1

    def exhaust(self, source: Source) -> None:
        """Read a source that ``opening()`` has counted, only to find its faults."""
        self._sources -= 1
        for _ in self.text(source):
            pass

    def unread_message(self) -> str:
        """A line that counts the sources that cannot be read, then a line for each."""
        lines = "".join(f"\n  {error}" for error in self.errors)
        return f"{len(self.errors)} of {self._sources} sources cannot be read:{lines}"

    def check(self) -> None:
        """SourceError: some sources could not be read and may not be left out; its ``errors`` has one for each."""
        if self._skip and len(self.errors) < self._sources:
            return
        if self._sources == 1 and self.errors:
            raise self.errors[0]
        if self.errors:
            first, some = self.errors[0], len(self.errors) < self._sources
            message = self.unread_message() + "\n  on_source_error='skip' leaves them out" * (some and not self._skip)
            raise SourceError(message, source=first.source, offset=first.offset, line=first.line, errors=self.errors)
