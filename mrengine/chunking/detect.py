"""Owns the kinds of text: which splitter a text gets, by name or by looking at its beginning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from mrengine.chunking.splitters.code import Code
from mrengine.chunking.splitters.custom import Custom
from mrengine.chunking.splitters.dicom import Dicom
from mrengine.chunking.splitters.markdown import Markdown
from mrengine.chunking.splitters.prose import Prose
from mrengine.errors import ChunkingError

__all__ = ["Splitter", "SplitterChoice", "check", "choose", "detect"]

SplitterChoice = str | Callable[[str], object]


class Splitter(Protocol):
    """Where to cut. Offsets are characters of the window ``text``; one object serves one document."""

    @property
    def kind(self) -> str:
        """The kind of text, as chunks carry it."""

    def see(self, text: str, base: int) -> None:
        """Look at the window, which begins at ``base`` in the document, before it is cut."""

    def cut(self, text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
        """The best cut in ``start + 1 .. high``. ``fits(a, b)``: whether that span fits into a chunk."""

    def resume(self, text: str, low: int, start: int) -> int:
        """Where whole units begin that end at ``start``: the first such place in ``low .. start``."""


def _json(target: int) -> Splitter:
    from mrengine.chunking.splitters.json_text import Json

    return Json(target)


_KINDS: dict[str, Callable[[int], Splitter]] = {
    "prose": Prose,
    "markdown": Markdown,
    "code": Code,
    "json": _json,
    "dicom": Dicom,
}


def check(splitter: SplitterChoice) -> None:
    """ChunkingError for a splitter that is neither "auto", a known name nor a callable."""
    if not callable(splitter) and splitter != "auto" and splitter not in _KINDS:
        known = ", ".join(("auto", *_KINDS))
        raise ChunkingError(f"unknown splitter {splitter!r}: use one of {known}, or a callable", splitter=splitter)


def choose(splitter: SplitterChoice, target: int, blocks: Iterator[str]) -> tuple[Splitter, Iterator[str]]:
    """The splitter for a document, and its blocks (again, where they were looked at)."""
    if callable(splitter):
        text = "".join(blocks)
        return Custom(target, text, splitter), iter((text,))
    first = next(blocks, "")
    name = detect(first) if splitter == "auto" else splitter
    return _KINDS[name](target), chain((first,), blocks)


# Detection -------------------------------------------------------------------------------------------------------

_SAMPLE = 3000  # characters are looked at, at three places each
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_NUMBER = r"-?\d[\d.eE+-]*"
_JSON = re.compile(
    rf"\ufeff?\s*(?:\{{\s*(?:{_STRING}\s*:|\}})"
    rf"|\[\s*(?:[\[{{\]]|(?:{_STRING}|{_NUMBER}|true|false|null)\s*(?:,|\]\s*(?:\n|$))))"
)
_TAG = re.compile(r"^\ufeff?(?:.*\n){0,12}?[ \t]*\([0-9A-Fa-f]{4},[ ]?[0-9A-Fa-f]{4}\) ")
_FENCE = re.compile(r"\n {0,3}(?:```|~~~)")
_HEADING = re.compile(r"#{1,6}\s+\S")
_ITEM = re.compile(r"[-*+>]\s+\S|\|.*\|$|=+$|-+$")
# At the left margin these are code, whatever the rest is.
_SURELY_CODE = re.compile(
    r"import [\w.]+|from \S+ import |(?:async )?def \w+\(|class \w+.*[:{]$|#include|package [\w.]+;?$|using [\w.:]+;"
    r"|func \w+|(?:pub )?fn \w+|(?:export )?(?:async )?function\*? \w+|(?:export )?(?:const|let|var) \w+ ?="
)
_CODE = re.compile(
    r".*[;{}]$|/\*|//|\*/|(?:def|class|async def|for|while|if|elif|else|try|except|with)\b.*:$"
    r"|(?:return|raise|yield|self\.|this\.|const|let|var|public|private|protected|static|end)\b|#!/|@\w|[)\]}]+,?$"
    r"|[A-Za-z_][\w.\[\]]*(?:\(.*\)$|[ \t]*[+\-*/|&:]?=[ \t]*\S)"
)


def detect(text: str) -> str:
    """The kind of a text, from samples of its first block: "json", "dicom", "code", "markdown" or "prose"."""
    start = text[:_SAMPLE]
    if start.lstrip("\ufeff \t\r\n")[:1] in ("{", "[") and _JSON.match(start):
        return "json"
    if "\n" not in start:
        return "prose"
    if "(" in start and _TAG.match(start):
        return "dicom"
    parts = _FENCE.split("\n" + text)  # every other one lies in a fenced block
    fences = len(parts) // 2
    return _by_lines(_samples("\n".join(parts[::2]) if fences else text), fences)


def _samples(text: str) -> list[str]:
    """Lines from three places of a text; fewer of a short one, which is soon cut."""
    size = min(max(1000, len(text) // 16), _SAMPLE)
    lines = text[:size].split("\n")
    for place in (len(text) // 3, len(text) * 2 // 3):
        if place > size:
            lines += text[place : place + size].split("\n")[1:-1]
    return lines


def _by_lines(lines: list[str], fences: int) -> str:
    """Code, Markdown or prose: by how many lines look like it."""
    said = code = surely_code = marks = headings = links = 0
    for line in lines:
        body = line.strip()
        if body:
            said += 1
            surely_code += _SURELY_CODE.match(line) is not None
            headings += body[0] == "#" and _HEADING.match(line) is not None
            marks += _ITEM.match(body) is not None
            code += _CODE.match(body) is not None
            links += "](" in body or "**" in body
    if lines[0].startswith("#!/") or surely_code > 1:
        return "code"
    if code >= 3 and code > 0.3 * said and code > marks + headings + 2 * fences:
        return "code"
    hard = headings + links + 2 * fences
    if hard >= 2 or (hard and marks >= 3) or marks + headings > 0.3 * said:
        return "markdown"
    return "prose"
