"""Owns which titles stand above a place, for kinds of text that have headings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

__all__ = ["Headings"]

_LONGEST = 200  # characters of a title
_RULES = ("=", "-", "~", "^", '"', "*", "+")  # what the line below a title may be made of


class Headings:
    """The headings in force at one place after another; the text is read once.

    ``marks``: what a heading, or the rule below one, begins with, newline first. ``read(text, offset)``: level (1 is
    outermost) and title of what has its mark's second character there; None if that is no heading.
    """

    def __init__(self, marks: tuple[str, ...], read: Callable[[str, int], tuple[int, str] | None]) -> None:
        self._marks = marks
        self._read = read
        self._stack: list[tuple[int, str]] = []
        self._places: list[int] = []  # where marks are that were not read yet; in characters of the document
        self._known = -1  # the last mark found
        self._seen = 0  # characters of the document

    def add_marks(self, marks: tuple[str, ...]) -> None:
        """More marks, before any text was read."""
        self._marks += marks

    def above(self, text: str, base: int, start: int, inside: Callable[[int], object] | None = None) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first. ``inside``: whether a place has no headings."""
        self._find(text, base)
        until = bisect_left(self._places, start + base)
        for place in self._places[:until]:
            if not (inside and inside(place - base)):
                self._note(text, place - base)
        del self._places[:until]
        if not self._stack:
            return ()
        least = self._next_level(text, start)
        return tuple([title for level, title in self._stack if level < least])

    def _find(self, text: str, base: int) -> None:
        """Find the marks in the text that is new; one at its end may not be complete yet."""
        if base + len(text) == self._seen:
            return
        if self._seen == 0 and text.startswith(tuple(mark[1:] for mark in self._marks)):
            self._places.append(0)
        low = max(0, self._seen - base - max(map(len, self._marks)))
        last = self._places[-1] if self._places else -1
        found = sorted({at + 1 + base for mark in self._marks for at in _places(text, mark, low, len(text))})
        self._places += [place for place in found if place > max(last, self._known)]
        self._known = max(self._known, self._places[-1]) if self._places else self._known
        self._seen = base + len(text)

    def _next_level(self, text: str, start: int) -> int:
        """The level of a heading that begins at ``start``, which ends all sections that are as deep; or a large one."""
        while text[start : start + 1] in ("\n", "\r", " ", "\t"):
            start += 1
        found = self._read(text, start)
        below = text.find("\n", start) + 1
        if not found and text[below : below + 1] in _RULES:
            found = self._read(text, below)
        return found[0] if found else 1 << 30

    def _note(self, text: str, place: int) -> None:
        found = self._read(text, place)
        if found:
            level, title = found
            while self._stack and self._stack[-1][0] >= level:
                self._stack.pop()
            self._stack.append((level, title[:_LONGEST]))


def _places(text: str, mark: str, low: int, high: int) -> list[int]:
    found = []
    place = text.find(mark, low, high)
    while place >= 0:
        found.append(place)
        place = text.find(mark, place + 1, high)
    return found
