"""Owns the cutting of Markdown: a fenced block stays whole if it fits; else headings, paragraphs, items, sentences."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from mrengine.chunking.splitters.code import Code
from mrengine.chunking.splitters.lines import lines_near, soft_window
from mrengine.chunking.splitters.prose import Prose, sentence_begins

__all__ = ["Fences", "Markdown"]

_HEADING = re.compile(r"#{1,6}\s")
_ITEM_MARK = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s")


class Markdown:
    """The splitter of Markdown; it remembers where fenced blocks are."""

    kind = "markdown"

    def __init__(self, target: int) -> None:
        self._window = 0.6 * soft_window(target)  # fenced blocks that stay whole cost fill, too
        self._prose = Prose(target)
        self._code = Code(target)
        self._fences = Fences()

    def see(self, text: str, base: int) -> None:
        """Note the fenced blocks of the text that is new."""
        self._fences.see(text, base)

    def cut(self, text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
        """Before a fenced block that the limit would tear and that fits; else the best line or sentence.

        Behind ``high``, if such a block begins at ``start``: its last token may be one with the newline behind it.
        """
        fence = self._fences.around(high)
        if fence:
            opened, closed = fence
            if not text[start : max(start, opened)].strip() and fits(start, closed):
                return min(closed, len(text))
            if opened > start and fits(opened, closed):
                high = opened
                if self._begins_well(text, opened):
                    return opened
            else:
                inside = max(start, opened + 1)
                cut = self._code.cut(text, inside, high, fits) if high > inside else high
                return cut if cut > start else high
        low = high - int((high - start) * self._window)
        best = self._best_line(text, max(low, start + 1), high)
        return best or self._outside(self._prose.cut(text, start, high, fits), start, fits)

    def _begins_well(self, text: str, offset: int) -> bool:
        return text[max(0, offset - 2) : offset] == "\n\n"

    def _outside(self, cut: int, start: int, fits: Callable[[int, int], bool]) -> int:
        """The cut, or the begin of the fenced block that it would tear."""
        fence = self._fences.around(cut)
        return fence[0] if fence and fence[0] > start and fits(*fence) else cut

    def _best_line(self, text: str, low: int, high: int) -> int:
        """The last line in ``low .. high`` with the least rank, outside of fenced blocks; or 0."""
        best, least = 0, 1 << 30
        for begin, indent, body, above in lines_near(text, low, high):
            rank = _rank(indent, body, above)
            # A heading is not parted from what it heads.
            if (
                rank <= least
                and not self._fences.around(begin)
                and (rank < _PARAGRAPH or not _headed(text, begin, above))
            ):
                best, least = begin, rank
        return best

    def resume(self, text: str, low: int, start: int) -> int:
        """The first sentence or line at ``low`` or later that is not inside a fenced block; else the first inside."""
        first = start
        for begin in sentence_begins(text, low, start):
            fence = self._fences.around(begin)
            if not fence:
                return begin
            first = min(first, begin)
            if fence[1] >= start:
                break
        return first


_PARAGRAPH, _ITEM, _ROW = 10, 20, 90


def _rank(indent: int, body: str, above: str) -> int:
    """Smaller is better: headings by level, paragraphs, list items by indentation, lines."""
    if body[0] == "#" and (heading := _HEADING.match(body)):
        return heading.end() - 1
    if not above:
        return _PARAGRAPH + min(indent, 9)
    return _ITEM + min(indent, 60) if _ITEM_MARK.match(body) else _ROW


def _headed(text: str, begin: int, above: str) -> bool:
    """Whether the last line before, blank ones aside, is a heading or the rule under one."""
    above = above or text[max(0, begin - 100) : begin].rstrip().rpartition("\n")[2]
    return above.startswith("#") or not above.strip("=-")


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


def _find(text: str, mark: str, low: int, high: int, known: int) -> int:
    """The next ``mark`` at ``low`` or later, ``high`` if there is none. ``known``: the last answer."""
    if known >= low:
        return known
    found = text.find(mark, low, high)
    return high if found < 0 else found
