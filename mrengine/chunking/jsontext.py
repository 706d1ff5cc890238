"""Owns the cutting of JSON and JSON Lines: between records and elements, never inside one that fits a chunk.

The brackets, quotes and commas of a text are found all at once with numpy; the depth of each place is a running sum.
Every place where a cut is thinkable has a level: the smaller, the less is cut through.

====================================== =========
behind the newline of a record          0
behind the comma of an element          2 depth
behind an opening bracket               2 depth (inside)
behind a colon, or a closing bracket    2 depth + 1 (outside)
====================================== =========

An element reaches from its place to the next place with its level or a smaller one. The places that lie before the
limit, last of their level, are the chain of elements that a cut at the limit would tear, from the outermost to the
innermost; the cut comes before the outermost one that fits into a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrengine.chunking.code import soft_window
from mrengine.chunking.prose import Prose

__all__ = ["Json"]

_QUOTE, _COMMA, _COLON, _NEWLINE, _RETURN, _BACKSLASH = b'",:\n\r\\'


class Json:
    """The splitter of JSON; it knows bracket depth and open strings from the beginning of the document on."""

    kind = "json"

    def __init__(self, target: int) -> None:
        self._window = soft_window(target)
        self._prose = Prose(target)
        self._scan = _Scanner()
        self._base = 0

    def see(self, text: str, base: int) -> None:
        """Find the structure of the text that is new."""
        self._base = base
        self._scan.drop(base)
        self._scan.read(text, base)

    def cut(self, text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
        """Before the outermost element that the limit would tear and that fits; in the innermost, if none does."""
        chain = self._chain(start, high, len(text))
        if not chain:
            return self._prose.cut(text, start, high, fits)
        torn = _first(chain, lambda element: fits(*element))
        low = high - int((high - start) * self._window / 2)
        near = next((begin for begin, _ in chain[:torn] if begin >= low), 0)
        if near or torn < len(chain):
            return near or chain[torn][0]
        # Not even the innermost fits: a long string. What is inside is prose.
        return self._prose.cut(text, chain[-1][0], high, fits) if high > chain[-1][0] else high

    def _chain(self, start: int, high: int, stop: int) -> list[tuple[int, int]]:
        """The elements around ``high``, outermost first, as (begin, end). An end that is not in sight is ``stop``."""
        import numpy

        places, levels = self._scan.places, self._scan.levels
        first, limit = numpy.searchsorted(places, (start + self._base, high + self._base), "right").tolist()
        if first == limit:
            return []
        before = numpy.minimum.accumulate(levels[first:limit][::-1])
        steps = numpy.concatenate(([0], numpy.flatnonzero(before[1:] < before[:-1]) + 1))[::-1]
        after = numpy.minimum.accumulate(levels[limit:])
        ends = numpy.searchsorted(-after, -before[steps])
        begins = (places[limit - 1 - steps] - self._base).tolist()
        behind = numpy.append(places[limit:] - self._base, stop)[ends].tolist()
        return list(zip(begins, behind, strict=True))

    def resume(self, text: str, low: int, start: int) -> int:
        """The first whole element at ``low`` or later, beside or above the one that begins at ``start``."""
        import numpy

        places, levels = self._scan.places, self._scan.levels
        first, here = numpy.searchsorted(places, (low + self._base, start + self._base), "left").tolist()
        if first == here or here == len(places) or places[here] != start + self._base:
            return start
        beside = numpy.flatnonzero(levels[first:here] <= levels[here])
        return int(places[first + beside[0]]) - self._base if len(beside) else start


def _first(chain: list[tuple[int, int]], fits: Callable[[tuple[int, int]], bool]) -> int:
    """The index of the first element that fits (what is inside one that fits, does too); the length if none does."""
    low, high = 0, len(chain)
    while low < high:
        middle = (low + high) // 2 if high - low > 4 else low
        if fits(chain[middle]):
            high = middle
        else:
            low = middle + 1
    return low


class _Scanner:
    """The places of a JSON text and their levels, read block by block. Places are characters of the document."""

    def __init__(self) -> None:
        import numpy

        self._np = numpy
        self.places: Any = numpy.zeros(0, numpy.int64)
        self.levels: Any = numpy.zeros(0, numpy.int32)
        self._seen = 0
        self._depth = 0
        self._quoted = False  # the text read so far ends inside a string
        self._escaped = False  # and behind a backslash
        self._kinds = numpy.zeros(256, numpy.bool_)
        self._kinds[list(b'"{}[],:\n')] = True
        self._steps = numpy.zeros(256, numpy.int32)
        self._steps[list(b"{[")] = 1
        self._steps[list(b"}]")] = -1

    def drop(self, base: int) -> None:
        """Forget what lies before ``base``."""
        first = int(self._np.searchsorted(self.places, base))
        self.places, self.levels = self.places[first:], self.levels[first:]

    def read(self, text: str, base: int) -> None:
        """Go on where the last call ended."""
        new = text[self._seen - base :]
        if not new:
            return
        # One byte a character; what is not Latin-1 becomes "?", which means nothing here.
        data = self._np.frombuffer(new.encode("latin-1", "replace"), self._np.uint8)
        places, levels = self._structure(data)
        self.places = self._np.concatenate((self.places, places + self._seen))
        self.levels = self._np.concatenate((self.levels, levels))
        self._seen += len(new)

    def _structure(self, data: Any) -> tuple[Any, Any]:
        numpy = self._np
        marks = numpy.flatnonzero(self._kinds[data])
        what = data[marks]
        quotes = (what == _QUOTE) & ~self._behind_backslash(data)[marks]
        number = quotes.cumsum(dtype=numpy.int32) + self._quoted
        # No JSON string goes over a newline: each line is counted by itself, so that one stray quote spoils only its own.
        number -= numpy.maximum.accumulate(numpy.where(what == _NEWLINE, number, 0))
        if len(number):
            self._quoted = bool(number[-1] & 1)
        plain = (number & 1 == 0) & (what != _QUOTE)
        return self._levels(data, marks[plain], what[plain])

    def _levels(self, data: Any, marks: Any, what: Any) -> tuple[Any, Any]:
        numpy = self._np
        depths = self._steps[what].cumsum(dtype=numpy.int32) + self._depth
        if len(depths):
            self._depth = int(depths[-1])
        levels = 2 * depths + ((what == _COLON) | (self._steps[what] < 0))
        kept = (what != _NEWLINE) | (depths <= 0)
        places = marks + 1
        padded = numpy.append(data, (0, 0))
        breaks = (what != _COLON) & (self._steps[what] >= 0)
        places += breaks & (padded[places] == _RETURN) & (padded[places + 1] == _NEWLINE)
        places += breaks & (padded[places] == _NEWLINE)
        return places[kept], levels[kept]

    def _behind_backslash(self, data: Any) -> Any:
        """Which characters a backslash escapes: those behind an odd run of them."""
        numpy = self._np
        escaped = numpy.zeros(len(data) + 1, numpy.bool_)
        slashes = numpy.flatnonzero(data == _BACKSLASH)
        if len(slashes):
            breaks = numpy.flatnonzero(numpy.diff(slashes) != 1)
            first = numpy.concatenate(([0], breaks + 1))
            last = numpy.append(breaks, len(slashes) - 1)
            lengths = last - first + 1
            lengths[0] += self._escaped and slashes[0] == 0
            escaped[slashes[last[lengths % 2 == 1]] + 1] = True
        escaped[0] |= self._escaped and not (len(slashes) and slashes[0] == 0)
        self._escaped = bool(escaped[-1])
        return escaped[:-1]
