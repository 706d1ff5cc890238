"""Finds the boundaries of running text: paragraphs, numbered clauses, items, titles, and lines where they are units.

Each new window tells whether its lines are wrapped: then hardly any line had room for the first word of the next, and
the end of a line is no boundary. In other texts a line is a unit, which is to stay whole where lines begin alike, as
records do. Running heads and page numbers are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mrengine.chunking.boundaries import (
    INDENT,
    ITEM,
    LINE,
    NO_CONTEXT,
    PARAGRAPH,
    RECORD,
    SOFT,
    STEP,
    WHOLE,
    Boundary,
    Context,
    Stateless,
    opening,
)
from mrengine.chunking.sample import Sample
from mrengine.chunking.splitters.clauses import NAMES, ROMAN, Clauses
from mrengine.chunking.splitters.item_marks import (
    ANY_ITEM,
    BEHIND_LETTER,
    ITEM_MARK,
    MARKS,
    RANK,
    farther_out,
    outer_items,
)
from mrengine.chunking.splitters.lines import each_line, each_line_back, line_at, unified
from mrengine.chunking.splitters.setting import Setting, is_forced, learnt
from mrengine.chunking.splitters.text_lines import ENDS, hangs, has_cells, has_ended, is_furniture, running_heads

__all__ = ["ITEM_MARK", "TITLES", "Prose", "looks"]

# A title is a short line that ends no sentence, behind a blank line; if numbered or in capitals, anywhere.
_TITLE = r"(?=[^\W_])[^\n]{0,70}[^\s.!?;,:。！？،؛]$"
TITLES = (
    rf"(?:(?<=\n\n)|(?<=\n\r\n)|(?<=\n \n)|(?<=^)|(?<=\f)){INDENT}{_TITLE}",
    rf"(?:\d{{1,3}}(?:\.\d{{1,3}})*\.?|{ROMAN}\.|§[ \t]*\d+\.?|(?:{NAMES})[ \t][\dIVXLC.]+)[ \t]+{_TITLE}",
    r"[ \t]*(?!END:)[^a-z\n]{0,60}[A-ZÀ-ÞА-Я]{2}[^a-z\n]{0,60}(?<![.!?;,])$",
    r"\s*~{4,}$|\s*\^{4,}$|\s*\"{4,}$",
)
_AT_MARGIN = re.compile(r"\n(?=[^ \t\r\n])").finditer
_WIDE = re.compile(r"  (?<=[^\s.!?:;,]  ) *\S")  # as _GAP of text_lines, but two blanks first: they are quickly found
_LEARNT = 64  # lines of a window from which is learnt how it is set
_LOOKED = 2500  # characters of each of three parts of a window in which an item is looked for
_INDENTED = 12  # characters: a wide gap behind these is one of a table, before them an indentation
_HALF = 0.6  # of the width: a shorter line was not wrapped
_MOST = 0.7  # of the width: a line that is longer goes on in the next
_LONG_WORD = 10  # characters
_NONE = 1 << 30  # a level beyond all: no unit is to stay whole
_LINE = 1000  # characters of a line that are read
_CUT = 160  # characters behind the place that is asked for
_MORE = 120  # characters before the place that is asked for are read, too, for the line above it


class Prose(Stateless):
    """Running text. It remembers how the lines of the last window are set, and no text."""

    name = "prose"
    opens = opening(*TITLES)

    def __init__(self, target: int, *, titles: bool = True) -> None:
        """``titles``: whether ``context`` will be called, and running heads are to be left out."""
        super().__init__(target)
        self._titles = titles
        self._setting = Setting()
        self._wrapped, self._width, self._whole, self._blocks, self._outdented = self._setting
        self._heads: frozenset[str] = frozenset()
        self._head_ends: frozenset[str] = frozenset()
        self._known = (-1, -1, 0)  # two places, and the last record between them
        self._named = True  # the items that were looked for last had one with a name
        self._numbered = False  # or, where lines are wrapped, the last boundary near the limit was another item
        self._full = 0  # a wrapped line that is as long is no furniture
        self._quick = False  # whether items and paragraphs are found by one expression
        self._seen = 0
        self._clauses = Clauses()

    def see(self, text: str, base: int) -> None:
        """Learn from the new text how its lines are set."""
        begin = max(0, self._seen - base)
        self._seen, self._known = base + len(text), (-1, -1, 0)
        new = unified(text[begin:])
        head = new[: 80 * _LEARNT]
        lines = head.split("\n")[:-1]
        self._setting = learnt(lines[:_LEARNT], self._setting)
        self._wrapped, self._width, self._whole, self._blocks, self._outdented = self._setting
        third = len(new) // 3
        marked = any(ANY_ITEM.search(new, at, at + _LOOKED) for at in (0, third, 2 * third))
        divided = "  " in head or "\t" in head or " | " in head
        rows = self._whole or (divided and any(map(has_cells, lines[:_LEARNT])))
        self._heads = running_heads(lines) if self._wrapped and self._titles else frozenset()
        held = RECORD if self._outdented else PARAGRAPH if self._blocks else ITEM if marked else LINE
        self.outermost = held if held < LINE or (rows and len(lines) > 2) else _NONE
        if self._titles:
            self._clauses.see(text, base, marked=marked)
        if self._outdented:  # the first lines of records are alike, too; running heads are set in columns
            self._heads = frozenset(head for head in self._heads if has_cells(head) or head[-1] in "0]")
        self._head_ends = frozenset(head[-1] for head in self._heads)
        furniture = self._wrapped and (self._heads or "\f" in text)
        self._quick = not (self._outdented or furniture or "\r" in text)
        self._full = self._width - _LONG_WORD if self._wrapped else 0

    @property
    def is_wrapped(self) -> bool:
        """Whether the lines of the window are wrapped."""
        return self._wrapped

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The last record at the margin or named item; else the last paragraph that is no item, if it is near.

        Or the outermost unit that a cut would tear, where another item is near.
        """
        # Here and below: the quick searches know no line that ends with a carriage return.
        if self._outdented:
            return self._record(text, far, high) if text.find("\r", far, high) < 0 else None
        quick = self.outermost == ITEM and self._is_quick(text, far) and self._is_quick(text, near)
        if quick and self._named:
            found = self._farther(text, far, near, high, ITEM + 1)
            self._named = bool(found) and found[-1][1] == ITEM
            if self._named:
                return min(found, key=lambda boundary: (boundary[1], -boundary[0]))
        if not self._heads and (paragraph := self._paragraph(text, near, high)):
            return paragraph
        return self._item(text, near, far, high) if quick and self._wrapped and self._numbered else None

    def _paragraph(self, text: str, near: int, high: int) -> Boundary | None:
        """The last paragraph that is no item."""
        blank = text.rfind("\n\n", max(near, 0), high - 1)
        if blank < 0 or (text[blank + 2] in MARKS and ITEM_MARK.match(text, blank + 2)):
            return None
        line = text[blank + 2 : text.find("\n", blank + 2, high + _MORE) % _NONE]
        above = text[text.rfind("\n", 0, blank) + 1 : blank]
        if not line or not above or line.isspace():
            return None
        boundary = self.line(blank + 2, line, above.rstrip(), parted=True)
        return boundary if boundary and boundary[1] == PARAGRAPH else None

    def _item(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The outermost unit that a cut would tear, if an item is the last unit that begins near the limit."""
        best = next(self._back(text, near, high), None)
        if best is None or not ITEM < best[1] < LINE:
            self._numbered = False
            return None
        least = best[1]
        for boundary in reversed(self._farther(text, far, near, best[0] - 1, least)):
            if boundary[1] < least:
                least = boundary[1]
                if boundary[2] or boundary[0] >= near:
                    best = boundary
        return best

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """The boundaries from the last paragraph on."""
        if text.find("\n", max(low, 0), high) < 0 and text.find("\r", max(low, 0), high) < 0:
            return []
        found = self._outer(text, low, high)
        self._numbered = bool(found) and ITEM < found[-1][1] < LINE
        return found

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """The boundaries whose level is less than ``below``; none, unless a unit that stays whole may begin here."""
        if self._outdented and below <= PARAGRAPH and text.find("\r", low, high) < 0:
            record = self._record(text, low, high)
            return [record] if record else []
        quick = ITEM < below < LINE and self._is_quick(text, low)
        if quick and not (self._wrapped or self._blocks):
            held = outer_items(below - ITEM).search(text, max(low - _MORE, 0), high + _MORE) is not None
        else:
            held = self.may_hold(text, low, high)
        if not held:
            return []
        if not quick:
            return self._outer(text, low, high, below)
        found = self._farther(text, low, high, high, below)
        self._named = bool(found) and found[-1][1] == ITEM
        return found

    def _is_quick(self, text: str, low: int) -> bool:
        """Whether an expression finds the items and paragraphs behind this place; a wrapped line is short, too."""
        return self._quick and (not self._wrapped or text.find("\n", max(low - _MORE, 0), low) >= 0)

    def _record(self, text: str, low: int, high: int) -> Boundary | None:
        """The last record that begins at the left margin."""
        low = max(low, 0)
        if self._known[0] != low or self._known[1] < high:
            margin = [match.start() + 1 for match in _AT_MARGIN(text, low, high + 1)]
            self._known = low, high, next((at for at in reversed(margin) if self._is_record(text, at)), 0)
        at = self._known[2]
        return (at, RECORD, WHOLE) if low < at <= high else None

    def _is_record(self, text: str, at: int) -> bool:
        """Whether a record begins at this place, where a line begins at the left margin."""
        line = line_at(text, at, at + _LINE)
        if text[at - 2 : at] == "\n\n" and not line.isspace():
            return not self._is_page(line) and not has_cells(line)
        return any(level == RECORD for _, level, _ in self._outer(text, at - 1, at))

    def _farther(self, text: str, low: int, near: int, high: int, below: int) -> list[Boundary]:
        """The items and paragraphs for ``far``, where they are quickly found."""
        first = text.find("\n", max(low - _MORE, 0), high) + 1
        found: list[Boundary] = []
        begins = farther_out(below - ITEM, wrapped=self._wrapped, any_blank=self._wrapped)
        named = False
        for begin in reversed([match.start() + 1 for match in begins.finditer(text, max(low, 0), high + _MORE)]):
            if named and begin < near:
                break  # only a paragraph lies farther out than an item with a name, and it counts only where it is near
            boundary = self._at(text, begin, first, begin + _LINE) if begin <= high else None
            if boundary and boundary[1] < below:
                found.append(boundary)
                if boundary[1] == PARAGRAPH:
                    break
                named = named or (boundary[1] == ITEM and not self._blocks)
        found.reverse()
        return found

    def _at(self, text: str, begin: int, first: int, stop: int) -> Boundary | None:
        """The boundary at a line, if any; those from ``first`` to ``stop`` are read."""
        line = line_at(text, begin, stop)
        if self._wrapped:
            if self._is_page(line):
                return None
            above, parted = self._above(text, begin - 1, first)
            return self._below(begin, line, above, parted)
        above = text[text.rfind("\n", first - 1, begin - 1) + 1 : begin - 1].rstrip() if begin > first else ""
        return self.line(begin, line, above, begin > first and not above)

    def _above(self, text: str, end: int, first: int) -> tuple[str, bool]:
        """The last line up to ``end`` that is neither blank nor furniture, and whether any are behind it."""
        parted = False
        while end >= first:
            begin = text.rfind("\n", first - 1, end) + 1
            line = text[begin:end]
            if line and not line.isspace() and not self._is_page(line):
                return line, parted
            parted, end = True, begin - 1
        return "", parted

    def _is_page(self, line: str) -> bool:
        """Whether a wrapped line is furniture."""
        return len(line) < self._full and is_furniture(line, self._heads, self._head_ends)

    def may_hold(self, text: str, low: int, high: int) -> bool:
        """Whether an item or a row of a table may begin between these places."""
        # Asked before lines are listed: most of what lies far from a cut has neither.
        if self._whole or self._blocks or self._outdented or ANY_ITEM.search(text, max(low, 0), high + 1):
            return True
        low, high = max(low - _MORE, 0), high + _MORE
        return "\t" in text[low:high] or text.find(" | ", low, high) >= 0 or _WIDE.search(text, low, high) is not None

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Titles, clauses, items and paragraphs; lines where they are not wrapped."""
        return list(self._each(text, low, high))

    def _each(self, text: str, low: int, high: int) -> Iterator[Boundary]:
        above, parted = "", False
        for begin, line, after_blank in each_line(text, low - _MORE, high):
            parted = parted or after_blank
            if len(line) < self._full and self._is_page(line):
                parted = True
                continue
            if begin > low and (boundary := self._below(begin, line, above, parted)):
                yield boundary
            above, parted = line, False

    def _each_outer(self, text: str, low: int, high: int, level: int) -> Iterator[Boundary]:
        """Those of the level or farther out, where they are quickly found, and others."""
        first = text.find("\n", max(low - _MORE, 0), high) + 1
        begins = farther_out(level + 1 - ITEM, wrapped=self._wrapped, any_blank=True)
        for match in begins.finditer(text, max(low, 0), high + _CUT):
            begin = match.start() + 1
            if begin > high:
                return
            if boundary := self._at(text, begin, first, high + _CUT):
                yield boundary

    def _outer(self, text: str, low: int, high: int, below: int = _NONE) -> list[Boundary]:
        """The boundaries from the last outermost one on; those whose level is ``below`` or more may be missing."""
        outermost = RECORD if self._outdented else PARAGRAPH
        found: list[Boundary] = []
        for boundary in self._back(text, low, high, margin=self._outdented and below <= PARAGRAPH):
            found.append(boundary)
            if boundary[1] == outermost:
                break
            if self._wrapped and ITEM < boundary[1] < LINE and self._is_quick(text, low):
                found += reversed(self._farther(text, low, low, boundary[0] - 1, boundary[1]))
                break
        found.reverse()
        return found

    def _back(self, text: str, low: int, high: int, *, margin: bool = False) -> Iterator[Boundary]:
        """The boundaries from the last to the first. ``margin``: records are wanted, which stand at the left margin."""
        begin, line, parted = -1, "", False
        for place, above, after_blank in each_line_back(text, low - _MORE, high):
            if len(above) < self._full and self._is_page(above):
                parted = True
                continue
            if line and not (margin and line[0] in " \t") and (boundary := self._below(begin, line, above, parted)):
                yield boundary
            if place <= low:
                return
            begin, line, parted = place, above, after_blank
        if line and (boundary := self._below(begin, line, "", parted)):
            yield boundary

    def _below(self, begin: int, line: str, above: str, parted: bool) -> Boundary | None:
        """The boundary at a line, if any. Most wrapped lines have none, and ``line`` is not called for them."""
        if not parted and self._wrapped:
            if len(above) > self._full and above[-1] not in ENDS and above.find("  ", _INDENTED) < 0:
                return None
            over = above.rstrip()
            if over and over[-1] not in ENDS and not self._outdented and self._surely_goes_on(line, over):
                return None
            return self.line(begin, line, over, parted)
        return self.line(begin, line, above.rstrip(), parted)

    def _surely_goes_on(self, line: str, above: str) -> bool:
        """Whether a wrapped line, and no row of a table, surely goes on with the line above, as most do."""
        body = line.strip()
        return (
            (len(above) > _MOST * self._width or body[0].islower())
            and "  " not in body
            and "\t" not in body
            and " | " not in body
        )

    def is_inner(self, body: str, above: str) -> bool:
        """Whether a line that begins with a letter surely goes on with the wrapped one above; both are stripped."""
        return (
            self._wrapped
            and above != ""
            and above[-1] not in ENDS
            and not self._outdented
            and self._surely_goes_on(body, above)
        )

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The first boundary of the level or one farther out; 0 if there is none. No line behind it is read."""
        if self._outdented and level <= RECORD and text.find("\r", low, high) < 0:
            margin = (match.start() + 1 for match in _AT_MARGIN(text, low, high + 1))
            return next((at for at in margin if self._is_record(text, at)), 0)
        step = STEP
        while low < high:
            stop = min(high, low + step)
            quick = ITEM <= level < LINE and self._is_quick(text, low)
            for place, outer, _ in self._each_outer(text, low, stop, level) if quick else self._each(text, low, stop):
                if outer <= level:
                    return place
            low, step = stop, 2 * step
        return 0

    def context(self, text: str, start: int) -> Context:
        """The titles of numbered sections."""
        titles = self._clauses.above(start)
        return Context(titles) if titles else NO_CONTEXT

    def line(self, begin: int, line: str, above: str, parted: bool) -> Boundary | None:
        """The boundary at a line, if any. ``parted``: blank lines or furniture stand between it and the line above."""
        body = line.lstrip()
        if not parted and ("  " in body or "\t" in body or " | " in body) and has_cells(line) and has_cells(above):
            return begin, LINE, WHOLE  # a row of a table
        if (
            self._outdented
            and line[0] not in " \t"
            and (line.startswith("BEGIN:V") or (parted and not has_cells(line)))
        ):
            return begin, RECORD, WHOLE
        wrapped = self._wrapped
        forced = wrapped and not parted and is_forced(above, line, self._width)
        goes_on = (wrapped and (forced or body[0].islower() or len(above) > _MOST * self._width)) or (
            not parted and hangs(line, above)
        )
        if (goes_on and above and above[-1] not in ENDS) or body.startswith(("-- ", "— ")):
            return None  # a line behind a dash says who wrote what stands above
        mark = ITEM_MARK.match(line) if body[0] in MARKS or body[1:2] in BEHIND_LETTER else None
        if (forced and not mark) or (goes_on and not has_ended(above)):
            return None
        # Here a line that goes on with the one above stands behind the end of a sentence.
        if mark and (parted or goes_on or not wrapped or len(above) < _HALF * self._width or has_ended(above)):
            return begin, ITEM + RANK[mark.lastgroup or "bullet"] + min(mark.start(mark.lastgroup or 0), 80), WHOLE
        if parted:
            return begin, PARAGRAPH, WHOLE if self._blocks else SOFT
        if not wrapped:
            return begin, LINE, self._whole
        return (begin, PARAGRAPH + 1, SOFT) if not forced and (goes_on or has_ended(above)) else None


def looks(sample: Sample) -> float:
    """0.3 for any text: it may be prose if nothing else is more likely."""
    return 0.3
