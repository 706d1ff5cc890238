"""Turns SOURCE arguments (paths, folders, URLs, "-") into documents, named after them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mrengine.errors import SourceError
from mrengine.records import Document
from mrengine.sources import Reading, Source, Unreadable, Url, read_folder, read_table
from mrengine.sources.jsonl import SUFFIXES, is_json_lines, numbered_lines, parse_line, read_jsonl
from mrengine.sources.urls import parse

__all__ = ["has_folder", "open_sources"]

SHOWN = 5
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def has_folder(sources: tuple[str, ...]) -> bool:
    """Whether any source is a folder."""
    return any(not _URL.match(source) and os.path.isdir(source) for source in sources)


def open_sources(
    sources: tuple[str, ...],
    *,
    each_line: bool = False,
    skip: bool = False,
    allow_private: bool = False,
    text: str | None = None,
    id_column: str | None = None,
) -> list[Document]:
    """A document for each source, and for each file of a folder.

    ``each_line``: one for each line that is not blank, "visits.jsonl:3". ``text``: one for each row of a table, whose
    text is in this column, "visits.csv:7". ``id_column``: the column, or the field of JSON Lines, whose value stands
    in ids instead of the number. ``skip``: sources that cannot be read are left out, unless none can.

    Raises SourceError, which names all that cannot be read; ConfigError; BadParameter: a source given twice.
    """
    for place, source in enumerate(sources):
        if source in sources[:place]:  # two documents would have one id
            raise click.BadParameter(f"{source} is given twice", param_hint="SOURCE")
    documents: list[Document] = []
    reading = Reading(skip=skip)
    for source in sources:
        earlier = len(reading.errors)
        with reading.opening():
            if text is not None:
                documents += _rows(source, text, id_column)
                continue
            if each_line and id_column is not None:
                documents += [Document(f"{source}:{row.id}", row.source) for row in read_jsonl(source, id=id_column)]
                continue
            opened = _open(source, allow_private=allow_private)
            documents += [line for document in opened for line in _lines(document)] if each_line else opened
        if skip:  # the run reports it, beside those that it cannot read itself
            documents += [Document(source, Unreadable(error)) for error in reading.errors[earlier:]]
    if reading.errors and not each_line and not skip:
        # Nothing will run anyway: find the other faults now, rather than one in each attempt of the user.
        for document in documents:
            reading.exhaust(Source(document.id, document.source))
    reading.check()
    return documents


def _open(source: str, *, allow_private: bool) -> list[Document]:
    if _URL.match(source):
        parse(source)  # a URL that the guard refuses by its text is reported now
        return [Document(source, Url(source, allow_private=allow_private))]
    if source == "-":
        if sys.stdin is None:  # "<&-"
            raise SourceError("stdin is closed: there is nothing to read from it", source="-")
        return [Document("stdin", sys.stdin.buffer.read())]
    path = Path(source)
    try:
        if path.is_dir():
            return [Document(f"{source.rstrip('/')}/{one.id}", one.source) for one in read_folder(path)]
        if not path.exists():
            raise SourceError(f"{source}: there is no such file", source=source)
        if not path.is_file():  # a pipe, as of the shell's <(command): it can be read only once
            return [Document(source, path.read_bytes())]
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise SourceError(f"cannot read {source}: {error.strerror or error}", source=source) from None
    return [Document(source, path)]


def _rows(source: str, text: str, id_column: str | None) -> Iterator[Document]:
    for row in read_table(source, text=text, id=id_column):
        yield Document(f"{source}:{row.id}", row.source, fields=row.fields)


def _lines(document: Document) -> Iterator[Document]:
    lines = list(numbered_lines(document.source, name=document.id))  # all, to be checked before the first is sent
    if is_json_lines(document.id, lines):
        _check_json(document.id, lines)
    for number, line in lines:
        yield Document(f"{document.id}:{number}", line)


def _check_json(name: str, lines: Iterable[tuple[int, str]]) -> None:
    """SourceError: broken lines of JSON Lines. A model would answer them as if they were whole."""
    strict = name.lower().endswith(SUFFIXES)  # otherwise only the first line said so, and others may be text
    faults = []
    for number, line in lines:
        try:
            if strict or line.lstrip().startswith("{"):
                parse_line(line, name=name, number=number)
        except SourceError as error:
            faults.append(error)
    if faults:
        more = f"; {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        shown = "; ".join(map(str, faults[:SHOWN]))
        raise SourceError(f"{shown}{more}", source=name, line=faults[0].line)
