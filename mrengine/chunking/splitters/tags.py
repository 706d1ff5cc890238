"""Finds all tags of markup at once with numpy. Nothing is parsed, so no malformed markup can make it fail.

A tag is a ``<`` with a name behind it, up to the next ``>``; comments, character data and instructions are one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from mrengine.chunking.cutter import Cutter, Fits

__all__ = ["MarkupCutter", "Tags", "edges", "find", "ids", "in_table_heads", "specials"]

_LESS, _GREATER, _SLASH, _BANG, _QUESTION, _NEWLINE, _RETURN = b"<>/!?\n\r"
_LONG_TAG = 2000
_NAME = 8  # characters of a name are looked at
_SPECIAL = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"))
_MARK = re.compile("<[!?]")  # one pass over the tags: several times as fast as to look for two characters
_ONES, _HIGHEST = 0x0101010101010101, 0x8080808080808080  # in each of the eight bytes
_OPEN = 60_000  # characters: what is not closed by then is no comment
_LOOKS = (0, 1, 2, 3, 4, 5, 6)
_ROW = 4000  # characters of a row below the head of a table


class Tags(NamedTuple):
    """Arrays with an element a tag. Places are characters of the text."""

    data: Any  # the text, a byte a character, with zeros behind it
    places: Any
    opens: Any  # whether it opens an element, with content or without
    closes: Any  # whether it closes one; the others are comments and the like
    steps: Any  # 1 if it opens an element with content, -1 if it closes one
    edges: Any  # the end of the tag before it
    bare: Any  # whether nothing but blanks stands between


class MarkupCutter(Cutter):
    """A cutter that leaves tags whole: where nothing better is found, text is cut, and not in the middle of a tag."""

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """The best cut in ``start + 1 .. high``."""
        best = super().cut(text, start, high, fits)
        begin = text.rfind("<", max(start + 1, best - _LONG_TAG, best - (high - start) // 2), best)
        if begin < 0 or text.find(">", begin, best) >= 0 or not (text[begin + 1].isalpha() or text[begin + 1] in "/!?"):
            return best
        return begin


def specials(text: str, begin: int, end: int) -> tuple[list[tuple[int, int]], int]:
    """The spans of comments, character data and instructions; and ``end``, or where one begins that is still open."""
    spans: list[tuple[int, int]] = []
    until = begin
    lost: set[str] = set()
    for place, closing in _marks(text, begin, end):
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


def _marks(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    for match in _MARK.finditer(text, begin, end):
        for opening, closing in _SPECIAL:
            if text.startswith(opening, match.start()):
                yield match.start(), closing


def find(text: str, spans: list[tuple[int, int]]) -> Tags:
    """The tags of a text that begins behind a tag. ``spans``: of its comments and the like."""
    import numpy

    looks = numpy.array(_LOOKS)
    data = numpy.frombuffer(text.encode("latin-1", "replace") + bytes(_NAME + 3), numpy.uint8)
    places = numpy.flatnonzero(data == _LESS)
    after = data.take(places + 1)
    wanted = (after > ord("@")) | (after == _SLASH) | (after == _BANG) | (after == _QUESTION)
    if spans:
        begins, ends = numpy.array(spans, numpy.int64).T
        index = numpy.searchsorted(begins, places, side="right") - 1
        wanted &= (index < 0) | (places >= ends.take(index, mode="clip")) | (places == begins.take(index, mode="clip"))
    places, after = places[wanted], after[wanted]
    stops = numpy.flatnonzero(data == _GREATER)
    behind = stops.take(numpy.searchsorted(stops, places), mode="clip") + 1 if len(stops) else places
    if spans:
        index = numpy.searchsorted(places, begins)
        tagged = places.take(index, mode="clip") == begins
        behind[index[tagged]] = ends[tagged]
    closes = after == _SLASH
    opens = (after != _BANG) & (after != _QUESTION) & ~closes
    steps = numpy.where(opens, data.take(behind - 2) != _SLASH, 0).astype(numpy.int32) - closes
    edges = numpy.concatenate(([0], behind[:-1]))
    # Seven characters of what stands between say whether it is blank; to be wrong costs a good place to cut.
    gaps = places - edges
    parted = numpy.flatnonzero(gaps)
    between = data.take(edges.take(parted) + (gaps.take(parted) - 1) * looks[:, None] // _LOOKS[-1])
    bare = numpy.ones(len(places), numpy.bool_)
    bare[parted] = between.max(axis=0) <= ord(" ")
    return Tags(data, places, opens, closes, steps, edges, bare)


def ids(tags: Tags, names: tuple[str, ...]) -> Any:
    """Which of the names a tag has, as an index; -1 for others. Small letters and capitals are the same."""
    import numpy

    letters, firsts, known, order = _known(names)
    begins = tags.places + 1 + tags.closes
    which = numpy.flatnonzero(firsts.take(tags.data.take(begins)))
    # Eight letters are one number, zeros in the place of all that is none; what lies behind the first zero is cut off.
    named = tags.data.tobytes().translate(letters)
    keys = numpy.ndarray((len(named) - _NAME + 1,), "<u8", named, 0, (1,))[begins.take(which)]
    zeros = (keys - numpy.uint64(_ONES)) & ~keys & numpy.uint64(_HIGHEST)
    keys &= ((zeros & (~zeros + numpy.uint64(1))) >> numpy.uint64(7)) - numpy.uint64(1)
    index = numpy.searchsorted(known, keys)
    result = numpy.full(len(begins), -1)
    result[which] = numpy.where(known.take(index, mode="clip") == keys, order.take(index, mode="clip"), -1)
    return result


@lru_cache(maxsize=4)
def _known(names: tuple[str, ...]) -> tuple[bytes, Any, Any, Any]:
    """Which byte is which letter of a name; the first letters of the names as sorted numbers; whose they are."""
    import numpy

    letters = bytes(ord(chr(byte).lower()) if byte < 128 and chr(byte).isalnum() else 0 for byte in range(256))
    data = b"".join(name.encode()[:_NAME].ljust(_NAME, b"\0") for name in names)
    keys = numpy.frombuffer(data, "<u8")
    order = numpy.argsort(keys)
    firsts = numpy.zeros(256, numpy.bool_)
    firsts[[ord(letter) for name in names for letter in (name[0], name[0].upper())]] = True
    return letters, firsts, keys[order], order


def in_table_heads(tags: Tags, thead: Any, th: Any, td: Any, tr: Any) -> Any:
    """Which tags lie in the head of a table or in the row below it. ``thead`` …: which tags have that name."""
    import numpy

    inside = numpy.zeros(len(tags.places) + 2, numpy.int32)
    if not th.any() and not thead.any():
        return inside[:0]
    row_ends = numpy.flatnonzero(tr & tags.closes)
    heads = numpy.flatnonzero(thead & tags.closes)
    begins = numpy.flatnonzero(thead & tags.opens)
    first = numpy.flatnonzero(th & tags.opens & numpy.concatenate(([False], (tr & tags.opens)[:-1])))
    if len(row_ends) and len(first):
        last = row_ends.take(numpy.searchsorted(row_ends, first), mode="clip")
        cells = (td & tags.opens).cumsum()
        only = cells.take(last) == cells.take(first)
        _span(numpy, inside, first[only], last[only], row_ends, tags.places)
    if len(heads) and len(begins):
        opened = begins.take(numpy.maximum(numpy.searchsorted(begins, heads) - 1, 0))
        _span(numpy, inside, opened + 1, heads, row_ends, tags.places)
    return inside[:-2].cumsum() > 0


def _span(numpy: Any, inside: Any, first: Any, last: Any, row_ends: Any, places: Any) -> None:
    """Count one more from the tags ``first`` on, up to the end of the row behind ``last``."""
    if len(row_ends):
        below = row_ends.take(numpy.searchsorted(row_ends, last, side="right"), mode="clip")
        near = (below > last) & (places.take(below) - places.take(last) < _ROW)
        last = numpy.where(near, below, last)
    numpy.add.at(inside, first, 1)
    numpy.add.at(inside, last + 1, -1)


def edges(tags: Tags, which: Any) -> Any:
    """Where to cut before these tags: behind the tag before, and behind a newline there."""
    found = tags.edges[which]
    found = found + (tags.data.take(found) == _RETURN)
    return found + (tags.data.take(found) == _NEWLINE)
