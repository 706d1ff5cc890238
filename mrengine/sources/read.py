"""Owns what a job's documents are, and their ids. A str is always text, never a path."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mrengine.chunking.text_blocks import blocks
from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document

__all__ = ["Source", "documents_of", "read_jsonl", "read_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """One document to be read: its id and what to read it from."""

    id: str
    origin: Any


def documents_of(document: Any) -> Iterator[Source]:
    """The documents of a job: a str, Path, bytes, file object or Document is one; any other iterable is many.

    Without an id of its own a document is named by its path, or by its place: "0", "1", …; a single one "document".
    """
    if _is_one(document):
        yield _named(document, "document")
        return
    if isinstance(document, (Mapping, set, frozenset)):
        raise ConfigError(
            f"a {type(document).__name__} is no row of documents: give a list, of Document(id, source) where they "
            "have names",
            setting="document",
        )
    if not isinstance(document, Iterable):
        raise ConfigError(
            f"a document is a str, Path, bytes, file object, Document, or an iterable of these, not "
            f"{type(document).__name__}",
            setting="document",
        )
    seen: set[str] = set()
    for place, item in enumerate(document):
        if not _is_one(item):
            raise ConfigError(
                f"document {place} is a {type(item).__name__}: each is a str, Path, bytes, file object or Document",
                setting="document",
            )
        source = _named(item, str(place))
        if source.id in seen:
            raise ConfigError(
                f"two documents have the id {source.id!r}: give each an id of its own", setting="document"
            )
        seen.add(source.id)
        yield source


def _is_one(item: Any) -> bool:
    return isinstance(item, (str, bytes, bytearray, memoryview, os.PathLike, Document)) or hasattr(item, "read")


def _named(item: Any, default: str) -> Source:
    if isinstance(item, Document):
        name: Any = item.id
        if not isinstance(name, str) or not name:
            raise ConfigError("a document's id is a str that is not empty", setting="document")
        return Source(item.id, item.source)
    if isinstance(item, os.PathLike):
        return Source(os.fspath(item) if isinstance(os.fspath(item), str) else os.fsdecode(os.fspath(item)), item)
    return Source(default, item)


def read_source(origin: Any, *, name: str = "document") -> Iterator[str]:
    """The text of one document, in pieces. Bytes are UTF-8, a byte order mark is part of the text; a DICOM file is the
    dump of its metadata. ``name``: what errors call a source that has no name of its own.
    """
    if isinstance(origin, Document) or not _is_one(origin):
        raise ConfigError(f"{name} cannot be read: it is a {type(origin).__name__}", setting="document")
    return blocks(origin, name=name)


def read_jsonl(path: str | os.PathLike[str], *, id: str | None = None, text: str | None = None) -> Iterator[Document]:
    """A JSON Lines file as documents, one a line: ``id`` and ``text`` name the fields; without ``text``, the line
    itself.
    """
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line) if id or text else {}
                name = str(record[id]) if id else str(number)
                yield Document(name, record[text] if text else line)
            except (ValueError, KeyError, TypeError) as error:
                raise SourceError(
                    f"{os.fspath(path)}, line {number}: {type(error).__name__}; it needs the fields "
                    f"{', '.join(repr(f) for f in (id, text) if f)}",
                    source=os.fspath(path),
                ) from None
