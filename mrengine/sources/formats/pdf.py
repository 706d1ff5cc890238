"""PDF, by ``pypdf``: pages in reading order, without the lines that every page repeats, with words joined again."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from mrengine.errors import SourceError
from mrengine.sources.loaders import Piece, needs

__all__ = ["load"]

_EDGE_LINES = 2  # of a page's head, and of its foot
_REPEATED = 0.3  # of the pages have a repeated line; no more, as heads of left and right pages differ
_LEAST_ROWS = 5  # with text on both sides, to take a page for one of two columns
_LEAST_MEAN = 20  # characters of a side; cells of tables are shorter
_NEAR = 3.0  # points within which lines of a column begin
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_NUMBER = re.compile(r"\d+")
_WORD_END = re.compile(r"(\w*[^\W\d_])[-\u2010\u00ad]$")
_WORD = re.compile(r"[^\W\d_]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SENTENCE_END = re.compile(r"[.!?:;。！？][)\]\"'”’»]*$")


class _Fragment(NamedTuple):
    x: float
    text: str


def load(binary: BinaryIO) -> Iterator[Piece]:
    """The text of each page. MissingExtra; SourceError: it is encrypted, or has no text."""
    try:
        import pypdf
    except ImportError:
        raise needs("pdf", "a PDF") from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it quotes what it cannot read
    reader = pypdf.PdfReader(binary)
    if reader.is_encrypted:
        _open(reader, pypdf)
    pages = [_lines(page) for page in reader.pages]
    if not any(line.strip() for lines in pages for line in lines):
        message = (
            f"it has no text in its {len(pages)} pages, as scans: recognise it first, for instance with 'ocrmypdf'"
        )
        raise SourceError(message)
    return _joined(_without_repeats(pages))


def _open(reader: Any, pypdf: Any) -> None:
    """Open an encrypted file that has no password: many are encrypted only against changes."""
    try:
        opened = reader.decrypt("")
    except pypdf.errors.DependencyError:
        raise needs("pdf", "an encrypted PDF") from None
    if not opened:
        raise SourceError("it is encrypted: take its password away first, for instance with 'qpdf --decrypt'")


def _lines(page: Any) -> list[str]:
    """The lines of a page, column by column."""
    rows: list[list[_Fragment]] = [[]]

    def visit(text: str, _cm: Any, place: Any, *_: Any) -> None:
        first, *others = text.split("\n")
        if first:
            rows[-1].append(_Fragment(float(place[4]), first))
        rows.extend([_Fragment(float(place[4]), other)] if other else [] for other in others)

    text = str(page.extract_text(visitor_text=visit))
    fragments = "".join(fragment.text for row in rows for fragment in row)
    # Where the visitor was not shown all of the text, it is more important to have it than to have it in columns.
    complete = "".join(fragments.split()) == "".join(text.split())
    lines = _by_columns(rows, float(page.mediabox.width)) if complete else text.split("\n")
    return [_SURROGATES.sub("\ufffd", line.translate(_LIGATURES)).rstrip() for line in lines]


def _by_columns(rows: Sequence[list[_Fragment]], width: float) -> list[str]:
    """Rows as lines; where two columns were written side by side, the left one first."""
    gutter = _gutter(rows, width)
    lines: list[str] = []
    left: list[str] = []
    right: list[str] = []
    for row in rows:
        halves = _halves(row, gutter) if gutter else None
        if halves is None and any(fragment.text.strip() for fragment in row):
            lines += [*left, *right]
            left, right = [], []
            lines.append("".join(fragment.text for fragment in row))
        elif halves is not None:
            left += [halves[0]] if halves[0].strip() else []
            right += [halves[1]] if halves[1].strip() else []
    return [*lines, *left, *right]


def _halves(row: Sequence[_Fragment], gutter: float) -> tuple[str, str] | None:
    """The text on both sides of the gutter; None: no fragment of the row begins there."""
    if not any(abs(fragment.x - gutter) <= _NEAR for fragment in row):
        return None
    left = "".join(fragment.text for fragment in row if fragment.x < gutter - _NEAR)
    right = "".join(fragment.text for fragment in row if fragment.x >= gutter - _NEAR)
    return left, right.lstrip(" ")


def _gutter(rows: Sequence[list[_Fragment]], width: float) -> float:
    """Where the second column of a page begins; 0: it has one column, or was written column by column."""
    starts = Counter(
        round(fragment.x)
        for row in rows
        for fragment in row[1:]
        if 0.35 * width < fragment.x < 0.7 * width and fragment.x - row[0].x > 0.2 * width
    )
    for x, count in starts.most_common(1):
        sides = [halves for row in rows if (halves := _halves(row, x)) is not None]
        both = [(len(a.strip()), len(b.strip())) for a, b in sides if a.strip() and b.strip()]
        if count >= _LEAST_ROWS and len(both) >= _LEAST_ROWS:
            means = [sum(lengths) / len(both) for lengths in zip(*both, strict=True)]
            return float(x) if min(means) >= _LEAST_MEAN else 0.0
    return 0.0


def _without_repeats(pages: Sequence[list[str]]) -> list[list[str]]:
    """The pages without repeated head and foot lines. The first of each stays, so that nothing is lost.

    Two lines are the same if they differ only in a number that counts with the pages.
    """
    if len(pages) < 2:
        return list(pages)
    counts: Counter[Any] = Counter()
    for number, lines in enumerate(pages):
        counts.update({key for at in _edges(lines) for key in _keys(lines[at].strip(), number)})
    least = max(2.0, _REPEATED * len(pages))
    earlier: set[Any] = set()
    kept = []
    for number, lines in enumerate(pages):
        gone = set()
        for at in _edges(lines):
            keys = {key for key in _keys(lines[at].strip(), number) if counts[key] >= least}
            if keys & earlier:
                gone.add(at)
            earlier |= keys
        kept.append([line for at, line in enumerate(lines) if at not in gone])
    return kept


def _edges(lines: Sequence[str]) -> list[int]:
    filled = [at for at, line in enumerate(lines) if line.strip()]
    return sorted({*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]})


def _keys(line: str, page: int) -> Iterator[Any]:
    """The keys of a line: itself, and itself with each number as its distance from the page's."""
    yield line
    for number in _NUMBER.finditer(line):
        if len(number[0]) < 6:
            yield line[: number.start()], int(number[0]) - page, line[number.end() :]


def _joined(pages: Sequence[list[str]]) -> Iterator[Piece]:
    """The text of each page, with words joined that a line's or page's end has cut; their rest stays on its page."""
    words = Counter(word.lower() for lines in pages for line in lines for word in _WORD.findall(line))
    hyphened = {word.lower() for lines in pages for line in lines for word in re.findall(r"\w+-\w+", line)}
    filled = [(line, number) for number, lines in enumerate(pages, start=1) for line in lines if line.strip()]
    begun = 0
    for (line, number), (following, next_number) in zip(filled, [*filled[1:], ("", 0)], strict=True):
        for empty in range(begun + 1, number):
            yield Piece("", empty)
        begun = number
        end, cut = _end_of(line, following, words, hyphened)
        paragraph = number != next_number and _SENTENCE_END.search(line)
        yield Piece(end + ("" if cut else "\n\n" if paragraph else "\n"), number)
    for empty in range(begun + 1, len(pages) + 1):
        yield Piece("", empty)


def _end_of(line: str, following: str, words: Counter[str], hyphened: set[str]) -> tuple[str, bool]:
    """A line as it precedes the next one, and whether its last word goes on there. A hyphen stays if it is the word's
    own: the document has the word with it elsewhere, and never without.
    """
    begin = _WORD_END.search(line)
    rest = _WORD.match(following.lstrip())
    if begin is None or rest is None or not rest[0][0].islower():
        return line.removesuffix("\u00ad"), False
    first, second = begin[1].lower(), rest[0].lower()
    soft = line[-1] == "\u00ad" or words[first + second] or f"{first}-{second}" not in hyphened
    return (line[:-1] if soft else line), True
