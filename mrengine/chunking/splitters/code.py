"""Owns the cutting of source code: between functions and top-level blocks, then at blank lines, then at lines.

Nothing is known of any language but what indentation says: a block is a line and all lines after it that are indented
deeper; lines that only close one (``}``, ``else:``) belong to what they close.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from mrengine.chunking.splitters.lines import line_begins, lines_near, soft_window
from mrengine.chunking.splitters.prose import Prose

__all__ = ["Code", "best_line", "enclosing_function"]

# Lines that go on with the block above.
_GOES_ON = re.compile(r"(?:else|elif|except|finally|catch|end|endif|done|fi|esac)\b")
_TOP = re.compile(rf"(?!{_GOES_ON.pattern})[^\s)}}\]]")
_INDENT = re.compile(r"[ \t]*")
_METHOD = re.compile(r"(?:async )?def \w+\((?:self|cls)\b")
_FAR = 8000  # characters: a function that began before is not kept whole
_FIRST_CREDIT = 0.25
_FUNCTION = re.compile(
    r"(?:@|(?:(?:async|export|default|public|private|protected|internal|static|final|abstract|override|virtual|inline"
    r"|extern|unsafe|const|pub(?:\([a-z]+\))?)\s+)*(?:def|function\*?|func|fn|fun|sub|proc|lambda)\b"
    r"|[A-Za-z_][\w:<>,*&\[\]. ]*\([^;{}]{0,400}\)[^;{}\n]*\{?[ \t]*\r?(?:\n|$))"
)


class Code:
    """The splitter of source code. Of what it cut before, it keeps only how full the chunks became."""

    kind = "code"

    def __init__(self, target: int) -> None:
        self._window = soft_window(target)
        self._prose = Prose(target)
        self._credit = _FIRST_CREDIT

    def see(self, text: str, base: int) -> None:
        """Nothing is learnt in advance."""

    def cut(self, text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
        """The last line of the outermost block near ``high``; before a function that fits, if the fill affords it."""
        span = high - start
        best = best_line(text, high - int(span * self._window), high)
        if best <= start:
            return self._prose.cut(text, start, high, fits)
        credit = self._credit + self._window / 2 - (high - best) / span
        if credit > 0:
            whole = enclosing_function(text, start, best, fits, max(0, best - int(credit * span)))
            if whole and credit >= (best - whole) / span:
                credit -= (best - whole) / span
                best = whole
        self._credit = min(credit, 2 * _FIRST_CREDIT)
        return best

    def resume(self, text: str, low: int, start: int) -> int:
        """The first line at ``low`` or later."""
        return next(line_begins(text, low, start), start)


def enclosing_function(text: str, start: int, cut: int, fits: Callable[[int, int], bool], least: int = 0) -> int:
    """The begin of the outermost function behind ``start`` that a cut before the line at ``cut`` tears, and that fits.

    0 if there is none, or if even the innermost begins before ``least``, where it would be of no use. What
    encloses a line are the nearest lines above that are indented less, one after another.
    """
    width = len(_INDENT.match(text, cut).group())  # type: ignore[union-attr] # it matches nothing, too
    if width and _METHOD.match(text, cut + width):
        return 0  # between the methods of a class: nothing that encloses them is a function
    start = max(start, cut - _FAR)
    found, header = 0, cut
    while width:
        header = _last_line(text, start if found else max(start, least - 1), header, width - 1)
        if not header:
            break
        width = len(_INDENT.match(text, header).group())  # type: ignore[union-attr]
        if _FUNCTION.match(text, header + width):
            after = _line_within(width).search(text, cut)
            if fits(header, after.start() + 1 if after else len(text)):
                found = header
    return _with_decorators(text, start, found)


def _last_line(text: str, start: int, stop: int, width: int) -> int:
    """The begin of the last line between ``start`` and ``stop`` that is indented by at most ``width``; or 0."""
    end, step, finditer = stop, 256, _line_within(width).finditer
    while stop > start:
        begin = max(start, stop - step)
        found = 0
        for match in finditer(text, begin, end):
            found = match.start() + 1
        if found:
            return found
        stop, end = begin, min(end, begin + width + 2)  # seen already, but for a newline and what must follow it
        step *= 2
    return 0


def _with_decorators(text: str, start: int, begin: int) -> int:
    """The begin of the first of the lines right above that belong to a function: decorators and comments."""
    while begin > start:
        above = text.rfind("\n", start, begin - 1) + 1
        if not above or not text[above:begin].lstrip().startswith(("@", "#", "//", "/*", "*", "[")):
            return begin
        begin = above
    return begin


@lru_cache(maxsize=64)
def _line_within(width: int) -> re.Pattern[str]:
    return re.compile(rf"\n[ \t]{{0,{width}}}(?=[^\s)}}\]#])")


def best_line(text: str, low: int, high: int) -> int:
    """The last line in ``low .. high`` of the outermost block, better after a blank line; 0 if there is no line."""
    place = text.rfind("\n\n", max(low - 2, 0), high)
    if place >= 0 and place + 2 >= low and _TOP.match(text, place + 2):
        return place + 2
    best, least = 0, 1 << 30
    tabs = text.find("\t", low, high) >= 0
    for begin, indent, body, above in lines_near(text, low, high):
        rank = 2 * indent + (above != "")
        if tabs:
            rank += 6 * text.count("\t", begin, begin + indent)
        if rank <= least and body[0] not in ")}]" and not _GOES_ON.match(body):
            best, least = begin, rank
    return best
