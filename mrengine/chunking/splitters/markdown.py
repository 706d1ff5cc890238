"""Markdown: headings of both styles, paragraphs, lists, tables; a fenced block stays whole if it fits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mrengine.chunking.boundaries import (
    ALWAYS,
    INDENT,
    ITEM,
    LINE,
    PARAGRAPH,
    SECTION,
    SOFT,
    WHOLE,
    Boundary,
    Context,
    Stateless,
    opening,
)
from mrengine.chunking.splitters.fenced import Fenced
from mrengine.chunking.splitters.fences import Fences
from mrengine.chunking.splitters.headings import Headings
from mrengine.chunking.splitters.lines import Line, each_line
from mrengine.chunking.splitters.prose import TITLES, Prose
from mrengine.chunking.splitters.text_lines import has_ended
from mrengine.chunking.splitters.titles import RULES, Titles

__all__ = ["Markdown"]

_ITEM = re.compile(r"[-*+•][ \t]|\d{1,9}[.)][ \t]")
_PARAGRAPH = re.compile(r"[^\W\d_]|[`>\"'“<$]|\*\*?[^\s*]")  # so begins what is no item
_HELD = re.compile(rf"\n{INDENT}(?:[|>]|\d{{4,9}}[.)][ \t])")  # rows, quotations, items that are none in running text
_RULES = "=-"  # below a heading
_RULES_OF_RST = _RULES + '~^"*+'
_BETWEEN_RULES = r"(?<=[=~^\"*+-]{3}\n)[ \t]*(?=[^\W_])[^\n]{0,70}[^\s.!?;,:]$"
# Lines that may be rules.
_RULED = re.compile(rf"\n[^\S\n]*[{re.escape(RULES)}|][{re.escape(RULES)}| ]*[^\S\n]*(?=\n|\Z)").finditer
_BLANK = (" ", "\t", "\r", "\n")
_ANY = 1 << 30  # below this are the levels of all boundaries
_DEEP = 1000  # the levels inside a fenced block
_FARTHER = 4  # times what is near
_LONG = 4000  # characters of a table's first two lines
_MORE = 240  # characters before the boundaries that are asked for: the lines above


class Markdown(Stateless):
    """Markdown. It remembers where fenced blocks are, which headings stand above, and how lines are wrapped."""

    name = "markdown"
    opens = opening(r"\s*\*\*[^*]{1,80}\*\*$", r"\s*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t:|-]*)$", _BETWEEN_RULES, *TITLES)

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._surely = 2 * target  # characters: a fenced block that is shorter fits
        self._large = target  # characters: a fair part of a chunk
        self._fenced = Fenced(target)
        self._titles = Titles()
        self._prose = Prose(target, titles=False)
        self._fences = Fences()
        self._headings = Headings(_RULES, self._titles.read, self._titles.leasts)
        self._base = self._seen = 0
        self._last = 0  # where the chunk before began; in characters of the document
        self._header = ""  # of the table in which it began

    def see(self, text: str, base: int) -> None:
        """Note the fenced blocks of the text that is new."""
        self._base = base
        self._fences.see(text, base)
        begin = max(0, self._seen - base)
        self._seen = base + len(text)
        self._prose.see(text, base)
        self._fenced.see(text, base)
        if not base:
            self._titles.see(text)
            if self._titles.is_rst:
                self._headings.look_for(_RULES_OF_RST)
        # One character is found ten times as fast as two.
        quoted = text.find(">", begin) >= 0 and text.find("\n>", begin) >= 0
        whole = quoted or text.find("|", begin) >= 0
        self.outermost = PARAGRAPH if whole else self._prose.outermost
        if self.outermost > 2 * _DEEP and self._fences.between(0, len(text)):
            self.outermost = 2 * _DEEP  # the blocks, where nothing begins near the limit

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The fenced block around ``high``; else the last heading, or the last paragraph that is no item; in
        reStructuredText the outermost title.
        """
        around = self._fences.around
        if fence := around(high):
            return (fence[0], PARAGRAPH, ALWAYS) if self._is_whole(text, fence) else None
        mark = text.rfind("\n#", max(near, 0), high)
        if mark >= 0 and not around(mark + 1) and (heading := self._titles.read(text, mark + 1)):
            return mark + 1, SECTION + heading[0], SOFT
        blank = text.rfind("\n\n", max(near, 0), high - 1)
        first = text[blank + 2 : blank + 3]
        if blank >= 0 and (first == "|" or (_PARAGRAPH.match(text, blank + 2) and _is_plain(text, blank + 2))):
            return None if around(blank + 2) else (blank + 2, PARAGRAPH, SOFT)
        return self._ruled(text, max(near, 0), high) if self._titles.is_rst and blank >= 0 else None

    def _ruled(self, text: str, low: int, high: int) -> Boundary | None:
        """The last of the outermost titles in ``low + 1 .. high``; None if lines have to be listed: where there may be
        titles with other marks than rules, or that do not stand behind a blank line.
        """
        if text.find("#", low, high) >= 0 or text.find("\r", low, high) >= 0 or self._fences.between(low, high):
            return None
        best: Boundary | None = None
        begin, over = 0, -1  # of a rule behind a blank line; where the line below it begins
        for match in _RULED(text, low, high + _MORE):
            rule = match.start() + 1
            if rule > high:
                break
            if not self._titles.is_rule(match.group()[1:].rstrip()):
                return None
            title = text.rfind("\n", low, rule - 1) + 1
            if title == rule - 1:  # a rule behind a blank line
                begin, over = rule, match.end() + 1
                continue
            begin = begin if title == over else title
            parted = begin > low and text[begin - 2 : begin] == "\n\n" and not text[begin - 3].isspace()
            if not parted or not text[title].isalnum():
                return None
            above = text[text.rfind("\n", 0, begin - 2) + 1 : begin - 2].strip()
            line = _line_at(text, begin)
            if not has_ended(above) and not self._line(begin, line, line.strip(), above, after_blank=True):
                return None  # the line may go on with the one above
            level = SECTION + self._titles.level(text[rule], over=title == over)
            if not best or level <= best[1]:
                best = begin, level, SOFT
            over = -1
        return best if over < 0 else None

    def _is_whole(self, text: str, fence: tuple[int, int]) -> bool:
        """Whether a fenced block surely fits, and is to stay whole whatever it costs."""
        return fence[1] - fence[0] < self._surely and not self._has_records(text, fence)

    def _has_records(self, text: str, fence: tuple[int, int]) -> bool:
        """Whether a fenced block is large and made of records: these may be parted."""
        return fence[1] - fence[0] >= self._large and self._fenced.has_records(text, fence)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """As the boundaries say; behind a fenced block, the next line that is not blank."""
        fence = self._fences.around(low) if level < _DEEP else None
        if fence is None:
            return super().after(text, level, low, high)
        begin = fence[1]
        while text[begin : begin + 1] in _BLANK:
            begin += 1
        begin = max(fence[1], text.rfind("\n", fence[1], begin) + 1)
        return begin if begin <= high else 0

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Headings, paragraphs, items, rows; fenced blocks, and what is in them."""
        return self._listed(text, low, high, None)

    def _listed(self, text: str, low: int, high: int, below: int | None) -> list[Boundary]:
        """The same; only those whose level is less than ``below`` and than that of all behind them, if it is given."""
        fences = self._fences.between(low, high)
        if not fences:
            return self._outside(text, low, high, fences, _start(text, low))
        begins = {begin for begin, _ in fences}
        outside = self._outside(text, low, high, fences, max(0, low - _MORE))
        found = [boundary for boundary in outside if boundary[0] not in begins]
        found += self._in_fences(text, low, high, fences, below)
        found.sort()
        return found

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """All of them; of a long block that began before, what is in it from farther back, too."""
        block = self._fences.around(low)
        if not block and text.find("\n", max(low, 0), high) < 0 and text.find("\r", max(low, 0), high) < 0:
            return []
        farther = _FARTHER * (high - low) if block and self._has_records(text, block) else 0
        return self._listed(text, low - farther, high, _ANY)

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """All of them, if any of these places may be the begin of what is to stay whole: behind the last paragraph,
        where others are known.
        """
        low = max(low, 0)
        begin = self._last_paragraph(text, low, high)
        if begin and below < _ANY and not self._may_hold(text, begin - 1, high + _MORE):
            return []
        if not self._fences.around(high) and not self._may_hold(text, low, high):
            return []
        if begin:
            found = self._outside(text, low, high, [], begin - 1, self._line_above(text, low, begin))
            if found and found[0][0] == begin and found[0][1] <= PARAGRAPH:
                return found
        return self._listed(text, low, high, below)

    def _last_paragraph(self, text: str, low: int, high: int) -> int:
        """Where the last paragraph between these places begins that is no item; 0 if that is not quickly known.

        What is to stay whole, and begins before it, lies no farther out.
        """
        if self._prose.outermost < PARAGRAPH or text.find("\r", low, high) >= 0:
            return 0
        blank = text.rfind("\n\n", low, high)
        while blank >= 0 and not _PARAGRAPH.match(text, blank + 2):
            blank = text.rfind("\n\n", low, blank)
        return blank + 2 if blank >= 0 and not self._fences.between(blank + 2, high) else 0

    def _line_above(self, text: str, low: int, begin: int) -> str:
        """The last line before ``begin`` that is not blank, if it begins near ``low`` or behind; else empty.

        Empty, too, if it is one of a fenced block.
        """
        first = max(0, low - _MORE)
        before = text[first:begin].rstrip()
        newline = before.rfind("\n")
        return "" if newline < 0 or self._fences.around(first + newline + 1) else before[newline + 1 :].strip()

    def _may_hold(self, text: str, low: int, high: int) -> bool:
        """Whether what is to stay whole may begin between these places."""
        return _HELD.search(text, low, high + 1) is not None or self._prose.may_hold(text, low, high)

    def _outside(
        self, text: str, low: int, high: int, fences: list[tuple[int, int]], first: int, above: str = ""
    ) -> list[Boundary]:
        """What begins in ``low + 1 .. high`` outside of fenced blocks. What a line is, the one below it may change.

        ``first``: from here on lines are looked at. ``above``: the line above the first of them.
        """
        found: list[Boundary] = []
        if fences and fences[0][0] < low and fences[0][1] > high:
            return found
        if fences:  # lines of a block count for nothing
            first = fences[0][1] - 2 if fences[0][0] <= first else first  # the end of its last line
            high = fences[-1][0] if fences[-1][1] > high else high
        lines = each_line(text, first, high)
        behind_rule = above_rule = False
        is_inner = self._prose.is_inner
        for begin, line, after_blank in _outer(lines, fences) if fences else lines:
            body = line.strip()
            if not body:
                above = ""
                continue
            told = body[0].isalpha()
            rule = not told and self._titles.is_rule(body)
            is_rule = rule or (not told and _is_rule(body))
            if is_rule and not after_blank and above:
                if found and begin > low:
                    found[-1] = self._headed(found[-1], body, over=above_rule)
                behind_rule = "|" in body
            elif begin > low and not (behind_rule and not after_blank):
                inner = told and not after_blank and is_inner(body, above)
                boundary = None if inner else self._line(begin, line, body, above, after_blank)
                if boundary:
                    found.append(boundary)
                behind_rule, above_rule = rule, False
            else:
                above_rule = behind_rule and not after_blank
                behind_rule = rule
            above = body
        return found

    def _headed(self, boundary: Boundary, rule: str, *, over: bool) -> Boundary:
        """The boundary of a line below which there is a rule: of a title, or of a table's header."""
        if "|" in rule:
            return boundary[0], PARAGRAPH, WHOLE
        return boundary[0], SECTION + self._titles.level(rule[0], over=over), SOFT

    def _line(self, begin: int, line: str, body: str, above: str, after_blank: bool) -> Boundary | None:
        """What begins at a line, if anything does."""
        first = body[0]
        indent = len(line) - len(line.lstrip())
        if first == "#" and (level := len(body) - len(body.lstrip("#"))) < 7 and body[level : level + 1] in " \t":
            return begin, SECTION + level, SOFT
        if first == ">":
            if above[:1] != ">" or after_blank:
                return begin, PARAGRAPH, WHOLE
            return None if self._prose.is_wrapped else (begin, LINE, SOFT)
        if first == "|":
            return begin, PARAGRAPH if after_blank else ITEM, WHOLE
        if _ITEM.match(body):
            return begin, ITEM + indent, WHOLE
        if after_blank and indent > 1:
            return begin, ITEM + indent, SOFT
        if not after_blank and " | " in body:
            return begin, ITEM, WHOLE
        boundary = self._prose.line(begin, line, above, after_blank)
        goes_on = boundary and indent > 1 and boundary[1] < ITEM  # with the item above
        return (begin, LINE, SOFT) if goes_on else boundary

    def _in_fences(
        self, text: str, low: int, high: int, fences: list[tuple[int, int]], below: int | None
    ) -> list[Boundary]:
        found: list[Boundary] = []
        inner = None if below is None else below - _DEEP
        for begin, end in fences:
            records = self._has_records(text, (begin, end))
            if low < begin <= high or (begin <= low <= high < end and not records):
                mark = text[begin : begin + 80]
                indent = len(mark) - len(mark.lstrip(" "))
                level = ITEM + indent if indent > 1 else PARAGRAPH
                found.append((begin, level, WHOLE if records else ALWAYS))
            if end - begin < self._surely and not records:
                continue
            inside = self._fenced.boundaries(text, (begin, end), max(low, begin), min(high, end - 1), inner)
            found += [(place, level + _DEEP, whole) for place, level, whole in inside if place > begin]
        return found

    def context(self, text: str, start: int) -> Context:
        """The headings above, and the first two lines of the table that goes on."""
        headings = self._headings.above(text, self._base, start, self._fences.around)
        header = self._table_header(text, start) if self.outermost == PARAGRAPH else ""
        self._last, self._header = start + self._base, header
        return Context(headings, header) if headings or header else Context()

    def _table_header(self, text: str, start: int) -> str:
        """The header and rule of the table that the line at ``start`` goes on with; looked for in the chunk before."""
        if "|" not in _line_at(text, start) or "|" not in _line_before(text, start):
            return ""
        place = start
        while place > max(0, self._last - self._base):
            line = _line_before(text, place)
            if "|" not in line:
                return ""
            begin = place - len(line)
            above = _line_before(text, begin)
            if not line.strip(" \t\r\n|:-") and "-" in line and "|" in above:
                return (above + line)[:_LONG]
            place = begin
        return self._header


def _outer(lines: Iterator[Line], fences: list[tuple[int, int]]) -> Iterator[Line]:
    """The lines; those that lie in a fenced block are empty."""
    inside, until = fences[0]
    for begin, line, after_blank in lines:
        while begin > inside and begin >= until:
            inside, until = next((span for span in fences if span[1] > begin), (_ANY, _ANY))
        yield begin, "" if begin > inside else line, after_blank


def _is_rule(body: str) -> bool:
    """Whether a line is the rule below a heading, or below a table's header."""
    return body[0] in "=-|:" and (not body.strip("=") or not body.strip("-:| "))


def _start(text: str, low: int) -> int:
    """Where to begin to look, so that it is known what stands above the first line behind ``low``."""
    floor = max(0, low - _MORE)
    blank = text.rfind("\n\n", floor, max(low, 0))
    # Whatever stands above the line behind a blank one changes nothing below that line.
    return blank + 1 if blank >= 0 and text[blank + 2 : blank + 3] not in _BLANK else floor


def _is_plain(text: str, begin: int) -> bool:
    """Whether the line below is neither the rule of a heading nor that of a table."""
    below = text.find("\n", begin) + 1
    return not below or text[below : below + 1] not in ("=", "-", "|", ":", " ")


def _line_at(text: str, begin: int) -> str:
    end = text.find("\n", begin)
    return text[begin : end if end >= 0 else len(text)]


def _line_before(text: str, begin: int) -> str:
    """The line that ends at ``begin``, with its newline."""
    return text[text.rfind("\n", 0, max(begin - 1, 0)) + 1 : begin]
