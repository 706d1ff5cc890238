"""Owns HTML: headings, then blocks by the containers that are open around them; a heading belongs to what follows.

Nothing is parsed: what is in a line of text (links, marks, images) is no boundary, tags that nobody closes count as
closed, and scripts and comments are passed over.
"""

from __future__ import annotations

import re

from mrengine.chunking.boundaries import RECORD, Boundary, Context, Stateless
from mrengine.chunking.places import Places
from mrengine.chunking.sample import Sample
from mrengine.chunking.xml import CLOSED_HEADS, table_heads

__all__ = ["Html", "looks"]

_CONTAINERS = (
    "html|body|main|div|section|article|aside|nav|header|footer|table|thead|tbody|tfoot|ul|ol|dl|blockquote|form|fieldset"
    "|figure|details|select|svg|template|menu"
)
# How far in a block lies, among those in one container.
_RANKS = {f"h{level}": level for level in range(1, 7)} | {
    **dict.fromkeys(_CONTAINERS.split("|"), 8), "caption": 9, "colgroup": 9, "dt": 9, "li": 9, "tr": 9, "p": 9, "pre": 9, "hr": 9,
    "option": 10, "td": 11, "th": 11, "dd": 11, "script": 8, "style": 8, "head": 8, "title": 9, "link": 9, "meta": 9, "address": 9,
    "noscript": 8, "!--": 9,
}  # fmt: skip
_CONTAINER = frozenset(_CONTAINERS.split("|"))
_BLOCK = re.compile(rf"<(/?)({'|'.join(sorted(_RANKS, key=len, reverse=True))})(?:(?<=!--)|(?=[\s/>]))", re.IGNORECASE)
_SKIPPED = {"script": "</script", "style": "</style", "!--": "-->"}
_HEAD_BEFORE = re.compile(rf"(?:{CLOSED_HEADS.pattern}|-->|<!doctype[^>]*>|<\?xml[^>]*>)\s*\Z", re.IGNORECASE)
_DEEPEST = 11


class Html(Stateless):
    """Blocks. It knows which containers are open from the beginning of the document on."""

    name = "html"
    outermost = RECORD + 1
    opens = re.compile(
        r"[ \t]*<(?:[?!][^>]*>|(?!/|br|hr|img|meta|link|input)[^>]*[^/>]>)$|.*</(?:h[1-6]|title|caption|dt|thead|legend|summary)>$",
        re.IGNORECASE,
    )
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._places = Places()
        self._depth = 0
        self._read = 0  # characters of the document

    def see(self, text: str, base: int) -> None:
        """Find the blocks of the text that is new, up to its last whole tag."""
        self._places.move(base)
        begin = max(0, self._read - base)
        end = text.rfind(">") + 1
        if end > begin:
            self._read = max(base + end, self._blocks(text, begin, end, base))

    def _blocks(self, text: str, begin: int, end: int, base: int) -> int:
        """Returns where reading goes on: behind a script that goes beyond the end."""
        places, levels = [], []
        depth, skip = self._depth, 0
        heads = table_heads(text[begin:end])
        heads.reverse()
        behind_open = -1  # where the last tag ends, if it opens a container
        for match in _BLOCK.finditer(text, begin, end):
            place = match.start()
            if place < skip:
                continue
            while heads and heads[-1][1] <= place - begin:
                heads.pop()
            name = match.group(2).lower()
            if match.group(1):
                if name in _CONTAINER and depth:
                    depth -= 1
                continue
            before = text[max(0, place - 160) : place].rstrip()
            edge = place if len(before) == 160 else place - len(text[max(0, place - 160) : place]) + len(before)
            in_head = heads and heads[-1][0] <= place - begin
            if not in_head and before.endswith(">") and edge != behind_open and not _HEAD_BEFORE.search(before):
                places.append(base + _line(text, edge, place))
                levels.append(RECORD + 16 * min(depth, _DEEPEST) + _RANKS[name])
            if name in _SKIPPED:
                skip = text.find(_SKIPPED[name], match.end())
                skip = len(text) if skip < 0 else skip + 3
            elif name in _CONTAINER:
                depth += 1
            behind_open = (
                text.find(">", place) + 1 if name in _CONTAINER or name in ("tr", "li", "td", "th", "dd") else -1
            )
        self._depth = depth
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
