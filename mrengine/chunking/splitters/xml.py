"""XML, on one line or many: an element begins at its tag, and its depth is the number of tags open around it.

A comment, a title and the head of a table belong to what follows; so does a tag behind which its first child begins,
and so do the children without content that are first in another.
"""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import NO_CONTEXT, RECORD, WHOLE, Boundary, Context, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters import tags
from mrengine.chunking.splitters.places import Places
from mrengine.chunking.splitters.table_heads import TableHeads, markup_head

__all__ = ["Xml", "looks"]

_DEEPEST = 150
# Behind these, what follows belongs to them; then the parts of a table.
_NAMES = (
    *("title", "subtitle", "caption", "colgroup", "dt", "term", "label", "legend", "summary"),
    *("h1", "h2", "h3", "h4", "h5", "h6"),
    *("thead", "th", "td", "tr"),
)
_THEAD, _TH, _TD, _TR = range(len(_NAMES) - 4, len(_NAMES))
_NEAR = 200  # characters
# In a row of tags, opening, empty, others: the first elements inside of another, if they have no content, are its head.
_LEADING = re.compile(rb"(?<=o)e{1,5}(?=[oe])")


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
        self._is_first = True  # whether what comes is the first in its element, or belongs to what was read last
        self._read = 0  # characters of the document
        self._base = 0
        self._tables = TableHeads(markup_head)

    def see(self, text: str, base: int) -> None:
        """Find the elements of the text that is new, up to its last whole tag."""
        self._base = base
        self._places.move(base)
        begin = max(0, self._read - base)
        end = text.rfind(">") + 1
        if end > begin:
            spans, end = tags.specials(text, begin, end)
        if end > begin:
            self._elements(text[begin:end], [(a - begin, b - begin) for a, b in spans])
            self._read = base + end

    def _elements(self, text: str, spans: list[tuple[int, int]]) -> None:
        import numpy

        found = tags.find(text, spans)
        if not len(found.places):
            return
        names = tags.ids(found, _NAMES)
        depths = found.steps.cumsum(dtype=numpy.int32) + self._depth
        self._depth = max(0, int(depths[-1]))
        heads = tags.in_table_heads(found, names == _THEAD, names == _TH, names == _TD, names == _TR)
        # What belongs to what follows: the opening tag, a comment, a title.
        leads = (found.steps > 0) | ~(found.opens | found.closes) | (found.closes & (names >= 0) & (names <= _THEAD))
        begins = ~found.closes & found.bare & ~numpy.concatenate(([self._is_first], leads[:-1]))
        if len(heads):
            begins &= ~heads
        kinds = numpy.where(found.steps > 0, ord("o"), numpy.where(found.opens, ord("e"), ord("-")))
        for match in _LEADING.finditer(kinds.astype(numpy.uint8).tobytes()):
            begins[match.start() : match.end() + 1] = False
        self._is_first = bool(leads[-1])
        which = numpy.flatnonzero(begins)
        levels = (depths[which] - found.steps[which]).clip(0, _DEEPEST) + RECORD
        self._places.add((tags.edges(found, which) + self._read).tolist(), levels.tolist(), [WHOLE] * len(which))

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Elements by depth."""
        return self._places.between(low, high)

    def context(self, text: str, start: int) -> Context:
        """The head of the table that goes on: narratives have tables as HTML has."""
        goes_on = text[start : start + _NEAR].lstrip().startswith("<tr")
        head = self._tables.above(text, self._base, start, goes_on=goes_on)
        return Context((), head) if head else NO_CONTEXT

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next element that lies as far out."""
        return self._places.after(level, low, high)


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
