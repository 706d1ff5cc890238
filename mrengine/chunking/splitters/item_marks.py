"""The expressions of what items, clauses and numbered sections begin with, and how far out each lies."""

from __future__ import annotations

import re
from functools import cache

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.clauses import LETTERS, NAMES, ROMAN
from mrengine.chunking.splitters.text_lines import ENDS, PAGE_ENDS

__all__ = ["ANY_ITEM", "BEHIND_LETTER", "ITEM_MARK", "MARKS", "RANK", "farther_out", "outer_items"]

# What an item, clause or numbered section begins with, by how far out it lies.
_FORMS = {
    # Article 5, § 3, 第二条
    "named": rf"(?=[{LETTERS}§第])(?:{NAMES})[ \t]+(?:\d[\d.]*|{ROMAN}\b)|§+[ \t]*\d|第.{{1,5}}[条章节]",
    # 1. (2) 3: 1.2.3
    "number": r"[(\[]?\d{1,3}(?:\.\d{1,3})*[.)\]:](?=\s|$)|\d{1,3}(?:\.\d{1,3})+(?=\s|$)",
    # (a) iv) B. before a capital: "e. g." is none
    "letter": rf"[(\[]?(?:[A-Za-z]|{ROMAN})[)\]](?=\s|$)|[a-zA-Z]\.(?=\s+[A-Z])",
    # a bullet and a blank, or an option of a command: -v, --name
    "bullet": r"[-*+•‣◦▪·–—o][ \t]+(?=\S)|--?[A-Za-z][\w-]*(?=[,=\[< \t]|$)",
}
RANK = {"named": 0, "number": 2, "letter": 10, "bullet": 14}
ITEM_MARK = re.compile(rf"{INDENT}(?:{'|'.join(f'(?P<{name}>{form})' for name, form in _FORMS.items())})")
# The first characters of items. One that begins with any other letter has a bracket or full stop behind it. For most
# lines these two checks are enough, and the expression is not tried.
MARKS = frozenset("0123456789([-*+•‣◦▪·–—o§第ivxlcIVXLC" + "".join(name[0] for name in NAMES.split("|")))
BEHIND_LETTER = (")", "]", ".")
ANY_ITEM = re.compile(rf"\n{INDENT}(?:{'|'.join(_FORMS.values())})")


def _outer_forms(rank: int) -> str:
    """The expression of items whose rank is less than this; it matches nothing if there are none."""
    return rf"{INDENT}(?:{'|'.join(form for name, form in _FORMS.items() if RANK[name] < rank) or '(?!)'})"


@cache
def outer_items(rank: int) -> re.Pattern[str]:
    """The expression of a newline and an item whose rank is less than this."""
    # A newline first: one character is quickly found.
    return re.compile(rf"\n{_outer_forms(rank)}")


@cache
def farther_out(rank: int, *, wrapped: bool, any_blank: bool) -> re.Pattern[str]:
    """As ``outer_items``, or the begin of a line that is none of the other items, behind one that may be blank.

    ``wrapped``: or behind one that may end a sentence, or be a page number, which is enough where lines are wrapped.
    ``any_blank``: the line may begin with form feeds and other blanks, too, not only with spaces and tabs.
    """
    ends = "".join(map(re.escape, sorted(ENDS | PAGE_ENDS))) + r"\d" if wrapped else ""
    blank = r"[^\S\n]" if any_blank else r"[ \t]"
    inner = "|".join(form for name, form in _FORMS.items() if RANK[name] >= rank) or "(?!)"
    behind = rf"(?<=[\s{ends}]\n)(?={blank}*\S)(?!{INDENT}(?:{inner}))"
    return re.compile(rf"\n(?:{_outer_forms(rank)}|{behind})")
