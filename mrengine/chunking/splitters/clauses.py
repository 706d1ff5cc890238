"""Finds the titles of numbered sections in running text: articles, chapters, paragraphs of laws, ``2.1 Scope``."""

from __future__ import annotations

import re
from functools import cache

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.lines import unified

__all__ = ["LETTERS", "NAMES", "ROMAN", "Clauses"]

ROMAN = "[ivxlcIVXLC]{1,7}"
_OUTER = "Part|PART|Teil|Partie|Parte|Book|BOOK|Annex|ANNEX|Schedule|SCHEDULE|Appendix|Anlage|Раздел"
_MIDDLE = "Chapter|CHAPTER|Kapitel|Abschnitt|Chapitre|Titre|Capítulo|Capitolo|Глава|Rozdział"
_INNER = (
    "Section|SECTION|Article|ARTICLE|Art\\.|Clause|CLAUSE|Paragraph|Rule|RULE|Artikel|Artículo|ARTÍCULO|Sección|Cláusula"
    "|CLÁUSULA|Artigo|ARTIGO|Articolo|Статья|Artykuł"
)
NAMES = f"{_OUTER}|{_MIDDLE}|{_INNER}"
LETTERS = "".join(sorted({name[0] for name in NAMES.split("|")}))  # a clause begins with one of these, or a digit
_NAMED = (
    rf"(?:(?P<outer>{_OUTER})|(?P<middle>{_MIDDLE})|(?:{_INNER}))[ \t]+(?:\d[\d.]*ª?|{ROMAN}\b|[A-Z]\b)"
    r"|(?P<middle_too>第.{1,4}章)|§+[ \t]*\d+\w?|第.{1,4}[条节]"
)
_WORDS = 9  # a title has no more
_REST = 90  # characters of a line behind its number or name: a title has no more
_SHORT_LINE = rf"(?=[^\n]{{0,{_REST + 20}}}\n)"  # a condition of an expression: the line is short enough for a title
_has_many_words = re.compile(rf"(?:[^\n ]* ){{{_WORDS}}} *\S").match
_ENDS = (".", "!", "?", ";", ",", ":", "…", "。")
_LEVELS = {"outer": 1, "middle": 2, "middle_too": 2}
_NUMBERS = ("number", "deeper")  # the groups of numbers
_NUMBERED = 10  # the level of a clause with a number alone; each stop in the number makes it one more
_LONGEST = 160  # characters of a title that are kept
_NUMBER = re.compile(r"\s*(\d{1,3}(?:\.\d{1,3})*)\.?[ \t]")
_BEFORE, _BEHIND = 200, 300  # characters around a title that are looked at
_NONE = 1 << 30  # a level that no title has


def _numbered(group: str, stops: str = "*") -> str:
    """The expression of a number with as many stops as the quantifier ``stops`` says."""
    return rf"(?P<{group}>\d{{1,3}}(?:\.\d{{1,3}}){stops})\.?[ \t]+(?=[^\W\d_])"


def _clause(number: str) -> str:
    """The expression of the begin of a clause, with this expression of its number."""
    return rf"{INDENT}(?=[{LETTERS}第§\d])(?:{number}|{_NAMED})"


_FIRST = re.compile(rf"\s*(?<![^\n]){_clause(_numbered('number'))}").match


@cache
def _heads(level: int) -> re.Pattern[str]:
    """The expression of lines that end a section of this level or one farther out, and of lines that may be titles."""
    # A number that lies deeper ends nothing: its line matters only if it is short enough for a title. The newline comes
    # first, so that the expression is tried only where a line begins.
    number = _SHORT_LINE + _numbered("deeper")
    if level >= _NUMBERED:
        number = f"{_numbered('number', f'{{0,{level - _NUMBERED}}}')}|{number}"
    return re.compile(rf"\n{_clause(number)}")


class Clauses:
    """The titles above a place; the places that are asked for go forwards."""

    def __init__(self) -> None:
        self._above: list[tuple[int, str]] = []
        self._deepest = 0  # the level of the deepest title so far: a clause that lies deeper ends no titled section
        self._text = ""  # the window
        self._base = 0
        # Both in characters of the document: up to where each line and the one below it are complete, as a title may
        # take both; and the last place that was asked for.
        self._until = 0
        self._at = 0
        self._first: tuple[int, str] | None = None  # level and title of the clause that begins at the last place

    def see(self, text: str, base: int, *, marked: bool) -> None:
        """Take a window that has new text. ``marked``: whether clauses may begin in it."""
        self._text, self._base = text, base
        if marked:
            self._text = text = unified(text)
            end = text.rfind("\n", 0, max(0, text.rfind("\n"))) + 1
            self._until = max(self._until, base + end)

    def above(self, start: int) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first."""
        # The title that begins at ``start`` stands in the chunk itself: it is kept for the next place.
        end = self._until - self._base
        low, stop = max(0, self._at - self._base), min(start, end)
        if low < stop:
            self._note(low, stop, end)
            self._at, self._first = self._base + stop, None
        first = _FIRST(self._text, start, min(start + _BEHIND, end)) if start < end else None
        if first and (title := _title(self._text, first)) is not None:
            self._first = (_level(first), title)
        if not self._above:
            return ()
        least = self._first[0] if self._first else _NONE
        return tuple([title for level, title in self._above if level < least])

    def _note(self, low: int, stop: int, end: int) -> None:
        """Take the titles between these places into account."""
        # From the last back: a title before another that lies as far out, or farther, is of no section that goes on.
        new: list[tuple[int, str]] = []
        least = _NONE
        text, behind = self._text, min(stop + _BEHIND, end)
        found = list(_heads(self._deepest).finditer(text, low, behind))
        while found and found[-1].start() + 1 >= stop:
            found.pop()
        for match in reversed(found):
            deeper = match.lastgroup == "deeper"
            if deeper and least <= _NUMBERED:
                continue
            level = _level(match)
            if level >= least or (deeper and _has_many_words(text, match.end(), behind)):
                continue
            if (title := _title(text, match)) is not None:
                least = level
                if title:
                    new.append((level, title))
        if self._first and self._first[0] < least:
            least = self._first[0]
            if self._first[1]:
                new.append(self._first)
        if new and new[0][0] > self._deepest:
            self._deepest = new[0][0]
            self._note(low, stop, end)  # once more, with the expression of all lines that may end its section
            return
        while self._above and self._above[-1][0] >= least:
            self._above.pop()
        self._above += reversed(new)


def _level(match: re.Match[str]) -> int:
    found = match.lastgroup or ""
    if found in _NUMBERS:
        return _NUMBERED + match[found].count(".")
    return _LEVELS.get(found, 3)


def _title(text: str, match: re.Match[str]) -> str | None:
    """The title of the clause that begins with a match; "": it has none; None: it is an item or a reference.

    A line that has a number alone takes its title from the line below.
    """
    behind = match.end()
    place = text.rfind("\n", 0, behind) + 1
    above = text[max(0, place - _BEFORE) : max(0, place - 1)].rstrip(" \t")[-1:]
    parted = above in ("", "\n")
    if not parted and above not in _ENDS:
        return None
    end = text.find("\n", behind, behind + _REST + 1)
    rest = text[behind : end if end >= 0 else behind + _REST].strip()
    below = text[end + 1 : end + 1 + _LONGEST].partition("\n")[0].strip() if end >= 0 else ""
    said = end < 0 or rest.count(" ") >= _WORDS or below[:1].islower()
    if match.lastgroup in _NUMBERS:
        if _has_sibling(text, match, end if end >= 0 else behind + _REST):
            return None
        if said or rest.endswith(_ENDS) or not (parted or rest.isupper() or rest.istitle()):
            return ""
    elif said or rest.endswith((",", ";")):
        return ""
    title = text[place:end]
    if below and not rest.strip(".:-–— ") and below.count(" ") < _WORDS and not below.endswith(_ENDS):
        title = f"{title} {below}"
    return " ".join(title.split())[:_LONGEST].rstrip()


def _has_sibling(text: str, match: re.Match[str], end: int) -> bool:
    """Whether the next line is numbered in the same way: then both are items of a list."""
    number = _NUMBER.match(text, end, end + _BEHIND)
    return number is not None and number[1].count(".") == match[match.lastgroup or 0].count(".")
