"""Owns Markdown: headings of both makes, paragraphs, lists, tables; a fenced block stays whole if it fits."""

from __future__ import annotations

import re
from bisect import bisect_right

from mrengine.chunking.boundaries import ALWAYS, ITEM, LINE, PARAGRAPH, SECTION, SOFT, WHOLE, Boundary, Context, opening
from mrengine.chunking.code import Code
from mrengine.chunking.headings import Headings
from mrengine.chunking.sample import Sample

__all__ = ["Fences", "Markdown", "looks"]

_LINE = re.compile(r"\n([ \t>]*)(?:(#{1,6})[ \t]|([-*+]|\d{1,9}[.)])[ \t]|(\|)|(?=\S))")
_UNDERLINE = re.compile(r"[^\n]*\n {0,3}(?:(=)=*|(-)-+)[ \t\r]*(?:\n|$)")
_RULE = re.compile(r"[ \t>]*\|?[ \t]*:?-{1,}:?[ \t]*(?:\|[ \t:|-]*)?\r?$")
_HEADING = re.compile(r"\n {0,3}(#{1,6})[ \t]+([^\n]*)|\n {0,3}(?=\S)([^\n|]+)\n {0,3}(=+|-{2,})[ \t\r]*(?=\n)")
_DEEP = 1000  # the levels inside a fenced block


class Markdown:
    """Markdown. It remembers where fenced blocks are, and which headings stand above."""

    name = "markdown"
    opens = opening(r"\s*\*\*[^*]{1,80}\*\*$")

    def __init__(self, target: int) -> None:
        self._code = Code(target)
        self._fences = Fences()
        self._headings = Headings(_HEADING, _heading)
        self._base = 0

    def see(self, text: str, base: int) -> None:
        """Note the fenced blocks of the text that is new."""
        self._base = base
        self._fences.see(text, base)

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Headings, paragraphs, items, rows; fenced blocks, and what is in them."""
        fences = self._fences.between(low, high)
        found: list[Boundary] = []
        for match in _LINE.finditer(text, max(low, 0), high + 1):
            begin = match.start() + 1
            if low < begin <= high and not any(a < begin < b for a, b in fences):
                boundary = _boundary(text, match, begin)
                if boundary:
                    found.append(boundary)
        if fences:
            found += self._fenced(text, low, high, fences)
            found.sort()
        return found

    def _fenced(self, text: str, low: int, high: int, fences: list[tuple[int, int]]) -> list[Boundary]:
        found: list[Boundary] = []
        for begin, end in fences:
            if low < begin <= high or begin <= low <= high < end:
                indent = len(text[begin : begin + 80]) - len(text[begin : begin + 80].lstrip(" "))
                found.append((begin, ITEM + indent if indent > 1 else PARAGRAPH, ALWAYS))
            inside = self._code.boundaries(text, max(low, begin), min(high, end - 1))
            found += [(place, level + _DEEP, whole) for place, level, whole in inside if place > begin]
        return found

    def context(self, text: str, start: int) -> Context:
        """The headings above."""
        return Context(self._headings.above(text, self._base, start, self._fences.around))


def _boundary(text: str, match: re.Match[str], begin: int) -> Boundary | None:
    """What begins at a line outside of fenced blocks, if anything does."""
    indent = len(match.group(1))
    what = match.lastindex
    if what == 2:
        return begin, SECTION + len(match.group(2)), SOFT
    after_blank = _after_blank(text, match.start())
    if what == 3:
        return begin, ITEM + indent, WHOLE
    if what == 4:
        return _row(text, begin, after_blank)
    underline = _UNDERLINE.match(text, begin)
    if underline and (after_blank or text[begin : begin + 1] != "|"):
        return begin, SECTION + (1 if underline.group(1) else 2), SOFT
    if after_blank:
        return begin, ITEM + indent if indent > 1 else PARAGRAPH, SOFT
    return None if _is_underline(text, begin) else (begin, LINE, SOFT)


def _row(text: str, begin: int, after_blank: bool) -> Boundary | None:
    """A row of a table; the first is the table. The rule below it and the first row below that begin nothing."""
    if after_blank:
        return begin, PARAGRAPH, WHOLE
    if _RULE.match(_line(text, begin)):
        return None
    above = text.rfind("\n", 0, begin - 1) + 1
    return None if _RULE.match(text[above : begin - 1]) else (begin, ITEM, WHOLE)


def _line(text: str, begin: int) -> str:
    end = text.find("\n", begin)
    return text[begin : end if end >= 0 else len(text)]


def _is_underline(text: str, begin: int) -> bool:
    line = _line(text, begin).strip()
    return bool(line) and (not line.strip("=") or not line.strip("-"))


def _after_blank(text: str, newline: int) -> bool:
    """Whether the line that ends at ``newline`` is blank."""
    if newline and text[newline - 1] not in " \t\r\n>":
        return False
    return text[max(0, newline - 40) : newline].rstrip(" \t\r>")[-1:] in ("", "\n")


def _heading(match: re.Match[str]) -> tuple[int, str]:
    """Level and title of a heading."""
    if match.group(1):
        return len(match.group(1)), match.group(2).strip().rstrip("#").rstrip()
    return (1 if match.group(4)[0] == "=" else 2), match.group(3).strip()


_HARD = re.compile(r"#{1,6}[ \t]+\S|.*(?:\]\(|\*\*)")
_MARK = re.compile(r"\s*(?:[-*+>]\s+\S|\|.*\||=+$|-+$)")


def looks(sample: Sample) -> float:
    """How much a text looks like Markdown."""
    lines = sample.unfenced
    if not lines:
        return 0.0
    hard = sum(1 for line in lines if _HARD.match(line)) + 2 * sample.fences
    marks = sum(1 for line in lines if _MARK.match(line))
    return 0.75 if hard >= 2 or (hard and marks >= 3) or marks + hard > 0.3 * len(lines) else 0.0


class Fences:
    """Where the fenced blocks lie that end in the window or behind it."""

    def __init__(self) -> None:
        self._begins: list[int] = []  # of the opening line; in characters of the document
        self._ends: list[int] = []  # behind the closing line
        self._open = ""  # the marks of the block that is open
        self._seen = 0
        self._base = 0

    def see(self, text: str, base: int) -> None:
        """Go on reading at the first line that was not complete last time; forget what ends before the window."""
        self._base = base
        gone = bisect_right(self._ends, base)
        del self._begins[:gone], self._ends[:gone]
        end = text.rfind("\n") + 1
        position = max(0, self._seen - base)
        ticks = tildes = -1
        tilded = text.find("~", position, end) >= 0  # one character is found ten times as fast as three
        while position < end:
            ticks = _find(text, "```", position, end, ticks)
            tildes = _find(text, "~~~", position, end, tildes) if tilded else end
            found = min(ticks, tildes)
            if found == end:
                break
            position = self._line(text, found)
        self._seen = max(self._seen, base + end)

    def _line(self, text: str, found: int) -> int:
        """Take note of the marks at ``found``, if they begin their line; returns where the next line begins."""
        begin = text.rfind("\n", 0, found) + 1
        after = text.find("\n", found) + 1
        if text[begin:found].strip(" \t>-*+0123456789.)"):
            return after
        line = text[found:after]
        marks = line[: len(line) - len(line.lstrip(line[0]))]
        rest = line[len(marks) :]
        if not self._open:
            if marks[0] == "~" or "`" not in rest:
                self._open = marks
                self._begins.append(begin + self._base)
        elif marks.startswith(self._open) and not rest.strip():
            self._open = ""
            self._ends.append(after + self._base)
        return after

    def around(self, offset: int) -> tuple[int, int] | None:
        """The block that a cut at ``offset`` of the window would tear, or None. An open one ends far away."""
        index = bisect_right(self._begins, offset + self._base - 1) - 1
        if index < 0:
            return None
        end = self._ends[index] - self._base if index < len(self._ends) else 1 << 62
        return (self._begins[index] - self._base, end) if offset < end else None

    def between(self, low: int, high: int) -> list[tuple[int, int]]:
        """The blocks that reach into ``low .. high`` of the window."""
        first = bisect_right(self._ends, low + self._base)
        last = bisect_right(self._begins, high + self._base)
        ends = [*self._ends[first:last], 1 << 62][: last - first]
        return [(a - self._base, b - self._base) for a, b in zip(self._begins[first:last], ends, strict=True)]


def _find(text: str, mark: str, low: int, high: int, known: int) -> int:
    """The next ``mark`` at ``low`` or later, ``high`` if there is none. ``known``: the last answer."""
    if known >= low:
        return known
    found = text.find(mark, low, high)
    return high if found < 0 else found
