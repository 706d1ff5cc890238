"""Titles of numbered sections in running text: articles, chapters, paragraphs of laws, ``2.1 Scope``."""

from __future__ import annotations

import re
from collections import deque

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.lines import unified

__all__ = ["NAMES", "ROMAN", "Clauses"]

ROMAN = "[ivxlcIVXLC]{1,7}"
_OUTER = "Part|PART|Teil|Partie|Parte|Book|BOOK|Annex|ANNEX|Schedule|SCHEDULE|Appendix|Anlage|Раздел"
_MIDDLE = "Chapter|CHAPTER|Kapitel|Abschnitt|Chapitre|Titre|Capítulo|Capitolo|Глава|Rozdział"
_INNER = (
    "Section|SECTION|Article|ARTICLE|Art\\.|Clause|CLAUSE|Paragraph|Rule|RULE|Artikel|Artículo|ARTÍCULO|Sección|Cláusula"
    "|CLÁUSULA|Artigo|ARTIGO|Articolo|Статья|Artykuł"
)
NAMES = f"{_OUTER}|{_MIDDLE}|{_INNER}"
_LETTERS = "".join(sorted({name[0] for name in NAMES.split("|")}))  # with one of these, or a digit, a clause begins
_CLAUSE = (
    rf"{INDENT}(?=[{_LETTERS}第§\d])(?:(?P<number>\d{{1,3}}(?:\.\d{{1,3}})*)\.?[ \t]+(?=[^\W\d_])"
    rf"|(?:(?P<outer>{_OUTER})|(?P<middle>{_MIDDLE})|(?:{_INNER}))[ \t]+(?:\d[\d.]*ª?|{ROMAN}\b|[A-Z]\b)"
    rf"|(?P<middle_too>第.{{1,4}}章)|§+[ \t]*\d+\w?|第.{{1,4}}[条节])"
)
_CLAUSE_AT = re.compile(_CLAUSE).match
_FIRST = re.compile(rf"{_CLAUSE}(?P<rest>[^\n]{{0,90}})").match
_HEADS = re.compile(rf"\n{_CLAUSE}").finditer  # it begins with one character, so only the begins of lines are looked at
_ENDS = (".", "!", "?", ";", ",", ":", "…", "。")
_WORDS = 9  # of a title
_LEVELS = {"outer": 1, "middle": 2, "middle_too": 2}
_NUMBERED = 10  # the level of what has a number alone; one more for each stop in it
_LONGEST = 160  # characters
_BEFORE, _BEHIND = 201, 600  # characters of the text around a title that are looked at
_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{1,3})*)\.?[ \t]")
_NONE = 1 << 30  # a level that no title has


class Clauses:
    """The titles above one place after another."""

    def __init__(self) -> None:
        self._coming: deque[tuple[int, int]] = deque()  # places in the document that may have a title, and levels
        self._above: list[tuple[int, str]] = []
        self._seen = 0

    def see(self, text: str, base: int) -> None:
        """Find where titles may be in the window's new lines; the last one waits for what stands below it."""
        begin = max(0, self._seen - base)
        text = unified(text)
        end = text.rfind("\n", 0, max(0, text.rfind("\n"))) + 1
        first = _CLAUSE_AT(text, 0, end) if base + begin == 0 else None
        if first:
            self._coming.append((0, _level(first)))
        found = _HEADS(text, max(0, begin - 1), end)
        self._coming.extend([(base + match.start() + 1, _level(match)) for match in found])
        self._seen = max(self._seen, base + end)

    def above(self, text: str, base: int, start: int) -> tuple[str, ...]:
        """The titles above ``start`` of the window, outermost first."""
        coming, here = self._coming, base + start
        if coming and coming[0][0] < here:
            passed = []
            while coming and coming[0][0] < here:
                passed.append(coming.popleft())
            self._note(text, base, passed)
        if not self._above:
            return ()
        least = _NONE
        while coming and not text[start : max(start, coming[0][0] - base)].strip():
            if _title(text, coming[0][0] - base) is not None:
                least = coming[0][1]  # the chunk begins with a title
                break
            coming.popleft()
        return tuple([title for level, title in self._above if level < least])

    def _note(self, text: str, base: int, passed: list[tuple[int, int]]) -> None:
        """Take the titles at these places, from the last back: one before another that lies as far out is not seen."""
        new: list[tuple[int, str]] = []
        least = _NONE
        for place, level in reversed(passed):
            if level < least and (title := _title(text, place - base)) is not None:
                least = level
                if title:
                    new.append((level, title))
        while self._above and self._above[-1][0] >= least:
            self._above.pop()
        self._above += reversed(new)


def _level(match: re.Match[str]) -> int:
    found = match.lastgroup or ""
    if found == "number":
        return _NUMBERED + match["number"].count(".")
    return _LEVELS.get(found, 3)


def _title(text: str, place: int) -> str | None:
    """The title of the line at ``place``, with the line below where it has none of its own; empty: a clause without
    one; None: an item, a reference.
    """
    before = max(0, place - _BEFORE)
    text = unified(text[before : place + _BEHIND])
    match = _FIRST(text, place - before)
    if not match:
        return None
    above = text[: max(0, place - before - 1)].rstrip(" \t")
    parted = not above or above[-1] == "\n"
    if not (parted or above.endswith(_ENDS)):
        return None
    rest = match["rest"].strip()
    below = text[match.end() + 1 : match.end() + 1 + _LONGEST].partition("\n")[0].strip()
    said = rest.count(" ") >= _WORDS or below[:1].islower() or text[match.end() : match.end() + 1] != "\n"
    if match["number"]:
        if _has_sibling(text, match):
            return None
        if said or rest.endswith(_ENDS) or not (parted or rest.isupper() or rest.istitle()):
            return ""
    elif said or rest.endswith((",", ";")):
        return ""
    title = match.group().strip()
    if not rest.strip(".:-–— ") and below and below.count(" ") < _WORDS and not below.endswith(_ENDS):
        title = f"{title} {below}"
    return " ".join(title.split())[:_LONGEST].rstrip()


def _has_sibling(text: str, match: re.Match[str]) -> bool:
    """Whether the next line is numbered alike: then it is a list."""
    below = text[match.end() : match.end() + 300].lstrip()
    number = _NUMBER.match(below)
    return number is not None and number.group(1).count(".") == match["number"].count(".")
