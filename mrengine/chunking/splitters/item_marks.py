"""Items, clauses and numbered sections: what they begin with, and how far out each lies."""

from __future__ import annotations

import re
from functools import cache

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.clauses import LETTERS, NAMES, ROMAN

__all__ = ["ANY_ITEM", "BEHIND_LETTER", "ITEM_MARK", "MARKS", "RANK", "farther_out", "outer_items"]

# What an item, clause or numbered section begins with, by how far out it lies.
_FORMS = {
    "named": rf"(?=[{LETTERS}§第])(?:{NAMES})[ \t]+(?:\d[\d.]*|{ROMAN}\b)|§+[ \t]*\d|第.{{1,5}}[条章节]",
    "number": r"[(\[]?\d{1,3}(?:\.\d{1,3})*[.)\]:](?=\s|$)|\d{1,3}(?:\.\d{1,3})+(?=\s|$)",
    "letter": rf"[(\[]?(?:[A-Za-z]|{ROMAN})[)\]](?=\s|$)|[a-zA-Z]\.(?=\s+[A-Z])",
    "bullet": r"[-*+•‣◦▪·–—o][ \t]+(?=\S)|--?[A-Za-z][\w-]*(?=[,=\[< \t]|$)",
}
RANK = {"named": 0, "number": 2, "letter": 10, "bullet": 14}
ITEM_MARK = re.compile(rf"{INDENT}(?:{'|'.join(f'(?P<{name}>{form})' for name, form in _FORMS.items())})")
# With these an item may begin; behind another letter stands a bracket or a full stop, or it is none.
MARKS = frozenset("0123456789([-*+•‣◦▪·–—o§第ivxlcIVXLC" + "".join(name[0] for name in NAMES.split("|")))
BEHIND_LETTER = (")", "]", ".")
ANY_ITEM = re.compile(rf"\n{INDENT}(?:{'|'.join(_FORMS.values())})")


def _outer_forms(rank: int) -> str:
    """The expression of items of less than this rank."""
    return rf"{INDENT}(?:{'|'.join(form for name, form in _FORMS.items() if RANK[name] < rank) or '(?!)'})"


@cache
def outer_items(rank: int) -> re.Pattern[str]:
    """The expression of the newline before them."""
    return re.compile(rf"\n{_outer_forms(rank)}")


@cache
def farther_out(rank: int) -> re.Pattern[str]:
    """The same, and before what may be a paragraph. It begins with one character, which is quickly found."""
    inner = "|".join(form for name, form in _FORMS.items() if RANK[name] >= rank) or "(?!)"
    paragraph = rf"\s*\n(?=[ \t]*\S)(?!{INDENT}(?:{inner}))"
    return re.compile(rf"\n(?:{_outer_forms(rank)}|(?P<parted>{paragraph}))")
