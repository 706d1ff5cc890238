"""Owns the kinds of text: which splitter a text gets, by name or by looking at its beginning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from mrengine.chunking.code import Code
from mrengine.chunking.custom import Custom
from mrengine.chunking.dicom import Dicom
from mrengine.chunking.markdown import Markdown
from mrengine.chunking.prose import Prose
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
    from mrengine.chunking.jsontext import Json

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

_SAMPLE = 8192
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_NUMBER = r"-?\d[\d.eE+-]*"
_JSON = re.compile(
    rf"\ufeff?\s*(?:\{{\s*(?:{_STRING}\s*:|\}})"
    rf"|\[\s*(?:[\[{{\]]|(?:{_STRING}|{_NUMBER}|true|false|null)\s*(?:,|\]\s*(?:\n|$))))"
)
_TAG = re.compile(r"^\ufeff?(?:.*\n){0,12}?[ \t]*\([0-9A-Fa-f]{4},[ ]?[0-9A-Fa-f]{4}\) ")
_MARKDOWN = re.compile(
    r"^(?:#{1,6}[ \t]+\S|[ \t]*(?:```|~~~)|[ \t]*[-*+][ \t]+\S|>[ \t]|\|.*\|[ \t]*$|=+[ \t]*$|.*\]\(\S)", re.MULTILINE
)
_HARD_MARKDOWN = re.compile(r"^(?:#{1,6}[ \t]+\S|[ \t]*(?:```|~~~))|\]\((?:https?:|/|#|\.)|\*\*\S", re.MULTILINE)
_CODE = re.compile(
    r"^(?:.*[;{}][ \t]*\r?$|[ \t]*(?:def|class|async def|for|while|if|elif|else|try|except|with)\b.*:[ \t]*\r?$"
    r"|(?:import|from|package|using|use|#include|#define|#!/|export|func|fn|pub|impl|module|require)\b.*$|#!/.*$"
    r"|[ \t]*(?:return|raise|yield|self\.|this\.|const|let|var|public|private|protected|static|end)\b.*$"
    r"|[ \t]*@?[A-Za-z_][\w.\[\]]*(?:\(.*\)|[ \t]*[+\-*/|&:]?=[ \t]*\S.*)[ \t]*\r?$|[ \t]+[)\]}]+,?[ \t]*$)",
    re.MULTILINE,
)
# Lines that are code wherever they stand at the left margin, but in a fenced block.
_SURELY_CODE = re.compile(
    r"^(?:import [\w.]+|from \S+ import |(?:async )?def \w+\(|class \w+.*[:{][ \t]*\r?$|#include|package [\w.]+;?[ \t]*\r?$"
    r"|using [\w.:]+;|func \w+|(?:pub )?fn \w+|(?:export )?(?:async )?function\*? \w+|(?:export )?(?:const|let|var) \w+ ?=)",
    re.MULTILINE,
)
_FENCED = re.compile(r"^[ \t]*```.*?(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_LINES = re.compile(r"^[^\n]*\S", re.MULTILINE)


def detect(text: str) -> str:
    """The kind of a text, from its beginning: "json", "dicom", "code", "markdown" or "prose"."""
    sample = text[:_SAMPLE]
    if sample.lstrip("\ufeff \t\r\n")[:1] in ("{", "[") and _JSON.match(sample):
        return "json"
    if "\n" not in sample:
        return "prose"
    if _TAG.match(sample):
        return "dicom"
    sample, fences = _FENCED.subn("", sample)
    if sample.startswith("#!/") or len(_SURELY_CODE.findall(sample)) > 1:
        return "code"
    lines = len(_LINES.findall(sample)) or 1
    code = len(_CODE.findall(sample))
    marks = len(_MARKDOWN.findall(sample))
    if code >= 3 and code > 0.3 * lines and code > marks + fences:
        return "code"
    hard = len(_HARD_MARKDOWN.findall(sample)) + 2 * fences
    if hard >= 2 or (hard and marks >= 3) or marks > 0.3 * lines:
        return "markdown"
    return "prose"
