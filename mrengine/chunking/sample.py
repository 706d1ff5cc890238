"""Owns what a kind of text is told by: the first block of a document, and lines from all over it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

__all__ = ["GAP", "Sample", "is_underline"]

GAP = "\0"  # a row between two runs
_RUNS, _RUN = 5, 32  # so many runs of so many lines each, spread over the block
_BEGIN, _END = 160, 40  # characters: of a longer line, so much of its begin and end
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_NUMBER = r"-?\d[\d.eE+-]*"
_JSON = re.compile(
    rf"\ufeff?\s*(?:\{{\s*(?:{_STRING}\s*:|\}})"
    rf"|\[\s*(?:[\[{{\]]|(?:{_STRING}|{_NUMBER}|true|false|null)\s*(?:,|\]\s*(?:\n|$))))"
)
_LINE_END = re.compile("\r\n?|\n")


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
        return [
            line.rstrip() if len(line) <= _BEGIN + _END else line[:_BEGIN] + line[-_END:].rstrip() for line in lines
        ]

    @cached_property
    def lines(self) -> list[str]:
        """The rows that are not blank."""
        return [line for line in self.rows if line and line != GAP]

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
        fence, opened, above, fences = "", 0, "", 0
        for row in self.rows:
            mark = row.lstrip()[:3]
            if mark in ("```", "~~~") and not (fence and mark != fence) and (fence or not is_underline(row, above)):
                if fence:
                    del rows[opened:]
                    fences += 1
                fence, opened = ("", 0) if fence else (mark, len(rows))
            else:
                rows.append(row)
            above = row
        return rows, fences

    def share(self, matches: Callable[[str], object]) -> float:
        """What part of the lines an expression's ``match`` (or any predicate) takes: 0 to 1."""
        lines = self.lines
        return sum(1 for line in lines if matches(line)) / len(lines) if lines else 0.0
