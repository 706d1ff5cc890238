"""Table heads that a chunk repeats: of HTML and XML narratives, and of INSERTs and COPYs in SQL.

A head is looked for in the chunk before, and carried on where it began farther back.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["TableHeads", "markup_head", "sql_head"]

_LONGEST = 4000  # characters
_Find = Callable[[str], str | None]  # in the chunk before; None: no table begins in it, empty: none goes on


class TableHeads:
    """The head of the table at one start after another."""

    def __init__(self, find: _Find) -> None:
        self._find = find
        self._last = 0  # where the chunk before began; in characters of the document
        self._head = ""  # of the table in which it ended

    def above(self, text: str, base: int, start: int, *, goes_on: bool) -> str:
        """The head for the chunk at ``start`` of the window, which ``goes_on`` with a row; else empty."""
        before, self._last = max(0, self._last - base), base + start
        if not goes_on:  # the table that the next chunk may go on with begins in this one
            self._head = ""
            return ""
        found = self._find(text[before:start])
        if found is not None:
            self._head = found
        return self._head


_HEAD = re.compile(r"<thead\b.*?</thead\s*>", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"<tr\b[^<>]*>(?:(?!</tr).)*?<th\b.*?</tr\s*>", re.DOTALL | re.IGNORECASE)
_BETWEEN = re.compile(r"(?:\s+|<caption\b.*?</caption\s*>|<!--.*?-->|</?(?:colgroup|col|tbody)\b[^<>]*>)*", re.DOTALL)


def markup_head(before: str) -> str | None:
    """The head of the table that is open at the end of a piece of HTML: ``thead``, or a first row with ``th``."""
    begin = max(before.rfind("<table"), before.rfind("<TABLE"))
    closed = max(before.rfind("</table"), before.rfind("</TABLE"))
    if begin < closed:
        return ""
    if begin < 0:
        return None
    inside = before.find(">", begin) + 1
    first = _BETWEEN.match(before, inside, inside + _LONGEST)
    place = first.end() if first else inside
    head = _HEAD.match(before, place, place + _LONGEST) or _ROW.match(before, place, place + _LONGEST)
    return head.group() + "\n" if head else ""


_WORDS = ("INSERT", "insert", "REPLACE", "replace", "COPY", "copy")
_INSERT = re.compile(
    r"[\n;](?:[ \t]*((?:INSERT|REPLACE)\s[^;()'\n]{1,200}(?:\([^();']{1,2000}\)\s*)?VALUES)(?=\s*\()"
    r"|(?<=\n)(COPY [^\n]{1,2000} FROM stdin[^\n]*;)(?=\s))",
    re.IGNORECASE,
)


def sql_head(before: str) -> str | None:
    """The INSERT or COPY, with its columns, whose rows go on at the end of a piece of SQL."""
    last = None
    if not any(word in before for word in _WORDS):
        return None
    for last in _INSERT.finditer("\n" + before):  # noqa: B007 - the last one is asked for
        pass
    return (last.group(1) or last.group(2)).strip() + "\n" if last else None
