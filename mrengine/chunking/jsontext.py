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

from mrengine.chunking.lines import soft_window
from mrengine.chunking.prose import Prose

__all__ = ["Json"]

_QUOTE, _COMMA, _COLON, _NEWLINE, _RETURN = b'",:\n\r'
_IS_MARK = bytes(char in b'"{}[],:\n' for char in range(256))


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
        places, levels = self._scan.places, self._scan.levels
        first = int(places.searchsorted(start + self._base, "right"))
        limit = int(places.searchsorted(high + self._base, "right"))
        if first == limit:
            return []
        before = levels[first:limit].tolist()
        least, level, torn = min(before), 1 << 30, []
        for index in range(len(before) - 1, -1, -1):
            if before[index] < level:
                level = before[index]
                torn.append(index)
                if level == least:
                    break
        far = int(places.searchsorted(high + 4 * (high - start) + self._base))
        ends = self._ends([before[index] for index in torn], limit, max(far, limit + 1), stop)
        chain = [(int(places[first + index]) - self._base, end) for index, end in zip(torn, ends, strict=True)]
        # The innermost of all is no element but what lies between two places: a key, where key and value do not fit.
        following = int(places[limit]) - self._base if limit < len(places) else stop
        return [*reversed(chain), (chain[0][0], following)]

    def _ends(self, wanted: list[int], limit: int, far: int, stop: int) -> list[int]:
        """For each level, from large to small: the first place behind ``limit`` with that level or a smaller one."""
        ends: list[int] = []
        ahead = 64
        while len(ends) < len(wanted) and limit < min(far, len(self._scan.levels)):
            for index, level in enumerate(self._scan.levels[limit : limit + ahead].tolist(), limit):
                while len(ends) < len(wanted) and level <= wanted[len(ends)]:
                    ends.append(int(self._scan.places[index]) - self._base)
            limit += ahead
            ahead *= 4
        return ends + [stop] * (len(wanted) - len(ends))

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
        self._quoted = 0  # 1: the text read so far ends inside a string
        self._escaped = False  # and behind a backslash
        self._steps = numpy.zeros(256, numpy.int8)
        self._steps[list(b"{[")] = 1
        self._steps[list(b"}]")] = -1

    def drop(self, base: int) -> None:
        """Forget what lies before ``base``."""
        first = int(self.places.searchsorted(base))
        self.places, self.levels = self.places[first:], self.levels[first:]

    def read(self, text: str, base: int) -> None:
        """Go on where the last call ended."""
        new = text[self._seen - base :]
        if not new:
            return
        # One byte a character; what is not Latin-1 becomes "?", which means nothing here.
        data = self._without_escapes(new.encode("latin-1", "replace"))
        places, levels = self._levels(data, *self._marks(data))
        self.places = self._np.concatenate((self.places, places + self._seen))
        self.levels = self._np.concatenate((self.levels, levels))
        self._seen += len(new)

    def _without_escapes(self, data: bytes) -> bytes:
        """The text with everything that a backslash escapes blotted out. Pairs of backslashes first, from the left."""
        if self._escaped:
            data = b"?" + data[1:]
        if b"\\" in data:
            data = data.replace(b"\\\\", b"??").replace(b'\\"', b"??")
        self._escaped = data.endswith(b"\\")
        return data

    def _marks(self, data: bytes) -> tuple[Any, Any]:
        """Offsets of the brackets, commas, colons and newlines outside of strings, and these characters."""
        numpy = self._np
        marks = numpy.flatnonzero(numpy.frombuffer(data.translate(_IS_MARK), numpy.bool_))
        what = numpy.frombuffer(data, numpy.uint8).take(marks)
        quotes = what == _QUOTE
        number = quotes.cumsum(dtype=numpy.int32)
        number += self._quoted
        newlines = number[what == _NEWLINE]
        if (newlines & 1).any():
            # No JSON string goes over a newline: one stray quote spoils only its own line.
            number -= numpy.maximum.accumulate(numpy.where(what == _NEWLINE, number, 0))
        if len(number):
            self._quoted = int(number[-1]) & 1
        number &= 1
        plain = numpy.flatnonzero((number == 0) & ~quotes)
        return marks.take(plain), what.take(plain)

    def _levels(self, data: bytes, marks: Any, what: Any) -> tuple[Any, Any]:
        numpy = self._np
        steps = self._steps.take(what)
        levels = steps.cumsum(dtype=numpy.int32)
        levels += self._depth
        if len(levels):
            self._depth = int(levels[-1])
        levels *= 2
        levels += (what == _COLON) | (steps < 0)
        places = marks + 1
        if b"\n" not in data:
            return places, levels
        follows = numpy.frombuffer(data + b"\0\0", numpy.uint8)
        breaks = numpy.flatnonzero((what == _COMMA) | (steps > 0))
        behind = places.take(breaks)
        if b"\r" in data:
            behind += (follows.take(behind) == _RETURN) & (follows.take(behind + 1) == _NEWLINE)
        behind += follows.take(behind) == _NEWLINE
        places[breaks] = behind
        kept = numpy.flatnonzero((what != _NEWLINE) | (levels <= 0))
        return places.take(kept), levels.take(kept)
