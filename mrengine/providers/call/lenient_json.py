"""The JSON in a model's answer, whatever stands around it and however slightly it is broken.

Read, from the most faithful to the most lenient: the whole text; what a Markdown fence holds; the values in prose. Each
as it is, and mended: raw line breaks in strings, trailing commas, comments, and Python's True, False and None. What is
cut off, or is NaN, stays what it is: no JSON. A Python dict or list is read, too, where it is all there is.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from mrengine.providers.call.thoughts import without_thoughts

__all__ = ["json_in", "parse"]

_FENCE = re.compile(r"```[ \t]*(?:json[c5]?|JSON)?[ \t]*\n?(.*?)```", re.DOTALL)
_START = re.compile(r"[{\[]")
_MOST_STARTS = 64
_MOST_PYTHON = 100_000  # characters: its parser takes more memory than JSON's
# A string is matched first, so that nothing inside of one is touched.
_SLIPS = re.compile(
    r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*\n|/\*.*?\*/)*[}\]])|\b(?:True|False|None)\b', re.DOTALL
)
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def json_in(text: str) -> list[str]:
    """JSON texts that an answer may mean, the likeliest first, no two alike; none: it holds none."""
    return list(dict.fromkeys(_found(text)))


def parse(text: str) -> Any:
    """The value of a JSON text. ValueError: it is none. RecursionError: it is nested too deeply."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    """NaN and Infinity, which Python reads, are no JSON."""
    raise ValueError(name)


def _found(text: str) -> Iterator[str]:
    text = text.lstrip("\ufeff").strip()
    places = [text, without_thoughts(text)[1].strip().removeprefix("</think>").strip()]
    places += [match[1].strip() for match in _FENCE.finditer(places[1])]
    for place in places:
        if (whole := _mended(place)) is not None:
            yield whole
    yield from sorted(_values(places[1]), key=len, reverse=True)


def _mended(text: str) -> str | None:
    """The text as strict JSON; None: it is none, though mended."""
    for attempt in (text, _SLIPS.sub(_mend, text)):
        try:
            parse(attempt)
        except ValueError:
            continue
        except RecursionError:
            return None
        return attempt
    return _from_python(text)


def _from_python(text: str) -> str | None:
    """A dict or list as Python writes it, with single quotes."""
    if not text.startswith(("{", "[")) or len(text) > _MOST_PYTHON:
        return None
    try:
        shown = json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
        parse(shown)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return shown


def _mend(match: re.Match[str]) -> str:
    found = match[0]
    if not found.startswith('"'):
        return _PYTHON.get(found, "")
    return _CONTROL.sub(lambda raw: json.dumps(raw[0])[1:-1], found)


_CONTROL = re.compile(r"[\x00-\x1f]")


def _values(text: str) -> Iterator[str]:
    """Objects and arrays in prose, outermost ones."""
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_constant)
    at = 0
    for _ in range(_MOST_STARTS):
        start = _START.search(text, at)
        if start is None:
            return
        at = start.end()
        for shown in (text[start.start() :], _SLIPS.sub(_mend, text[start.start() :])):
            try:
                value, length = decoder.raw_decode(shown)
            except (ValueError, RecursionError):
                continue
            yield json.dumps(value, ensure_ascii=False)
            if len(shown) == len(text) - start.start():
                at = start.start() + length
            break
