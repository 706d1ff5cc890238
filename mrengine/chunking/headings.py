"""Owns which titles stand above a place, for kinds of text that have headings."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["Headings"]

_LONGEST = 200  # characters of a title
_FIRST = 1000  # characters: so long is a heading at most


class Headings:
    """The headings in force at one place after another; the text is read once.

    ``pattern`` matches a heading, or the rule below one, with the newline before it; ``read`` gives its level (1 is
    outermost) and its title, or None.
    """

    def __init__(self, pattern: re.Pattern[str], read: Callable[[re.Match[str]], tuple[int, str] | None]) -> None:
        self._pattern = pattern
        self._read = read
        self._stack: list[tuple[int, str]] = []
        self._seen = 0  # characters of the document

    def above(self, text: str, base: int, start: int, inside: Callable[[int], object] | None = None) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first. ``inside``: whether a place has no headings."""
        low = max(self._seen - base, 0)
        if low == 0 == base and start and (first := self._pattern.match("\n" + text[:_FIRST])):
            self._note(first)
        for match in self._pattern.finditer(text, max(0, low - 1), start):
            if not (inside and inside(match.start() + 1)):
                self._note(match)
        self._seen = base + start
        if not self._stack:
            return ()
        least = self._next_level(text, start)
        return tuple(title for level, title in self._stack if level < least)

    def _next_level(self, text: str, start: int) -> int:
        """The level of a heading that begins at ``start``, which ends all sections that are as deep; or a large one."""
        body = "\n" + text[start : start + _FIRST].lstrip()
        match = self._pattern.match(body) or self._pattern.match(body, max(body.find("\n", 1), 0))
        found = self._read(match) if match else None
        return found[0] if found else 1 << 30

    def _note(self, match: re.Match[str]) -> None:
        found = self._read(match)
        if found:
            level, title = found
            while self._stack and self._stack[-1][0] >= level:
                self._stack.pop()
            self._stack.append((level, title[:_LONGEST]))
