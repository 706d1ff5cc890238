"""Finds the titles of Markdown and reStructuredText and their depth: by hashes, or by rules above and below.

In Markdown a rule of ``=`` is level 1, one of ``-`` level 2. In reStructuredText any mark may be a rule, and the order
in which the makes of title come says which is outermost.
"""

from __future__ import annotations

import re

__all__ = ["RULES", "Titles"]

RULES = "=-~^\"*+`'.:#_"
_MARKS = ("\n.. ", ":`", "\n^^^^", "\n****", "\n++++", '\n""""')  # one of them has whatever the expression finds
_RST = re.compile(r"\n\.\. (?:[\w:-]+::|_)|:\w+:`|\n([\^\"*+])\1{3,}[ \t]*\n")
_TITLED = re.compile(
    rf"(?:^|\n)(?:(?P<over>(?P<o>[{RULES}])(?P=o){{2,}})[ \t]*\n)?[ \t]*[^\s\n][^\n]*"
    rf"\n(?P<u>[{RULES}])(?P=u){{2,}}[ \t]*(?=\n|$)"
)
_NO_TITLE = "-*+>#`~="  # so begins no title of Markdown
_SEEN = 60_000  # characters
_DEEPEST = 6
_UNKNOWN = 3


class Titles:
    """The titles of one document."""

    def __init__(self) -> None:
        self.is_rst = False
        self._levels: dict[tuple[str, bool], int] = {}  # of a mark, and whether a rule stands above, too
        self._looked = False

    def see(self, text: str) -> None:
        """Look at the first window: which makes of titles there are."""
        if self._looked:
            return
        self._looked = True
        text = "\n" + text[:_SEEN]
        self.is_rst = any(mark in text for mark in _MARKS) and _RST.search(text) is not None
        if self.is_rst:
            for match in _TITLED.finditer(text):
                if match["over"] is None or match["o"] == match["u"]:
                    self._levels.setdefault((match["u"], match["over"] is not None), len(self._levels) + 1)

    def least(self, mark: str) -> int:
        """The least level that what begins with such a mark may have: told before it is read."""
        if mark == "#":
            return 1
        return min(self.level(mark, over=True), self.level(mark, over=False))

    def level(self, mark: str, *, over: bool) -> int:
        """How deep a title with such a rule lies."""
        if self.is_rst:
            return min(_DEEPEST, self._levels.get((mark, over), _UNKNOWN))
        return 1 if mark == "=" else 2

    def is_rule(self, body: str) -> bool:
        """Whether a line is a rule of reStructuredText."""
        return self.is_rst and len(body) > 2 and body[0] in RULES and not body.strip(body[0])

    def read(self, text: str, begin: int) -> tuple[int, str] | None:
        """Level and title of the title whose line, or one of whose rules, begins at ``begin``; None if none does."""
        mark = text[begin : begin + 1]
        if mark == "#":
            return _hashed(_line_at(text, begin).rstrip())
        if not mark or (mark not in RULES if self.is_rst else mark not in "=-"):
            return None
        line = _line_at(text, begin).rstrip()
        if line.strip(mark) or (mark != "=" and len(line) < 2) or (self.is_rst and len(line) < 3):
            return None
        return self._ruled(text, begin, mark, line)

    def _ruled(self, text: str, begin: int, mark: str, line: str) -> tuple[int, str] | None:
        above = _line_before(text, begin)
        title = above.strip()
        if not self.is_rst:
            good = title and "|" not in title and title[0] not in _NO_TITLE
            return (self.level(mark, over=False), title) if good else None
        if not title:
            return self._below(text, begin, mark, line)
        first = _line_before(text, begin - len(above)).strip()
        if not title.strip(title[0]) and len(title) > 2:
            return None  # a rule
        return self.level(mark, over=bool(first) and not first.strip(mark)), title

    def _below(self, text: str, begin: int, mark: str, line: str) -> tuple[int, str] | None:
        """The title between this rule and one that is like it."""
        title_at = begin + len(_line_at(text, begin)) + 1
        title = _line_at(text, title_at)
        rule = _line_at(text, title_at + len(title) + 1).rstrip()
        return (self.level(mark, over=True), title.strip()) if title.strip() and rule == line else None


def _hashed(line: str) -> tuple[int, str] | None:
    title = line.lstrip("#")
    level = len(line) - len(title)
    return (level, title.strip().rstrip("#").rstrip()) if level <= _DEEPEST and title[:1] in (" ", "\t") else None


def _line_at(text: str, begin: int) -> str:
    end = text.find("\n", begin)
    return text[begin : end if end >= 0 else len(text)]


def _line_before(text: str, begin: int) -> str:
    """The line that ends at ``begin``, with its newline."""
    return text[text.rfind("\n", 0, max(begin - 1, 0)) + 1 : begin]
