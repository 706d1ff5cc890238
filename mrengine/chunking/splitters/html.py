"""HTML: headings, then blocks by the containers open around them; a heading belongs to what follows.

What is in a line of text (links, marks, images) is no boundary, elements that nobody closes lie in their container, and
scripts and comments are passed over.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache
from typing import Any

from mrengine.chunking.boundaries import LINE, NO_CONTEXT, RECORD, SOFT, WHOLE, Boundary, Context, Stateless
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters import tags
from mrengine.chunking.splitters.forms import NOTHING
from mrengine.chunking.splitters.places import Places
from mrengine.chunking.splitters.table_heads import TableHeads, markup_head
from mrengine.records import title_of

__all__ = ["Html", "looks"]

_CONTAINERS = (
    *("main", "div", "section", "article", "aside", "nav", "header", "footer", "table", "tbody", "tfoot", "ul", "ol"),
    *("dl", "blockquote", "form", "fieldset", "figure", "details", "select", "svg", "template", "menu", "body", "html"),
)
# How far in a block lies, among those in one container.
_RANKS = {
    **{f"h{level}": level for level in range(1, 7)},
    **dict.fromkeys((*_CONTAINERS, "thead", "script", "style", "noscript"), 8),
    **dict.fromkeys(("caption", "dt", "li", "tr", "p", "pre", "hr", "title", "link", "meta", "address"), 9),
    **dict.fromkeys(("legend", "summary"), 9),
    **dict.fromkeys(("option", "colgroup"), 10),
    **dict.fromkeys(("td", "th", "dd", "label"), 11),
}
_RANKS["br"] = 12  # where it stands ends a line
_NAMES = tuple(_RANKS)
_BR = _NAMES.index("br")
_THEAD, _TH, _TD, _TR = (_NAMES.index(name) for name in ("thead", "th", "td", "tr"))
# Behind these, what follows belongs to them; and behind the opening tag of those, their first child does.
_HEADS = (
    *("h1", "h2", "h3", "h4", "h5", "h6", "title", "caption", "dt", "thead", "legend", "summary", "colgroup", "label"),
)
_PARENTS = (*_CONTAINERS, "thead", "tr", "li", "td", "dd", "pre")
_NOWHERE = ("th", "html", "body", "br")  # what begins no unit
_LONGEST = 60_000  # characters of a script
_LONG_SCRIPT_TAG = 2000
_SCRIPT = re.compile("<s(?:cript|tyle)")
_DEEPEST = 11
_LAST_HEADING = 6  # the last rank of these
_NEAR = 200  # characters
_LONG_TITLE = 1000  # characters of a heading, with its tags
_FEW = 2000  # tokens: in larger chunks, to keep a section whole would cost too much


class Html(Stateless):
    """Blocks. It knows which containers are open from the beginning of the document on."""

    name = "html"
    outermost = RECORD + 1
    opens = NOTHING
    open_ends = ()

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._places = Places()
        self._softest = _LAST_HEADING if target >= _FEW else 0  # the last rank that is not to be kept whole
        self._depth = 0
        self._is_first = True  # whether what comes belongs to what was read last
        self._read = 0  # characters of the document
        self._base = 0
        self._titles: deque[tuple[int, int]] = deque()  # place in the document, and level: of what comes
        self._above: list[tuple[int, str]] = []
        self._heads = TableHeads(markup_head)

    def see(self, text: str, base: int) -> None:
        """Find the blocks of the text that is new, up to its last whole tag."""
        self._base = base
        self._places.move(base)
        begin = max(0, self._read - base)
        end = text.rfind(">") + 1
        if end > begin:
            spans, end = tags.specials(text, begin, end)
        if end > begin:
            spans = [(a - begin, b - begin) for a, b in spans]
            self._blocks(text[begin:end], _with_scripts(text[begin:end], spans))
            self._read = base + end

    def _blocks(self, text: str, spans: list[tuple[int, int]]) -> None:
        import numpy

        found = tags.find(text, spans)
        if not len(found.places):
            return
        names = tags.ids(found, _NAMES)
        ranks, containers, heads, parents, nowhere = _classes()
        contained = numpy.where(containers[names], numpy.where(found.closes, -1, found.opens), 0)
        depths = contained.cumsum(dtype=numpy.int32) + self._depth
        self._depth = max(0, int(depths[-1]))
        leads = numpy.where(found.closes, heads[names], numpy.where(found.opens, parents[names], True))
        begins = found.opens & (names >= 0) & ~nowhere[names] & found.bare
        begins &= ~numpy.concatenate(([self._is_first], leads[:-1]))
        self._is_first = bool(leads[-1])
        inside = tags.in_table_heads(found, names == _THEAD, names == _TH, names == _TD, names == _TR)
        if len(inside):
            begins &= ~inside
        broken = numpy.concatenate(([False], (names == _BR)[:-1]))
        which = numpy.flatnonzero(begins | broken)
        depth = (depths[which] - contained[which]).clip(0, _DEEPEST)
        levels = numpy.where(begins[which], RECORD + 16 * depth + ranks[names[which]], LINE)
        titled = numpy.flatnonzero(found.opens & (names >= 0) & (names < _LAST_HEADING))
        places = (found.places.take(titled) + self._read).tolist()
        self._titles.extend(zip(places, ranks.take(names.take(titled)).tolist(), strict=True))
        kept = begins[which] & (ranks[names[which]] > self._softest)
        wholes = numpy.where(kept, WHOLE, SOFT)
        self._places.add((tags.edges(found, which) + self._read).tolist(), levels.tolist(), wholes.tolist())

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Blocks by depth."""
        return self._places.between(low, high)

    def context(self, text: str, start: int) -> Context:
        """The headings above, and the head of the table that goes on."""
        begin = text[start : start + _NEAR].lstrip()[:3]
        head = self._heads.above(text, self._base, start, goes_on=begin in ("<tr", "<TR"))
        titles = self._titles_above(text, start, begin)
        return Context(titles, head) if titles or head else NO_CONTEXT

    def _titles_above(self, text: str, start: int, begin: str) -> tuple[str, ...]:
        here = self._base + start
        passed: list[tuple[int, int]] = []
        while self._titles and self._titles[0][0] < here:
            passed.append(self._titles.popleft())
        if passed:
            self._note(text, passed)
        least = _LAST_HEADING + 1
        if self._titles and self._titles[0][0] < here + _NEAR and begin[:2] in ("<h", "<H"):
            least = self._titles[0][1]  # a heading ends the sections that are as deep
        return tuple([title for level, title in self._above if level < least])

    def _note(self, text: str, passed: list[tuple[int, int]]) -> None:
        """Take these headings. Read backwards: what lies before one that is as far out is no longer seen."""
        new: list[tuple[int, str]] = []
        least = _LAST_HEADING + 1
        for place, level in reversed(passed):
            if level < least and (title := _title(text, place - self._base)):
                new.append((level, title))
                least = level
        while self._above and self._above[-1][0] >= least:
            self._above.pop()
        self._above += reversed(new)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next block that lies as far out."""
        return self._places.after(level, low, high)


def _title(text: str, begin: int) -> str:
    """The text of the heading whose tag begins there; empty, if it has no end that is to be seen."""
    end = text.find("</", begin, begin + _LONG_TITLE)
    while end >= 0 and text[end + 2 : end + 3] not in ("h", "H"):
        end = text.find("</", end + 2, begin + _LONG_TITLE)
    return title_of(text[begin:end]) if end >= 0 else ""


@lru_cache(maxsize=1)
def _classes() -> tuple[Any, ...]:
    """Of each name, and last of what has none: rank, whether it is a container, a head, a parent, and no unit."""
    import numpy

    ranks = numpy.array([*_RANKS.values(), 0])
    return (
        ranks,
        *(
            numpy.array([*(name in group for name in _NAMES), False])
            for group in (_CONTAINERS, _HEADS, _PARENTS, _NOWHERE)
        ),
    )


def _with_scripts(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, and those of what scripts and styles have inside."""
    found = []
    until, unclosed = 0, set()
    for match in _SCRIPT.finditer(text):
        begin = text.find(">", match.end(), match.end() + _LONG_SCRIPT_TAG) + 1
        if match.start() < until or not begin or match[0] in unclosed:
            continue
        end = text.find("</" + match[0][1:], begin)
        if end < 0:
            unclosed.add(match[0])
        elif begin < end < begin + _LONGEST:
            found.append((begin, end))
            until = end
    if not found:
        return spans
    # Neither may lie inside of the other.
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(spans + found):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


_TAGS = re.compile(
    r"<(?:!doctype html|html|head|body|div|p|h[1-6]|ul|ol|li|table|tr|td|span|a|br|img|section|article|main|nav|header"
    r"|form|script|style|meta|link|title|b|i|strong|em|pre|code|blockquote|center|font|dl|dt|dd)\b[^<>]*>",
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
