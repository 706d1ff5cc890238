"""Finds the titles that stand above a place, for kinds of text that have headings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

from mrengine.chunking.splitters.marks import doubled

__all__ = ["Headings"]

_LONGEST = 200  # characters of a title
_NONE = 1 << 30  # a level that no heading has
_MARK = 4  # characters: a mark, and the newline before it, are no longer
_RULES = ("=", "-", "~", "^", '"', "*", "+")  # what the line below a title may be made of


class Headings:
    """The headings in force at one place after another; the text is read once.

    ``rules``: the characters that the rule below a heading may be made of; the begins of such lines, and of those with
    hashes, are looked for here. ``read(text, offset)``: level (1 is outermost) and title of what has its mark there;
    None if that is no heading. ``leasts``: the least level of a heading by the first character of its mark.
    """

    def __init__(
        self, rules: str, read: Callable[[str, int], tuple[int, str] | None], leasts: Mapping[str, int]
    ) -> None:
        self._marks = "#" + rules
        self._read = read
        self._leasts = leasts
        self._stack: list[tuple[int, str]] = []
        self._places: list[int] = []  # where marks are that were not read yet; in characters of the document
        self._known = -1  # the last mark found
        self._seen = 0  # characters of the document

    def look_for(self, rules: str) -> None:
        """Other characters for the rules, before any text was read."""
        self._marks = "#" + rules

    def above(self, text: str, base: int, start: int, inside: Callable[[int], object] | None = None) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first. ``inside``: whether a place has no headings."""
        if base + len(text) != self._seen:
            self._find(text, base)
        places = self._places
        if places and places[0] < start + base:
            until = bisect_left(places, start + base)
            self._note(text, base, places[:until], inside)
            del places[:until]
        if not self._stack:
            return ()
        least = self._next_level(text, start)
        return tuple([title for level, title in self._stack if level < least])

    def _find(self, text: str, base: int) -> None:
        """Find the marks in the text that is new; one at its end may not be complete yet."""
        low = max(0, self._seen - base - _MARK)
        found = doubled(text[low:], self._marks, first=self._seen == 0) + (low + base)
        self._places += found[found > self._known].tolist()
        self._known = max(self._known, self._places[-1]) if self._places else self._known
        self._seen = base + len(text)

    def _next_level(self, text: str, start: int) -> int:
        """The level of a heading that begins at ``start``, which ends all sections that are as deep; or a large one."""
        stop = start + _LONGEST
        while start < stop and text[start : start + 1] in ("\n", "\r", " ", "\t"):
            start += 1
        found = self._read(text, start)
        below = text.find("\n", start) + 1
        if not found and text[below : below + 1] in _RULES:
            found = self._read(text, below)
        return found[0] if found else _NONE

    def _note(self, text: str, base: int, places: list[int], inside: Callable[[int], object] | None) -> None:
        """Take the headings at these marks of the document, from the last back: one before another that lies as far out
        is not seen.
        """
        new: list[tuple[int, str]] = []
        least = _NONE
        deeper = "#" * 7
        leasts = self._leasts
        for place in reversed(places):
            at = place - base
            mark = text[at]
            if leasts[mark] >= least or (mark == "#" and text.startswith(deeper, at)):
                continue
            found = self._read(text, at)
            if found and found[0] < least and not (inside and inside(at)):
                least = found[0]
                deeper = "#" * least
                new.append((least, found[1][:_LONGEST]))
                if least == 1:
                    break
        while self._stack and self._stack[-1][0] >= least:
            self._stack.pop()
        self._stack += reversed(new)
