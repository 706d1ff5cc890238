"""Finds the titles of Markdown and reStructuredText and their levels: by hashes, or by rules above and below.

In Markdown a rule of ``=`` is level 1, one of ``-`` level 2. In reStructuredText any mark may be a rule: the first
style of title in a document is level 1, the next new one level 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mrengine.chunking.splitters.marks import doubled

__all__ = ["RULES", "Titles"]

RULES = "=-~^\"*+`'.:#_"
# A directive, a target, or a rule that Markdown does not have; each line begins with one of the marks, twice.
_RST = re.compile(r"\.\. (?:[\w:-]+::|_)|([\^\"*+])\1{3,}[ \t]*\n").match
_OF_RST = '.^"*+'
_WORD = re.compile(r"\w+").fullmatch
_TITLED = re.compile(
    rf"(?:^|\n)(?:(?P<over>(?P<o>[{RULES}])(?P=o){{2,}})[ \t]*\n)?[ \t]*[^\s\n][^\n]*"
    rf"\n(?P<u>[{RULES}])(?P=u){{2,}}[ \t]*(?=\n|$)"
)
_RULE = re.compile(rf"([{RULES}])\1{{2,}}[ \t]*(?=\n|$)").match
_NO_TITLE = "-*+>#`~="  # a line of Markdown that begins with one of these is no title
_SEEN = 60_000  # characters at the beginning, in which styles of titles are looked for
_DEEPEST = 6
_UNKNOWN = 3


class Titles:
    """The titles of one document."""

    def __init__(self) -> None:
        self.is_rst = False
        self._levels: dict[tuple[str, bool], int] = {}  # by the mark, and whether there is a rule above, too
        # The least level that a title with this mark may have: deeper ones than are wanted need not be read.
        self.leasts = {**{mark: 1 if mark == "=" else 2 for mark in RULES}, "#": 1}
        self._looked = False

    def see(self, text: str) -> None:
        """Learn from the first window which styles of titles the document has."""
        if self._looked:
            return
        self._looked = True
        text = "\n" + text[:_SEEN]
        self.is_rst = _is_rst(text)
        if self.is_rst:
            for under, over in _makes(text):
                self._levels.setdefault((under, over), min(_DEEPEST, len(self._levels) + 1))
            for mark in RULES.replace("#", ""):
                self.leasts[mark] = min(self.level(mark, over=True), self.level(mark, over=False))

    def level(self, mark: str, *, over: bool) -> int:
        """The level of a title with such a rule, 1 for the outermost."""
        if self.is_rst:
            return self._levels.get((mark, over), _UNKNOWN)
        return 1 if mark == "=" else 2

    def is_rule(self, body: str) -> bool:
        """Whether the document is reStructuredText, and the line a rule."""
        return self.is_rst and len(body) > 2 and body[0] in RULES and not body.strip(body[0])

    def read(self, text: str, begin: int) -> tuple[int, str] | None:
        """(level, title) of the title whose hashes, or one of whose rules, begin at ``begin``; None: there is none."""
        mark = text[begin : begin + 1]
        if mark == "#":
            return _hashed(_line_at(text, begin).rstrip())
        if not mark or (mark not in RULES if self.is_rst else mark not in "=-"):
            return None
        end = text.find("\n", begin)
        line = (text[begin:end] if end >= 0 else text[begin:]).rstrip()
        if line.strip(mark) or (mark != "=" and len(line) < 2) or (self.is_rst and len(line) < 3):
            return None
        above = text.rfind("\n", 0, max(begin - 1, 0)) + 1
        title = text[above:begin].strip()
        if not self.is_rst:
            good = title and "|" not in title and title[0] not in _NO_TITLE
            return (1 if mark == "=" else 2, title) if good else None
        if not title:
            return self._below(text, begin, mark, line)
        if not title.strip(title[0]) and len(title) > 2:
            return None  # a rule
        first = text[text.rfind("\n", 0, max(above - 1, 0)) + 1 : above].strip()
        return self._levels.get((mark, first != "" and not first.strip(mark)), _UNKNOWN), title

    def _below(self, text: str, begin: int, mark: str, line: str) -> tuple[int, str] | None:
        """(level, title) of the title between the rule at ``begin`` and an equal one below."""
        title_at = begin + len(_line_at(text, begin)) + 1
        title = _line_at(text, title_at)
        rule = _line_at(text, title_at + len(title) + 1).rstrip()
        return (self.level(mark, over=True), title.strip()) if title.strip() and rule == line else None


def _is_rst(text: str) -> bool:
    """Whether a text is reStructuredText: it has a line of ``_RST``, or a role such as ``:ref:`` before a tick."""
    if any(_RST(text, place) for place in doubled(text, _OF_RST, first=False).tolist()):
        return True
    role = text.find(":`") if "`" in text else -1
    while role >= 0:
        colon = text.rfind(":", 0, role)
        if colon >= 0 and _WORD(text, colon + 1, role):
            return True
        role = text.find(":`", role + 1)
    return False


def _makes(text: str) -> Iterator[tuple[str, bool]]:
    """The styles of the titles of a text that begins with a newline: (mark below, whether a rule stands above, too)."""
    # The long expression is tried only where a title may begin: one line above a rule, or two.
    places: set[int] = set()
    for rule in doubled(text, RULES, first=False).tolist():
        title = text.rfind("\n", 0, rule - 1)
        if title >= 0 and _RULE(text, rule):
            places.add(title)
            above = max(0, text.rfind("\n", 0, title))
            if text[above + 1] in RULES:
                places.add(above)
    end = 0
    for place in sorted(places):
        match = _TITLED.match(text, place) if place >= end else None
        if match:
            end = match.end()
            if match["over"] is None or match["o"] == match["u"]:
                yield match["u"], match["over"] is not None


def _hashed(line: str) -> tuple[int, str] | None:
    title = line.lstrip("#")
    level = len(line) - len(title)
    return (level, title.strip().rstrip("#").rstrip()) if level <= _DEEPEST and title[:1] in (" ", "\t") else None


def _line_at(text: str, begin: int) -> str:
    end = text.find("\n", begin)
    return text[begin : end if end >= 0 else len(text)]
