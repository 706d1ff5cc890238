"""Finds the JSON in a model's answer, whatever stands around it, even if it is slightly broken.

It reads, from the most faithful to the most lenient: the whole text, Markdown fences, values within prose; each as it
is, then mended: raw line breaks in strings, trailing commas, comments, Python's True, False and None. Text that is cut
off, and NaN, remain no JSON. A Python dict or list is read if it is the whole text or fence.
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
_MOST_STARTS = 64  # braces that are tried: a long answer in prose may have thousands
_MOST_PYTHON = 100_000  # characters: Python's parser takes more memory than JSON's
# Strings are matched first, so that nothing inside of one is touched.
_SLIPS = re.compile(
    r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*\n|/\*.*?\*/)*[}\]])|\b(?:True|False|None)\b', re.DOTALL
)
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_CONTROL = re.compile(r"[\x00-\x1f]")


def json_in(text: str) -> list[str]:
    """The JSON texts that an answer may mean, the likeliest first, no two alike."""
    return list(dict.fromkeys(_candidates(text)))


def parse(text: str) -> Any:
    """The value of a JSON text. ValueError: it is none. RecursionError: it is nested too deeply."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def _candidates(text: str) -> Iterator[str]:
    text = text.lstrip("\ufeff").strip()
    answer = without_thoughts(text)[1].strip().removeprefix("</think>").strip()
    for place in (text, answer, *(match[1].strip() for match in _FENCE.finditer(answer))):
        if (whole := _mended(place)) is not None:
            yield whole
    yield from sorted(_values(answer), key=len, reverse=True)


def _mended(text: str) -> str | None:
    """The text as strict JSON; None: even mended it is none."""
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
    slip = match[0]
    if not slip.startswith('"'):
        return _PYTHON.get(slip, "")
    return _CONTROL.sub(lambda raw: json.dumps(raw[0])[1:-1], slip)


def _values(text: str) -> Iterator[str]:
    """The outermost objects and arrays within prose."""
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
            if len(shown) == len(text) - start.start():  # mending that changed lengths has lost the place in the text
                at = start.start() + length
            break
