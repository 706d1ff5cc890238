"""Cuts JSON and JSON Lines between records and elements, never inside one that fits a chunk.

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

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from mrengine.chunking.account import Account
from mrengine.chunking.boundaries import NO_CONTEXT, Context
from mrengine.chunking.cutter import Cutter, Fits
from mrengine.chunking.splitters.prose import Prose

__all__ = ["Json"]

_QUOTE, _COMMA, _COLON, _NEWLINE, _RETURN, _BACKSLASH = b'",:\n\r\\'
# At the end of a text: a backslash not escaped itself, half a unicode escape, or the first half of a surrogate pair.
_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*((?:\\u[Dd][89ABab][0-9A-Fa-f]{2})?\\(?:u[0-9A-Fa-f]{0,3})?|\\u[Dd][89ABab][0-9A-Fa-f]{2})\Z"
)
_FEW = 500  # tokens
_CREDIT = 0.75  # of what other kinds begin with: an object inside of others costs more than one
_BLANKS = 400  # around an element: so many are looked at, for a text may have nothing else
_IS_MARK = bytes(char in b'"{}[],:\n\\' for char in range(256))


class Json:
    """The splitter of JSON; it knows bracket depth and open strings from the beginning of the document on.

    Objects, strings and records that fit are never torn, arrays only where keeping them whole costs too much.
    """

    kind = "json"

    def __init__(self, target: int) -> None:
        self._window = 0.09 if target >= 2000 else 0.18
        self._prose = Cutter(Prose(target), target)
        self._scan = _Scanner()
        self._base = 0
        self._account = Account(target, _CREDIT)
        self._measured = target >= _FEW  # of small chunks no fill is promised

    def see(self, text: str, base: int) -> None:
        """Find the structure of the text that is new."""
        self._base = base
        self._scan.drop(base)
        self._scan.read(text, base)

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """Before the outermost element that the limit would tear and that fits; in the innermost, if none does.

        Behind ``high``, if what begins at ``start`` ends there and fits: there the last token may be another.
        """
        places, base = self._scan.places, self._base
        first = bisect_right(places, start + base)
        limit = bisect_right(places, high + base, first)
        far = bisect_left(places, high + 4 * (high - start) + base, limit)
        cut = self._cut(text, start, high, fits, (first, limit, far))
        for begin, end in self._at_start(text, start, cut, (first, far)):
            if end > cut and fits(begin, end):
                return end if begin == start or fits(start, end) else begin
        return cut

    def _at_start(self, text: str, start: int, cut: int, known: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """The span of the element that begins at ``start``, if it is torn, and that of what is first in it."""
        places, base = self._scan.places, self._base
        first, far = known
        if not first or text[places[first - 1] - base : start].strip():
            return
        for index in (self._scan.end(first - 1, first, far), first):
            end = places[index] - base if index < len(places) else len(text)
            if end <= cut:
                return
            yield _bare(text, start, end, valued=self._scan.valued(first - 1))

    def _cut(self, text: str, start: int, high: int, fits: Fits, known: tuple[int, int, int]) -> int:
        places, base = self._scan.places, self._base
        first, limit, far = known
        if first == limit:
            return _before_escape(text, start, self._prose.cut(text, start, high, fits))
        torn = self._scan.around(limit, first)
        begins = [places[index] - base for index in torn]
        # The innermost of all is no element but what lies between two places: a key, where key and value do not fit.
        torn.append(torn[-1])
        begins.append(begins[-1])

        def bare(number: int) -> tuple[int, int]:
            end = self._scan.end(torn[number], limit, far) if number < len(torn) - 1 else limit
            stop = places[end] - base if end < len(places) else len(text)
            return _bare(text, begins[number], stop, valued=self._scan.valued(torn[number]))

        def is_array(number: int) -> bool:
            """Whether the element is one, or a key with one, and no record of JSON Lines."""
            first = _first_character(text, begins[number])
            if first == '"' and number < len(torn) - 2 and self._scan.valued(torn[number + 1]):
                first = _first_character(text, begins[number + 1])
            return first == "[" and not self._scan.is_record(torn[number])

        # One that begins near the limit need not fit: to begin the next chunk with it costs little.
        span = high - start
        near = bisect_left(begins, high - int(span * self._window / 2))
        outermost = _first_that_fits(near, lambda number: fits(*bare(number)))
        share = max(self._account.left, self._account.spare / 2) if self._measured else 1.0
        cheap, afforded = high - int(span * min(self._window, share)), high - int(span * share)
        while outermost < near and begins[outermost] < cheap:
            if begins[outermost] < afforded or is_array(outermost):
                outermost += 1  # an array is kept whole only where that costs little
            else:
                break
        if outermost < len(torn):
            # It may need the room of the blanks before it.
            inner, behind = bare(outermost)
            if begins[outermost] < inner <= high and not fits(begins[outermost], behind) and fits(inner, behind):
                return inner
            return begins[outermost]
        # Not even the innermost fits: a long string. What is inside is prose.
        if high <= begins[-1]:
            return high
        return _before_escape(text, begins[-1], self._prose.cut(text, begins[-1], high, fits))

    def spent(self, share: float) -> None:
        """Note that this share of a chunk stayed empty: what an object may cost is what was saved."""
        if self._measured:
            self._account.spend(share)

    def context(self, text: str, start: int) -> Context:
        """Nothing is lost."""
        return NO_CONTEXT

    def resume(self, text: str, low: int, start: int) -> int:
        """The first whole element at ``low`` or later, beside or above the one that begins at ``start``."""
        places, base = self._scan.places, self._base
        first = bisect_left(places, low + base)
        here = bisect_left(places, start + base)
        if first == here or here == len(places) or places[here] != start + base:
            return start
        return places[self._scan.end(here, first, here)] - base


def _before_escape(text: str, begin: int, cut: int) -> int:
    """The cut, or the begin of the escape sequence, or pair of them, that it would tear."""
    torn = _ESCAPE.search(text, max(begin, cut - 40), cut)
    return torn.start(1) if torn and torn.start(1) > begin else cut


def _bare(text: str, begin: int, end: int, *, valued: bool) -> tuple[int, int]:
    """The span of an element without the blanks around it, its comma or colon, or the bracket that closes behind it.

    ``valued``: it is what follows a colon, so a bracket at its end is its own if it begins with one.
    """
    head = text[begin : min(begin + _BLANKS, end)]
    body = head.lstrip()
    tail = text[max(begin, end - _BLANKS) : end]
    closed = tail[-1:] in ("]", "}") and not (valued and body[:1] in ("[", "{"))
    bare = (tail[:-1] if closed else tail).rstrip()
    bare = bare[:-1].rstrip() if bare[-1:] in (",", ":") else bare
    return begin + len(head) - len(body), end - len(tail) + len(bare)


def _first_character(text: str, begin: int) -> str:
    """The first character that is not blank."""
    return text[begin : begin + _BLANKS].lstrip()[:1]


def _first_that_fits(length: int, fits: Callable[[int], bool]) -> int:
    """The first of so many elements that fits (what is inside one that fits, does too); ``length`` if none does."""
    low, high = 0, length
    while low < high:
        middle = (low + high) // 2 if high - low > 4 else low
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low


class _Scanner:
    """The places of a JSON text and their levels, read block by block. Places are characters of the document.

    Levels are the characters of a str, because that is searched fast. From place to place depth changes by one, and
    the place behind a bracket belongs to the outer level behind a closing one, to the inner behind an opening one: so
    the first place that is less deep than another is looked for with two or three levels, never with all.
    """

    def __init__(self) -> None:
        # The first record begins with the document. In a memoryview one is found in half of the time that numpy takes.
        self.places = numpy.zeros(1, numpy.int64).data
        self._levels = "\0"
        self._seen = 0
        self._depth = 0
        self._quoted = 0  # 1: the text read so far ends inside a string
        self._escaped = False  # and behind a backslash
        self._steps = numpy.zeros(256, numpy.int8)
        self._steps[list(b"{[")] = 1
        self._steps[list(b"}]")] = -1

    def drop(self, base: int) -> None:
        """Forget what lies before ``base``."""
        first = bisect_left(self.places, base)
        self.places, self._levels = self.places[first:], self._levels[first:]

    def around(self, limit: int, first: int) -> list[int]:
        """The places ``first .. limit - 1`` that are the last of their level or less, outermost first."""
        rfind, index = self._levels.rfind, limit - 1
        found = []
        while index >= 0:
            found.append(index)
            level = ord(self._levels[index])
            if level % 2:
                index = rfind(chr(level - 1), first, index)
            elif level:
                index = max(rfind(chr(level - 1), first, index), rfind(chr(level - 2), first, index))
            else:
                break
        found.reverse()
        return found

    def valued(self, index: int) -> bool:
        """Whether the place lies behind a colon, or a closing bracket."""
        return ord(self._levels[index]) % 2 == 1

    def is_record(self, index: int) -> bool:
        """Whether the place lies behind the newline of a record."""
        return self._levels[index] == "\0"

    def end(self, index: int, low: int, high: int) -> int:
        """The first place in ``low .. high - 1`` with the level of the place ``index`` or less; or ``high``."""
        levels = self._levels
        level = ord(levels[index])
        if low < high and ord(levels[low]) <= level:
            return low
        for smaller in range(level, max(-1, level - 2 - level % 2), -1):
            found = levels.find(chr(smaller), low, high)
            high = found if found >= 0 else high
        return high

    def read(self, text: str, base: int) -> None:
        """Go on where the last call ended."""
        new = text[self._seen - base :]
        if not new:
            return
        # One byte a character; what is not Latin-1 becomes "?", which means nothing here.
        data = new.encode("latin-1", "replace")
        if self._escaped:
            data = b"?" + data[1:]
        places, levels = self._leveled(data, *self._marks(data))
        self.places = numpy.concatenate((self.places, places + self._seen)).data
        self._levels += _as_text(levels)
        self._seen += len(new)

    def _marks(self, data: bytes) -> tuple[Any, Any]:
        """Offsets of the brackets, commas, colons and newlines outside of strings, and these characters."""
        marks = numpy.flatnonzero(numpy.frombuffer(data.translate(_IS_MARK), numpy.bool_))
        what = numpy.frombuffer(data, numpy.uint8).take(marks)
        quotes = what == _QUOTE
        meant = ~quotes
        slashes = numpy.flatnonzero(what == _BACKSLASH)
        self._escaped = False
        if len(slashes):
            meant[slashes] = False
            escaped = self._escapes(marks, slashes, len(data))
            meant[escaped[quotes.take(escaped)]] = False
            quotes[escaped] = False
        number = quotes.cumsum(dtype=numpy.int32)
        number += self._quoted
        newlines = number[what == _NEWLINE]
        if (newlines & 1).any():
            # No JSON string goes over a newline: one stray quote spoils only its own line.
            number -= numpy.maximum.accumulate(numpy.where(what == _NEWLINE, number, 0))
        if len(number):
            self._quoted = int(number[-1]) & 1
        number &= 1
        plain = numpy.flatnonzero((number == 0) & meant)
        return marks.take(plain), what.take(plain)

    def _escapes(self, marks: Any, slashes: Any, length: int) -> Any:
        """The marks that the backslashes among them escape. In a run of these every other one does, from the first."""
        number = numpy.arange(len(slashes))
        places = marks.take(slashes)
        first = numpy.diff(places, prepend=-2) != 1
        escaping = slashes[((number - numpy.maximum.accumulate(number * first)) & 1) == 0]
        escaped = marks.take(escaping) + 1
        self._escaped = int(escaped[-1]) == length
        follows = numpy.minimum(escaping + 1, len(marks) - 1)
        return follows[marks.take(follows) == escaped]

    def _leveled(self, data: bytes, marks: Any, what: Any) -> tuple[Any, Any]:
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


def _as_text(levels: Any) -> str:
    """Levels → characters. What is closed more often than it was opened has level 0."""
    levels = levels.clip(0, 0x10FFFF)
    if len(levels) and levels.max() > 0xFF:
        return str(levels.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass"))
    return str(levels.astype("u1").tobytes().decode("latin-1"))
