"""Reads files line by line: numbered lines, and JSON Lines, whose errors name path and line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document
from mrengine.sources.opening import whole_lines
from mrengine.sources.read import read_source

__all__ = ["SUFFIXES", "is_json_lines", "numbered_lines", "parse_line", "read_jsonl"]

SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
BEGINS = ("{", "[")


def numbered_lines(origin: Any, *, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a source that are not blank, with their numbers; 1 is the first. SourceError.

    Byte order mark and CR of CRLF are dropped.
    """
    for number, whole in enumerate(whole_lines(read_source(origin, name=name)), 1):
        line = whole.removesuffix("\n").removesuffix("\r")
        if number == 1:
            line = line.removeprefix("\ufeff")
        if line.strip():
            yield number, line


def is_json_lines(name: str, lines: list[tuple[int, str]]) -> bool:
    """Whether the lines of a source are meant as JSON: by its suffix, or because the first line is a JSON object.

    A .jsonl file in which no line looks like JSON is read as lines of text.
    """
    if name.lower().endswith(SUFFIXES):
        return any(line.lstrip().startswith(BEGINS) for _, line in lines)
    try:
        return bool(lines) and lines[0][1].lstrip().startswith("{") and isinstance(_loads(lines[0][1]), dict)
    except ValueError:
        return False


def parse_line(line: str, *, name: str, number: int) -> Any:
    """The value of a line of JSON Lines. SourceError with path and line, without a word of its text."""
    try:
        return _loads(line)
    except ValueError as error:
        raise _at(name, number, f"not JSON ({error})") from None


def _loads(line: str) -> Any:
    """The value of some JSON. ValueError, whose message quotes nothing of it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:  # of int(), for more digits than Python converts
        raise ValueError("a number that is too long") from None


def read_jsonl(path: str | os.PathLike[str], *, id: str | None = None, text: str | None = None) -> Iterator[Document]:
    """A JSON Lines file as documents, one a line. ``id`` and ``text`` name the fields to take; by default a document is
    the line itself, and its id the line's number. Raises SourceError, with path and line: a line is no JSON, lacks a
    field, or has an id that an earlier one had.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"read_jsonl takes a path, not an object of type {type(path).__name__}", setting="path")
    name = os.fspath(path)
    line_of: dict[str, int] = {}
    for number, line in numbered_lines(Path(name), name=name):
        record = parse_line(line, name=name, number=number)
        fields = _Fields(record, lambda what, number=number: _at(name, number, what))  # type: ignore[misc]
        document_id = str(number) if id is None else fields.id(id)
        if (earlier := line_of.setdefault(document_id, number)) != number:
            raise _at(name, number, f"the id {document_id!r} is that of line {earlier}, too; ids must differ")
        yield Document(document_id, line if text is None else fields.text(text))


class _Fields:
    """The fields of one record; ``fault`` makes the error of its line."""

    def __init__(self, record: Any, fault: Callable[[str], SourceError]) -> None:
        self._record, self._fault = record, fault

    def _get(self, field: str) -> Any:
        if not isinstance(self._record, dict):
            raise self._fault(f"it is {_json_type(self._record)} and no object, so it has no field {field!r}")
        if field not in self._record:
            raise self._fault(f"it has no field {field!r}")
        return self._record[field]

    def id(self, field: str) -> str:
        """A string that is not empty, or a number as one."""
        value = self._get(field)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            kind = "empty" if value == "" else _json_type(value)
            raise self._fault(f"the id in {field!r} is {kind}: it must be a string or a number")
        return str(value)

    def text(self, field: str) -> str:
        """A string."""
        value = self._get(field)
        if not isinstance(value, str):
            raise self._fault(f"the text in {field!r} is {_json_type(value)}: it must be a string")
        return value


def _json_type(value: Any) -> str:
    """The name of a value's type in JSON."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    names = {"dict": "an object", "list": "a list", "str": "a string"}
    return names.get(type(value).__name__, "a number")


def _at(name: str, number: int, what: str) -> SourceError:
    return SourceError(f"{name}, line {number}: {what}", source=name, line=number)
