"""The sample that a text's kind is recognised by: the document's first block, and lines from all over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property

__all__ = ["GAP", "Sample", "is_underline", "sampled"]

GAP = "\0"  # a row between two runs
_FEW = 40
_RUNS, _RUN = 5, 32  # so many runs of so many lines each, spread over the block
_BEGIN, _END = 160, 40  # characters: of a longer line, so much of its begin and end
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_NUMBER = r"-?\d[\d.eE+-]*"
_JSON = re.compile(
    rf"\ufeff?\s*(?:\{{\s*(?:{_STRING}\s*:|\}})"
    rf"|\[\s*(?:\[(?!\s*(?!true|false|null)[A-Za-z_][\w.-]*\s*\])|[{{\]]|(?:{_STRING}|{_NUMBER}|true|false|null)\s*(?:,|\]\s*(?:\n|$))))"
)
_LINE_END = re.compile("\r\n?|\n")


def sampled(line: str) -> str:
    """A line without the blanks at its end; a long one without its middle."""
    return line.rstrip() if len(line) <= _BEGIN + _END else line[:_BEGIN] + line[-_END:].rstrip()


def is_underline(row: str, above: str) -> bool:
    """Whether a row of tildes is no fence but the rule below a title."""
    body = row.strip()
    return (
        body[0] == "~"
        and len(body) > 3
        and not body.strip("~")
        and bool(above.strip())
        and abs(len(above.rstrip()) - len(row)) < 3
    )


def _runs(rows: list[str]) -> Iterator[list[str]]:
    """The parts between the gaps; each but the last with the gap behind it."""
    begin = 0
    while GAP in rows[begin:]:
        end = rows.index(GAP, begin) + 1
        yield rows[begin:end]
        begin = end
    yield rows[begin:]


def _unfenced(run: list[str], *, is_first: bool) -> tuple[list[str], int]:
    """The rows of a part outside of fenced blocks, and how many these are. A part may begin and end inside of one; the
    first one begins outside.
    """
    marks: list[int] = []
    for index, row in enumerate(run):
        mark = row.lstrip()[:3]
        if mark in ("```", "~~~") and not (mark == "~~~" and is_underline(row, run[index - 1] if index else "")):
            bare = not row.strip(" " + mark[0])
            if len(marks) % 2 == 0 or (bare and run[marks[-1]].lstrip()[:3] == mark):
                marks.append(index)
    going_on = 0
    if len(marks) % 2:
        first = run[marks[0]].strip()
        if not is_first and len(marks) > 1 and not first.strip(first[0]):
            run, marks = run[marks[0] + 1 :], [mark - marks[0] - 1 for mark in marks[1:]]
        else:
            last = marks.pop()
            if run[-1] == GAP:
                run, going_on = run[:last], 1  # it goes on where the part ends; elsewhere, never closed, it is none
    outer, begin = [], 0
    for opened, closed in zip(marks[::2], marks[1::2], strict=True):
        outer += run[begin:opened]
        begin = closed + 1
    return outer + run[begin:], len(marks) // 2 + going_on


class Sample:
    """The first block of a document, ``text``, and ``lines``: those that are not blank, or runs of them.

    Lines keep their indentation, and lose the blanks at their end; long ones lose their middle.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def head(self) -> str:
        """The first 3,000 characters, without a byte order mark and blank lines at the beginning."""
        return self.text[:3000].lstrip("\ufeff \t\r\n")

    @cached_property
    def is_json(self) -> bool:
        """Whether the text begins like JSON or JSON Lines."""
        return self.head[:1] in ("{", "[") and _JSON.match(self.text[:3000]) is not None

    @cached_property
    def rows(self) -> list[str]:
        """Lines of all parts of the block, blank ones too, with ``GAP`` behind each part. One that the block's end cuts
        short is left out.
        """
        text = self.text.removeprefix("\ufeff")
        lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
        if len(text) > 100_000 and len(lines) > 1:
            lines.pop()
        if len(lines) > _RUNS * _RUN:
            step = (len(lines) - _RUN) // (_RUNS - 1)
            runs = (lines[run * step : run * step + _RUN] for run in range(_RUNS))
            lines = [line for run in runs for line in (*run, GAP)]
        return [sampled(line) for line in lines]

    @cached_property
    def lines(self) -> list[str]:
        """The rows that are not blank."""
        return [line for line in self.rows if line and line != GAP]

    @cached_property
    def few(self) -> list[str]:
        """Some of the lines, from all over the block: enough to see that a kind is out of the question."""
        return self.lines[:: len(self.lines) // _FEW + 1]

    @cached_property
    def outer(self) -> list[str]:
        """The rows outside of fenced blocks. A fence that is never closed is none."""
        return self._split[0]

    @property
    def fences(self) -> int:
        """How many fenced blocks the rows have."""
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[list[str], int]:
        rows: list[str] = []
        fences = 0
        for run in _runs(self.rows):
            outer, found = _unfenced(run, is_first=not rows)
            rows += outer
            fences += found
        return rows, fences

    def share(self, matches: Callable[[str], object]) -> float:
        """What part of the lines an expression's ``match`` (or any predicate) takes: 0 to 1."""
        lines = self.lines
        return sum(1 for line in lines if matches(line)) / len(lines) if lines else 0.0
