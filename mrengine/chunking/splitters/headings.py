"""Owns which titles stand above a place, for kinds of text that have headings."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Headings"]

_LONGEST = 200  # characters of a title


class Headings:
    """The headings in force at one place after another; the text is read once.

    ``marks``: what a heading, or the rule below one, begins with, newline first. ``read(text, offset)``: level (1 is
    outermost) and title of what has its mark's second character there; None if that is no heading.
    """

    def __init__(self, marks: tuple[str, ...], read: Callable[[str, int], tuple[int, str] | None]) -> None:
        self._marks = marks
        self._read = read
        self._stack: list[tuple[int, str]] = []
        self._seen = 0  # characters of the document

    def above(self, text: str, base: int, start: int, inside: Callable[[int], object] | None = None) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first. ``inside``: whether a place has no headings."""
        low = max(self._seen - base, 0)
        if low == 0 == base and start and text.startswith(tuple(mark[1:] for mark in self._marks)):
            self._note(text, 0)
        low = max(0, low - 1)
        found = [at + 1 for mark in self._marks for at in _places(text, mark, low, start)]
        for place in sorted(found) if len(found) > 1 else found:
            if not (inside and inside(place)):
                self._note(text, place)
        self._seen = base + start
        if not self._stack:
            return ()
        least = self._next_level(text, start)
        return tuple([title for level, title in self._stack if level < least])

    def _next_level(self, text: str, start: int) -> int:
        """The level of a heading that begins at ``start``, which ends all sections that are as deep; or a large one."""
        while text[start : start + 1] in ("\n", "\r", " ", "\t"):
            start += 1
        found = self._read(text, start) or self._read(text, text.find("\n", start) + 1)
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
