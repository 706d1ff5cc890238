"""Owns HTML: headings, then blocks by the containers that are open around them; a heading belongs to what follows.

Nothing is parsed: what is in a line of text (links, marks, images) is no boundary, tags that nobody closes count as
closed, and scripts and comments are passed over.
"""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import RECORD, Boundary, Context, Stateless
from mrengine.chunking.forms import NOTHING
from mrengine.chunking.places import Places
from mrengine.chunking.sample import Sample

__all__ = ["Html", "looks"]

_CONTAINERS = (
    "html|body|main|div|section|article|aside|nav|header|footer|table|thead|tbody|tfoot|ul|ol|dl|blockquote|form|fieldset"
    "|figure|details|select|svg|template|menu"
)
_CONTAINER = frozenset(_CONTAINERS.split("|"))
# How far in a block lies, among those in one container.
_RANKS = {
    **{f"h{level}": level for level in range(1, 7)},
    **dict.fromkeys((*_CONTAINER, "script", "style", "noscript"), 8),
    **dict.fromkeys(
        ("caption", "dt", "li", "tr", "p", "pre", "hr", "title", "link", "meta", "address", "legend", "summary"), 9
    ),
    **dict.fromkeys(("option", "colgroup"), 10),
    **dict.fromkeys(("td", "th", "dd", "label"), 11),
}
_RANKS |= {name.upper(): rank for name, rank in _RANKS.items()}
_TAG = re.compile(r"<(?:(/?[a-zA-Z][a-zA-Z0-9]*)|!--)")
_SKIPPED = {"script": "</script", "style": "</style"}
# Behind these, what follows belongs to them; and their first child does, to what has one.
_HEADS = frozenset(
    ("h1", "h2", "h3", "h4", "h5", "h6", "title", "caption", "dt", "thead", "legend", "summary", "colgroup", "label")
)
_PARENTS = _CONTAINER | {"tr", "li", "td", "dd", "pre"}
_LONG_TAG = 2000  # characters
_LONG_GAP = 200
_LONGEST = 60_000  # a script or comment
_PLAIN, _HEAD_ROW, _BELOW_HEAD = range(3)  # rows of a table
_DEEPEST = 11


class Html(Stateless):
    """Blocks. It knows which containers are open from the beginning of the document on."""

    name = "html"
    outermost = RECORD + 1
    opens = NOTHING
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._places = Places()
        self._depth = 0
        self._row = _PLAIN
        self._read = 0  # characters of the document

    def see(self, text: str, base: int) -> None:
        """Find the blocks of the text that is new, up to its last whole tag."""
        self._places.move(base)
        begin = max(0, self._read - base)
        end = text.rfind(">") + 1
        if end > begin:
            self._read = max(base + end, self._blocks(text, begin, end, base))

    def _blocks(self, text: str, begin: int, end: int, base: int) -> int:
        """Note where blocks begin. Returns where reading goes on: behind a script that goes beyond the end."""
        places, levels = [], []
        depth, skip, row = self._depth, 0, self._row
        attached = -1  # the end of a tag to which belongs what follows
        for match in _TAG.finditer(text, begin, end):
            place = match.start()
            if place < skip:
                continue
            name = match.group(1)
            if name is None:
                skip = attached = _behind(text, "-->", match.end())
                continue
            closed = name[0] == "/"
            rank = _RANKS.get(name[1:] if closed else name)
            if rank is None:
                continue
            name = name.lower()
            if closed:
                name = name[1:]
                if name in _HEADS or (name == "tr" and row == _HEAD_ROW):
                    attached = _tag_end(text, place)
                if name in _CONTAINER and depth:
                    depth -= 1
                if name == "thead" or (name == "tr" and row == _HEAD_ROW):
                    row = _BELOW_HEAD
                elif name == "tr" and row == _BELOW_HEAD:
                    row = _PLAIN
                continue
            if name == "th":
                row = _HEAD_ROW if row == _PLAIN else row
            elif name == "td" and row == _HEAD_ROW:
                row = _PLAIN
            elif row == _PLAIN or rank < 10:
                edge = text.rfind(">", max(0, place - _LONG_GAP), place) + 1
                if edge and edge != attached and name not in ("html", "head") and not text[edge:place].strip():
                    places.append(base + _line(text, edge, place))
                    levels.append(RECORD + 16 * min(depth, _DEEPEST) + rank)
            if name in _SKIPPED:
                skip = _behind(text, _SKIPPED[name], place)
            elif name in _PARENTS:
                attached = _tag_end(text, place)
                depth += name in _CONTAINER
        self._depth, self._row = depth, row
        self._places.add(places, levels)
        return base + skip

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Blocks by depth."""
        return self._places.between(low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next block that lies as far out."""
        return self._places.after(level, low, high)

    def context(self, text: str, start: int) -> Context:
        """Nothing is lost."""
        return Context()


def _tag_end(text: str, place: int) -> int:
    return text.find(">", place, place + _LONG_TAG) + 1


def _behind(text: str, mark: str, place: int) -> int:
    """Where reading goes on behind a script or comment; at its begin, if it has no end that is to be seen."""
    found = text.find(mark, place, place + _LONGEST)
    return found + len(mark) if found >= 0 else place


def _line(text: str, edge: int, place: int) -> int:
    """Where the line of a tag begins, if only blanks stand before it; else behind what it follows."""
    newline = max(text.rfind("\n", edge, place), text.rfind("\r", edge, place))
    return newline + 1 if newline >= 0 else edge


_TAGS = re.compile(
    r"<(?:!doctype html|html|head|body|div|p|h[1-6]|ul|ol|li|table|tr|td|span|a|br|img|section|article|main|nav|header|form"
    r"|script|style|meta|link|title|b|i|strong|em|pre|code|blockquote|center|font|dl|dt|dd)\b[^<>]*>",
    re.IGNORECASE,
)
_XHTML = re.compile(r"<\?xml[^>]*>\s*(?:<!--.*?-->\s*)?(?:<!doctype html|<html)", re.IGNORECASE | re.DOTALL)


def looks(sample: Sample) -> float:
    """How much a text looks like HTML: it begins with one of its tags, and has many of them."""
    head = sample.head
    if head[:1] != "<" and head[:2] not in ("{%", "{{", "{#"):
        return 0.0
    if (
        head[:14].lower() == "<!doctype html"
        or _XHTML.match(head)
        or re.match(r"(?:<!--[^>]*-->\s*)?<html[\s>]", head, re.IGNORECASE)
    ):
        return 0.96
    text = sample.text[:20_000]
    if sample.fences or text.count("](") > 2 or text.count("\n#") > 2:
        return 0.0  # Markdown that begins with a tag
    if not _TAGS.match(head) and not (head.startswith(("<!--", "{")) and _TAGS.search(head)):
        return 0.0
    known = len(_TAGS.findall(text))
    return 0.93 if known > 2 and known > 0.35 * text.count("<") and text.count("</") else 0.0
