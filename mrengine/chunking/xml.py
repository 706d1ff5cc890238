"""Owns XML, on one line or many: an element begins at its tag, and lies as far in as tags are open around it.

Nothing is parsed: the marks of all tags are found at once with numpy, and depth is a running sum. A comment, a title and
the head of a table belong to what follows; so does a tag behind which its first child begins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mrengine.chunking.boundaries import RECORD, Boundary, Stateless
from mrengine.chunking.places import Places
from mrengine.chunking.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CLOSED_HEADS", "Xml", "looks", "table_heads"]

_LESS, _GREATER, _SLASH, _BANG, _QUESTION, _BLANK, _NEWLINE, _RETURN = b"<>/!? \n\r"
_DEEPEST = 150
# Behind these, what follows belongs to them.
CLOSED_HEADS = re.compile(
    r"</(?:[\w.-]+:)?(?:title|subtitle|caption|thead|colgroup|dt|term|label|legend|summary|h[1-6]|th>\s*</(?:[\w.-]+:)?tr)\s*>",
    re.IGNORECASE,
)
# In a row of tags, opened, closed at once: the first elements inside of another, if they have no content, are its head.
_LEADING = re.compile(rb"(?<=o)(?:os){1,4}(?=o)")
_SPECIAL = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"))


class Xml(Stateless):
    """Elements. It knows depth and open comments from the beginning of the document on."""

    name = "xml"
    outermost = RECORD + 1
    opens = re.compile(r"[ \t]*<(?:[?!][^>]*>|(?!/)[^>]*[^/>]>)$")  # a tag alone on its line
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._places = Places()
        self._depth = 0
        self._read = 0  # characters of the document

    def see(self, text: str, base: int) -> None:
        """Find the elements of the text that is new, up to its last whole tag."""
        self._places.move(base)
        begin = self._read - base
        end = text.rfind(">") + 1
        if end > begin:
            spans, end = _specials(text, begin, end)
            if end > begin:
                self._elements(text[begin:end], [(a - begin, b - begin) for a, b in spans], text[:begin].rstrip()[-1:])
                self._read = base + end

    def _elements(self, text: str, spans: list[tuple[int, int]], above: str) -> None:
        import numpy

        data = numpy.frombuffer(text.encode("latin-1", "replace"), numpy.uint8)
        opens = numpy.flatnonzero(data[:-1] == _LESS)
        slashes = numpy.flatnonzero((data[:-1] == _SLASH) & (data[1:] == _GREATER))
        opens, slashes = _outside(numpy, opens, spans), _outside(numpy, slashes, spans)
        after = data.take(opens + 1)
        closes = opens[after == _SLASH]
        opens = opens[(after > ord("@")) | (after == _QUESTION)]  # a letter, or one that is not Latin
        specials = numpy.array([a for a, _ in spans], numpy.int64)
        places = numpy.concatenate((opens, specials, closes, slashes))
        steps = numpy.repeat(
            numpy.array([1, 0, -1, -1], numpy.int32), (len(opens), len(specials), len(closes), len(slashes))
        )
        what = numpy.repeat(
            numpy.array(list(b"o-cs"), numpy.uint8), (len(opens), len(specials), len(closes), len(slashes))
        )
        order = numpy.argsort(places, kind="stable")
        places, steps, what = places[order], steps[order], what[order]
        depths = steps.cumsum(dtype=numpy.int32) + self._depth
        if len(depths):
            self._depth = max(0, int(depths[-1]))
        # Where an element or comment begins behind a tag, and not behind the one it lies in.
        levels = depths - (steps > 0)
        inner = numpy.concatenate(([False], steps[:-1] > 0))
        begins = (steps >= 0) & ~inner
        for match in _LEADING.finditer(what.tobytes()):
            begins[match.start() : match.end() + 1] = False
        places, levels, steps = places[begins], levels[begins], steps[begins]
        said = numpy.flatnonzero(data > _BLANK)
        before = numpy.searchsorted(said, places) - 1
        last = said.take(numpy.maximum(before, 0))
        behind = numpy.where(before < 0, above == ">" or not above, data.take(last) == _GREATER)
        last = numpy.where(before < 0, -1, last) + 1
        behind &= numpy.isin(places, _outside(numpy, places, table_heads(text)))
        headed = [match.end() for match in CLOSED_HEADS.finditer(text)] + [b for _, b in spans]
        kept = numpy.flatnonzero(behind & ~numpy.isin(last, headed))
        last, levels = last[kept], levels[kept]
        self._places.add((_lines(data, last) + self._read).tolist(), (levels.clip(0, _DEEPEST) + RECORD).tolist())

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Elements by depth."""
        return self._places.between(low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next element that lies as far out."""
        return self._places.after(level, low, high)


def _lines(data: Any, places: Any) -> Any:
    """The places, moved behind a newline that follows."""
    last = len(data) - 1
    places = places + (data.take((places).clip(0, last)) == _RETURN)
    return places + (data.take(places.clip(0, last)) == _NEWLINE)


def _outside(numpy: Any, marks: Any, spans: list[tuple[int, int]]) -> Any:
    """The marks outside of the spans."""
    if not spans:
        return marks
    begins, ends = numpy.array(spans, numpy.int64).T
    index = numpy.searchsorted(begins, marks, side="right") - 1
    return marks[(index < 0) | (marks >= ends.take(index.clip(0)))]


def _specials(text: str, begin: int, end: int) -> tuple[list[tuple[int, int]], int]:
    """The spans of comments, character data and instructions; and ``end``, or where one begins that is not closed."""
    found = sorted(_marks(text, begin, end))
    spans: list[tuple[int, int]] = []
    until = begin
    lost: set[str] = set()
    for place, closing in found:
        if place < until or closing in lost:
            continue
        closed = text.find(closing, place + 2)
        if closed < 0:
            if len(text) - place < _OPEN:
                return spans, place
            lost.add(closing)  # it is no comment
            continue
        until = closed + len(closing)
        spans.append((place, until))
    return spans, max(end, until)


_HEAD_ROW = re.compile(r"<(?:[\w.-]+:)?(?:(thead)[\s>]|tr[^>]{0,400}>\s{0,99}<(?:[\w.-]+:)?th[\s>])", re.IGNORECASE)
_LONGEST = 4000  # characters of a table's head, or of its first row


def table_heads(text: str) -> list[tuple[int, int]]:
    """The spans, without their first character, of the heads of tables with the row below, in which nothing begins."""
    if "<th" not in text and ":th" not in text and "<TH" not in text:
        return []
    spans: list[tuple[int, int]] = []
    until = 0
    for match in _HEAD_ROW.finditer(text):
        begin = match.start()
        if begin < until:
            continue
        end = _closing(text, "</thead" if match.group(1) else "</tr", begin)
        if end < 0 or (not match.group(1) and _closing(text, "<td", begin, end) >= 0):
            continue
        until = max(end, _closing(text, "</tr", end + 1)) + 1
        spans.append((begin + 1, until))
    return spans


def _closing(text: str, mark: str, begin: int, end: int = 0) -> int:
    """Where the next such mark is, in the one case of letters or the other."""
    end = end or begin + _LONGEST
    found = text.find(mark, begin, end)
    return found if found >= 0 else text.find(mark.upper(), begin, end)


_OPEN = 20_000  # characters: a comment is not longer, if its end is not to be seen


def _marks(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    for opening, closing in _SPECIAL:
        place = text.find(opening, begin, end)
        while place >= 0:
            yield place, closing
            place = text.find(opening, place + 2, end)


_TAG = re.compile(r"<(?:/?[\w:.-]+(?:\s|/?>)|[?!])")
_LINE = re.compile(r"\s*<(?:/?[A-Za-z_][\w:.-]*(?:[\s/>]|$)|[?!])|.*</?[A-Za-z_][\w:.-]*[^<>]*>$|.*/?>$")


def looks(sample: Sample) -> float:
    """How much a text looks like XML: it begins with a tag, and has tags all over it."""
    head = sample.head
    if head[:1] != "<" or not _TAG.match(head):
        return 0.0
    if head.startswith("<?xml"):
        return 0.94
    tagged = sample.share(_LINE.match)
    closed = sample.text.count("</", 0, 60_000) + sample.text.count("/>", 0, 60_000)
    return 0.91 if closed > 1 and tagged > 0.4 else 0.0
