"""Recognises Markdown and reStructuredText by marks that stand where theirs do."""

from __future__ import annotations

import re

from mrengine.chunking.sample import Sample

__all__ = ["looks"]

_LINK = re.compile(r"\]\([^)\s]|\*\*\w[^*]*\*\*|\]\[|:\w+:`|`_|::$")
_URL = re.compile(r"\[[^\]\n]+\]\([^)\s]+[^)\n]*\)")  # what no other text has
_SPAN = re.compile(r"(?<!`)`[^`\s][^`]*`(?!`)")
_TARGET = re.compile(r"\[[^\]]+\]: |\.\. _")
_DIRECTIVE = re.compile(r"\s*\.\. [\w:-]+::")
_TITLE = re.compile(r"#{1,6} +\S")
_TABLE = re.compile(r"\s*\|?[ \t]*:?-{2,}:?[ \t]*\|[ \t:|-]*$")
_GRID = re.compile(r"\+(?:[-=]{3,}\+){2,}$")
_BULLET = re.compile(r"\s{0,8}[-*+]\s+\S")
_TASK = re.compile(r"\s{0,8}[-*+]\s+\[[ xX]\]\s+\S")
_SETEXT = re.compile(r"([-=~^\"*])\1{2,}$")
_PROSE = re.compile(r"(?!\w+:)[^\W\d_][^=;{}$\\#]+$")
_FRONT = re.compile(r"---\n(?:[\w-]+:.*\n|[ \t-].*\n|\n){1,60}?---\n\s*[^\s-]")  # what generators of sites read
_ENOUGH, _FEW_ROWS = 2.5, 8
_SHORT = 16  # rows
_WORDY = 4  # blanks


class _Marks:
    """What the rows of a sample have of Markdown and reStructuredText."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.said = self.bullets = self.titles = self.links = self.urls = self.spans = self.cells = 0
        self.wordy = self.directives = 0
        self.on_top = False  # a title with a rule, or two titles of different levels, and nothing before
        self.levels: set[int] = set()

    def row(self, above: str, row: str, below: str) -> None:
        """Look at a row that is not blank, between its neighbours."""
        self.said += 1
        first = row.lstrip()[:1]
        if first == "#":
            self._hashed(above, row, below)
        elif first in '-=~^"*' and _SETEXT.match(row) and above and abs(len(above) - len(row)) < 3:
            self.weight += 2
            self.on_top = self.on_top or self.said == 2  # the second row
        elif ("|" in row and _TABLE.match(row)) or (first == "+" and _GRID.match(row)):
            self.weight += 3
        elif first == "|" and row[-1] == "|":
            self.cells += 1
        elif first in "-*+" and _BULLET.match(row):
            self.bullets += 1
            self.weight += _TASK.match(row) is not None
        elif row.count(" ") >= _WORDY:
            self.wordy += 1
            self.on_top = self.on_top or (self.said == 2 and self.titles == 1 and _PROSE.match(row) is not None)
        directive = first == "." and _DIRECTIVE.match(row) is not None
        self.directives += directive
        linked = directive or _is_linked(row, first)
        self.links += linked
        self.urls += linked and "](" in row and _URL.search(row) is not None
        self.spans += not linked and "`" in row and _SPAN.search(row) is not None

    def _hashed(self, above: str, row: str, below: str) -> None:
        """A title, or a comment of something else."""
        if _TITLE.match(row) and not above and not below.startswith("#") and (not below or len(row) < 70):
            self.titles += 1
            self.weight += 1 if below else 2
            self.levels.add(row.find(" "))
            self.on_top = self.on_top or (self.said == self.titles and len(self.levels) > 1)
        elif not below.startswith("#"):
            self.weight -= 0.5


def looks(sample: Sample) -> float:
    """How much a text looks like Markdown: by titles that stand alone, links and emphasis, lists, tables, fences."""
    rows = ["", *sample.outer, ""]
    marks = _Marks()
    for above, row, below in zip(rows, rows[1:], rows[2:], strict=False):
        if row:
            marks.row(above, row, below)
    said, titles = marks.said, marks.titles
    if titles and not (marks.on_top or marks.wordy or marks.links or marks.bullets or sample.fences):
        return 0.0  # comments
    weight = marks.weight + marks.links + (marks.cells / 2 if marks.weight >= 3 else 0)
    strong = titles > 0 or sample.fences > 0 or marks.directives > 0 or weight >= 3
    weight += 3 * sample.fences + marks.bullets / 4 + marks.spans + 2 * marks.directives + marks.on_top
    if sample.head.startswith("---\n") and _FRONT.match(sample.head):
        return 0.82
    if sample.fences and (titles or marks.on_top):
        return 0.86
    if weight >= _ENOUGH and (strong or marks.on_top) and (weight > 0.05 * said or marks.on_top):
        return 0.75 if weight < 0.25 * said else 0.82
    if said < _FEW_ROWS and marks.links and weight >= said / _WORDY:
        return 0.7
    if said > 1 and marks.bullets > 0.7 * said:
        return 0.7
    few = marks.urls or (said <= _SHORT and marks.spans) or sample.head.startswith("<!--")
    return 0.5 if few and marks.weight >= 0 else 0.0


def _is_linked(row: str, first: str) -> bool:
    """Whether a row has a link, emphasis, or what reStructuredText has in their place."""
    if first in "[." and _TARGET.match(row):
        return True
    may = "`" in row or "](" in row or "**" in row or "][" in row or row[-1] == ":"
    return may and _LINK.search(row) is not None
