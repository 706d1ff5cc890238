"""Picks the splitter for a text: by name, or by looking at its first block.

To add a kind: a module with its ``Kind`` and a ``looks(sample)``, a line in ``_KINDS`` here, and a number for logs in
``mrengine.log.format.chunk_rows``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol

from mrengine.chunking.boundaries import Context, Kind
from mrengine.chunking.cutter import Cutter, Fits
from mrengine.chunking.sample import GAP, Sample, sampled
from mrengine.chunking.splitters import (
    chat,
    code,
    codelooks,
    csvtext,
    dicom,
    diff,
    hl7,
    html,
    log,
    markdown,
    markdownlooks,
    prose,
    sql,
    subtitles,
    xml,
    yamltext,
)
from mrengine.chunking.splitters.custom import Custom
from mrengine.chunking.splitters.tags import MarkupCutter
from mrengine.errors import ChunkingError

__all__ = ["Splitter", "SplitterChoice", "check", "choose", "detect"]

SplitterChoice = str | Callable[[str], object]

_RECORDS = ("csv", "log", "yaml", "xml", "html", "chat", "diff", "sql", "hl7", "subtitles")


class Splitter(Protocol):
    """Where to cut. Offsets are characters of the window ``text``; one object serves one document.

    Nearly every kind of text has a ``Cutter`` for a splitter.
    """

    @property
    def kind(self) -> str:
        """The kind of text, as chunks carry it."""

    def see(self, text: str, base: int) -> None:
        """Look at the window, which begins at ``base`` in the document, before it is cut."""

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """The best cut in ``start + 1 .. high``. ``fits(a, b)``: whether that span fits into a chunk."""

    def resume(self, text: str, low: int, start: int) -> int:
        """Where whole units begin that end at ``start``: the first such place in ``low .. start``."""

    def spent(self, share: float) -> None:
        """Told of each chunk: what share of it stays empty."""

    def context(self, text: str, start: int) -> Context:
        """What a chunk that begins at ``start`` has lost; asked for one start after another."""


def _json(target: int) -> Splitter:
    from mrengine.chunking.splitters.json_text import Json

    return Json(target)


def _never(sample: Sample) -> float:
    """It is found by its brackets, before any line is looked at."""
    return 0.0


class _Entry(NamedTuple):
    make: Callable[[int], Splitter]
    looks: Callable[[Sample], float]  # 0: surely not … 1: surely


def _kind(make: Callable[[int], Kind], looks: Callable[[Sample], float]) -> _Entry:
    return _Entry(lambda target: Cutter(make(target), target), looks)


_SURE = 0.9  # so a kind must look to be taken for one where a text begins like JSON

# The first of those that look best is taken.
_KINDS: dict[str, _Entry] = {
    "prose": _kind(prose.Prose, prose.looks),
    "markdown": _Entry(lambda target: Cutter(markdown.Markdown(target), target), markdownlooks.looks),
    "code": _kind(code.Code, codelooks.looks),
    "json": _Entry(_json, _never),
    "dicom": _kind(dicom.Dicom, dicom.looks),
    "csv": _kind(csvtext.Csv, csvtext.looks),
    "log": _kind(log.Log, log.looks),
    "yaml": _kind(yamltext.Yaml, yamltext.looks),
    "xml": _Entry(lambda target: MarkupCutter(xml.Xml(target), target), xml.looks),
    "html": _Entry(lambda target: MarkupCutter(html.Html(target), target), html.looks),
    "chat": _kind(chat.Chat, chat.looks),
    "diff": _kind(diff.Diff, diff.looks),
    "sql": _kind(sql.Sql, sql.looks),
    "hl7": _kind(hl7.Hl7, hl7.looks),
    "subtitles": _kind(subtitles.Subtitles, subtitles.looks),
}

# What a document's name says of it, "source" whatever stands in it. No suffix says "prose": a .txt may hold anything.
_OF_KIND = {
    "source": (
        "py pyi c h cc cpp cxx hh hpp cs java js jsx mjs cjs ts tsx go rs rb php pl pm sh bash zsh lua swift kt scala r"
        " po pot"
    ),
    "markdown": "md markdown mdx rst",
    "code": "conf cfg ini toml properties",
    "json": "json jsonl ndjson geojson",
    "csv": "csv tsv",
    "log": "log",
    "yaml": "yaml yml",
    "xml": "xml xsd xsl xslt svg",
    "html": "html htm xhtml",
    "diff": "diff patch",
    "sql": "sql",
    "hl7": "hl7",
    "subtitles": "srt vtt",
}
_SUFFIXES = {suffix: kind for kind, suffixes in _OF_KIND.items() for suffix in suffixes.split()}


def check(splitter: SplitterChoice) -> None:
    """ChunkingError for a splitter that is neither "auto", a known name nor a callable."""
    if not callable(splitter) and splitter != "auto" and splitter not in _KINDS:
        known = ", ".join(("auto", *_KINDS))
        raise ChunkingError(f"unknown splitter {splitter!r}: use one of {known}, or a callable", splitter=splitter)


def choose(
    splitter: SplitterChoice, target: int, blocks: Iterator[str], name: str = ""
) -> tuple[Splitter, Iterator[str]]:
    """The splitter for the document ``name``, and its blocks (again, where they were looked at)."""
    if callable(splitter):
        text = "".join(blocks)
        return Custom(target, text, splitter), iter((text,))
    first = next(blocks, "")
    kind = detect(first, name) if splitter == "auto" else splitter
    return _KINDS[kind].make(target), chain((first,), blocks)


# Rows of a table are texts of one line, by the hundred thousand, and looking for all kinds takes longer than anything
# else that is done with one. Without these marks such a line can be of few kinds, if it begins with a letter or digit:
# all others need several lines, or begin otherwise.
_MARKS = ("\n", "\r", GAP, "`", "|", "](", "**", "][", "@@", "-->", "/*", "<!--", '"""', "\x27\x27\x27")
_LONGEST_LINE = 3000
# Words without any mark that another kind has: most rows are such, and need no second look.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,%'?!-]{,2998}")


def _of_line(text: str) -> str:
    """The kind of a text of one line, as the whole search finds it; "" where that has to look."""
    line = text.rstrip()
    if _PLAIN.fullmatch(line) and codelooks.is_wordy(sampled(line)) and not line.startswith(("GO", "go", "Go")):
        return "prose"
    if not line[:1].isalnum() or len(text) > _LONGEST_LINE or line[-1] in ":;" or any(map(line.__contains__, _MARKS)):
        return ""
    row = sampled(line)
    if codelooks.may_be_code(row) or row.startswith(("GO", "go", "Go")):
        return ""
    return "yaml" if yamltext.KEY.match(row) else "prose"


def detect(text: str, name: str = "") -> str:
    """The kind of a text, from its first block: one of the names that ``splitter=`` takes.

    ``name``: of the document; its suffix decides where the text itself is not surely something else.
    """
    suffix = name[-12:].rpartition(".")[2].lower()
    said = _SUFFIXES.get(suffix, "")
    if said == "source":
        return "code"
    if not said and (found := _of_line(text)):
        return found
    sample = Sample(text)
    if sample.is_json:
        if chat.looks(sample) >= _SURE:
            return "chat"
        # A line of JSON begins with no time: a few that do are a log's, most of whose lines may be its objects'.
        return "log" if log.looks(sample) >= log.HALF_SURE else "json"
    looks = {name: _KINDS[name].looks(sample) for name in _RECORDS}
    best = max(looks, key=lambda name: looks[name])
    if looks[best] < _SURE:
        if said:
            return said
        if codelooks.defines(sample):
            return "code"
        looks |= {name: entry.looks(sample) for name, entry in _KINDS.items() if name not in looks and name != "code"}
        # The lines of code are judged last: that takes as long as all other kinds together.
        looks["code"] = codelooks.looks(sample) if max(looks.values()) <= codelooks.MOST else 0.0
        best = max(_KINDS, key=lambda name: looks[name])
    return best
