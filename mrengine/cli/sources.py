"""Owns what SOURCE means: paths and "-" become documents, named by their paths."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document
from mrengine.sources import read_source

__all__ = ["open_sources"]


def open_sources(sources: tuple[str, ...], *, each_line: bool = False) -> list[Document]:
    """A document for each source; with ``each_line``, for each of its lines that is not blank: "visits.jsonl:3".

    SourceError, ConfigError, BadParameter: a source given twice.
    """
    documents: list[Document] = []
    for place, source in enumerate(sources):
        if source in sources[:place]:
            raise click.BadParameter(f"{source} is given twice", param_hint="SOURCE")
        document = _open(source)
        documents += _lines(document) if each_line else [document]
    return documents


def _open(source: str) -> Document:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        raise ConfigError(f"{source}: URLs are not fetched yet; save the page and give its path", setting="SOURCE")
    if source == "-":
        if sys.stdin is None:  # "<&-"
            raise SourceError("stdin is closed: there is nothing to read from it", source="-")
        return Document("stdin", sys.stdin.buffer.read())
    path = Path(source)
    if path.is_dir():
        raise SourceError(f"{source} is a folder: name the files in it", source=source)
    if not path.exists():
        raise SourceError(f"{source}: there is no such file", source=source)
    if not path.is_file():  # a pipe, as of the shell's <(command): it can be read only once
        return Document(source, path.read_bytes())
    return Document(source, path)


def _lines(document: Document) -> Iterator[Document]:
    """Lines end with a line feed and nothing else: JSON strings may hold all the other separators that Unicode has."""
    text = "".join(read_source(document.source, name=document.id))
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Document(f"{document.id}:{number}", line.removesuffix("\r"))
