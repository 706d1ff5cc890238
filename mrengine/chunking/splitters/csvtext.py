"""Tables as text, fields separated by any of ``, ; | tab``: a quoted record may span several lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from mrengine.chunking.boundaries import NO_CONTEXT, RECORD, WHOLE, Boundary, Context, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.forms import NOTHING, any_of, newline_of
from mrengine.chunking.splitters.log import TIMES

__all__ = ["Csv", "looks"]

_SEPARATORS = ",;\t|"
_RECORDS = 120
_HEAD = 12_000  # characters: the kind and the separator are told from these
_LONGEST = 60_000  # characters: a quote that is open for longer opens nothing
_HEADER = 4000
_QUOTED = re.compile(r'"[^"]*"')
_VALUE = re.compile(r"[-+$€£]?[\d.,:/ T-]*\d[\d.,:/ TZ%+-]*$")


class Csv(Stateless):
    """Records. It keeps where fields in quotes go over lines."""

    name = "csv"
    outermost = RECORD
    opens = NOTHING
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._begins: list[int] = []  # of the lines below the one that opens a quote; in characters of the document
        self._ends: list[int] = []  # and of the line that closes it
        self._open = -1  # where the line begins below the one that left a quote open
        self._read = 0  # the lines before are read
        self._base = 0
        self._newline = "\n"
        self._separator = ""
        self._header = ""
        self._header_end = 0

    def see(self, text: str, base: int) -> None:
        """Find the fields that go over lines in the text that is new; the first record, in the first window."""
        self._base = base
        if not self._separator:
            self._newline = newline_of(text)
            self._separator = _shape(text[:_HEAD] + self._newline).separator or ","
        position = self._read - base
        end = text.rfind(self._newline) + 1
        if position < end:
            if self._open >= 0 or text.find('"', position, end) >= 0:
                self._lines(text[position:end], self._read)
            self._read = base + end
        gone = bisect_right(self._ends, base)
        del self._begins[:gone], self._ends[:gone]
        if not base and not self._header_end:
            self._header_end, self._header = self._first_record(text)

    def _lines(self, text: str, begin: int) -> None:
        """Read whole lines. One with an odd number of quotes opens a field or closes one; others mean nothing."""
        for low, high in _odd_lines(text, self._newline):
            line, place = text[low:high], begin + low
            if self._open >= 0 and (self._opens(line) or place - self._open > _LONGEST):
                self._open = -1  # the quote that seemed to open a field was a character like others
            if self._open >= 0:
                self._begins.append(self._open)
                self._ends.append(place)
                self._open = -1
            elif self._leaves_open(line):
                self._open = place + len(line) + 1

    def _opens(self, line: str) -> bool:
        """Whether the first quote of a line opens a field, and cannot close one."""
        place = line.find('"')
        if line[place + 1 : place + 2] in (self._separator, ""):
            return False
        run = len(line) - place - len(line[place:].lstrip('"'))
        before, after = line[:place].rstrip(" ")[-1:], line[place + run :].lstrip(" \r")[:1]
        return run % 2 == 1 and before in ("", self._separator) and after not in ("", self._separator)

    def _leaves_open(self, line: str) -> bool:
        place = line.rfind('"')
        if place == 0 or line[place - 1] == self._separator:
            return True
        rest = _QUOTED.sub("", line)
        place = rest.find('"')
        before = rest[:place].rstrip(" ")[-1:]
        return before in ("", self._separator) or line[: line.rfind('"')].endswith('"')

    def _inside(self, place: int) -> bool:
        """Whether a line that begins there goes on with a field; or the record there is the one behind the header."""
        place += self._base
        if 0 <= self._open <= place:
            return place - self._open <= _LONGEST
        index = bisect_right(self._begins, place) - 1
        return (index >= 0 and place <= self._ends[index]) or place == self._header_end

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Where records begin."""
        found: list[Boundary] = []
        place = text.find(self._newline, max(low, 0), high) + 1
        while place:
            if not self._inside(place):
                found.append((place, RECORD, WHOLE))
            place = text.find(self._newline, place, high) + 1
        return found

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The last record."""
        found = self.near(text, far, high)
        return found[0] if found else None

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """The last record: none is better."""
        low = max(low, 0)
        place = text.rfind(self._newline, low, high) + 1
        while place > 1 and self._inside(place):
            index = bisect_right(self._begins, place + self._base) - 1
            if index >= 0 and place + self._base <= self._ends[index]:
                place = max(0, self._begins[index] - self._base - 1)  # behind the line that opens the field
            elif 0 <= self._open <= place + self._base:
                place = max(0, self._open - self._base - 1)
            else:
                place -= 1
            place = text.rfind(self._newline, low, place) + 1 if place > low else 0
        return [(place, RECORD, WHOLE)] if place > low else []

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """The last record."""
        return self.near(text, low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next record."""
        place = text.find(self._newline, max(low, 0), high) + 1
        while place and self._inside(place):
            index = bisect_right(self._begins, place + self._base) - 1
            skip = self._ends[index] - self._base if index >= 0 else 0
            place = text.find(self._newline, max(place, skip), high) + 1
        return place

    def context(self, text: str, start: int) -> Context:
        """The header."""
        return Context((), self._header) if self._header and start + self._base >= self._header_end else NO_CONTEXT

    def _first_record(self, text: str) -> tuple[int, str]:
        """Where the first record ends, and its text, if it looks like a header: names, and no values."""
        begin = len(text[:_HEADER]) - len(text[:_HEADER].lstrip("\ufeff \r\n"))
        while text.startswith(("#", "sep="), begin):
            begin = text.find(self._newline, begin) + 1 or len(text)
        end = text.find(self._newline, begin) + 1
        while end and self._inside(end):
            end = text.find(self._newline, end) + 1
        header = text[begin:end]
        if not 0 < len(header) <= _HEADER:
            return 0, ""
        fields = [field.strip().strip('"') for field in header.strip().split(self._separator)]
        names = [field for field in fields if field and len(field) < 60 and not _VALUE.match(field)]
        if len(fields) < 2 or len(names) < 0.9 * len(fields) or len(set(names)) < len(names):
            return 0, ""
        return end, header


def _odd_lines(text: str, newline: str) -> list[tuple[int, int]]:
    """The spans of the lines with an odd number of quotes."""
    import numpy

    data = numpy.frombuffer(text.encode("latin-1", "replace"), numpy.uint8)
    ends = numpy.flatnonzero(data == ord(newline))
    before = numpy.searchsorted(numpy.flatnonzero(data == ord('"')), ends)
    odd = numpy.flatnonzero(numpy.diff(before, prepend=0) & 1)
    return [(int(ends[index - 1]) + 1 if index else 0, int(ends[index])) for index in odd.tolist()]


def _is_ragged(counts: list[int]) -> bool:
    """Whether fields at the end are left out: the header has the most, and most rows lack but a few."""
    first = counts[0]
    few = sum(1 for count in counts if count >= first - 3)
    return first > 3 and max(counts) == first and min(counts) > 1 and few > 0.8 * len(counts)


class _Shape(NamedTuple):
    """How the lines of a text are divided: columns, and what part of the records has so many."""

    separator: str = ""
    columns: int = 0
    share: float = 0.0
    records: tuple[str, ...] = ()


def _shape(text: str) -> _Shape:
    """The best separator; none, if the records have none in common."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if '"' in text:
        text = _QUOTED.sub("q", text)
    lines = tuple(line for line in text.split("\n")[:-1][:_RECORDS] if line and not line.isspace() and line[0] != "#")
    best = _Shape()
    for separator in _SEPARATORS:
        counts = [line.count(separator) for line in lines[:3]]
        if any(counts):
            counts = [line.count(separator) for line in lines]
            most, times = Counter(counts).most_common(1)[0]
            first = counts[0]
            if times < 0.9 * len(lines) and _is_ragged(counts):
                most, times = first, len(lines)  # fields at the end may be left out
            share = times / len(lines)
            if most and most in counts[:3] and (share, most) > (best.share, best.columns - 1):
                best = _Shape(separator, most + 1, share, lines)
    return best


_CODE_END = (";", "{", "}", ")", ":", "\\", "(", "[", ".", "?", "!", ",")
_TWO = re.compile(r"[\w.-]{1,40}, ?[-\w.]{1,40}\s*$")


def looks(sample: Sample) -> float:
    """How much a text looks like a table: records with the same number of fields."""
    head = sample.head
    if len(sample.lines) < 2 or head[:1] in ("{", "<", "|") or head.startswith("MSH"):
        return 0.0
    text = sample.text[:_HEAD]
    separator, columns, share, records = _shape(text + "\n" if len(sample.text) < _HEAD else text)
    count = len(records)
    if not separator or share < 0.9 or count < 2 or _part(records, lambda line: line[0] == separator) > 0.2:
        return 0.0
    spaced = _part(records, lambda line: separator + " " in line) if separator != "\t" else 0.0
    ended = _part(records, lambda line: line.endswith(_CODE_END) and not line.endswith(separator))
    if columns == 2:
        if count < 4 or share < 0.97 or ended > 0.2 or _part(records, any_of(TIMES).match) > 0.5:
            return 0.0
        if _part(records, lambda line: line.endswith(separator)) > 0.3:
            return 0.0
        if spaced > 0.3 and _part(records, _TWO.match) < 0.9:
            return 0.0
        return 0.9 if sum(map(len, records)) < 80 * count else 0.0
    ends = _part(records, lambda line: line.endswith((";", "{", "}", ":", "\\"))) if separator != ";" else 0.0
    if ends > 0.3 or (count < 3 and spaced) or (spaced > 0.5 and (share < 0.97 or count < 6)):
        return 0.0
    return 0.95 if count > 3 or separator == "\t" else 0.9


def _part(lines: tuple[str, ...], matches: Callable[[str], object]) -> float:
    return sum(1 for line in lines if matches(line)) / len(lines)
