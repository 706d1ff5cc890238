"""Finds the fenced blocks of a Markdown text as the window moves along."""

from __future__ import annotations

from bisect import bisect_right

from mrengine.chunking.sample import is_underline
from mrengine.chunking.splitters.marks import tripled

__all__ = ["Fences"]


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
        begin = position = max(0, self._seen - base)
        for found in _marks(text[position:end]):
            if position + found >= begin:
                begin = self._line(text, position + found)
        self._seen = max(self._seen, base + end)

    def _line(self, text: str, found: int) -> int:
        """Take note of the marks at ``found``, if they begin their line; returns where the next line begins."""
        begin = text.rfind("\n", 0, found) + 1
        after = text.find("\n", found) + 1
        if text[begin:found].strip(" \t>-*+0123456789.)"):
            return after
        line = text[found:after]
        if (
            line[0] == "~"
            and not self._open
            and is_underline(text[begin:after], text[text.rfind("\n", 0, max(begin - 1, 0)) + 1 : begin])
        ):
            return after
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


def _marks(text: str) -> list[int]:
    """Where three ticks or tildes stand in a row. Most texts have few of either; one character is found at once."""
    ticks = tripled(text, "`") if "`" in text else []
    tildes = tripled(text, "~") if "~" in text else []
    return sorted(ticks + tildes) if ticks and tildes else ticks or tildes
