"""Source code: functions with what stands above them, blocks, lines.

Nothing is known of any language but what indentation says: a block is a line and all lines after it that are indented
deeper. Lines that only close or go on with one (``}``, ``else:``) belong to it; comments, decorators, attributes and
the head of a function with its doc string belong to what follows.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mrengine.chunking.boundaries import INDENT, OPEN_ENDS, RECORD, WHOLE, Boundary, Stateless

__all__ = ["Code"]

# What stands right above a function or type and belongs to it.
_ABOVE = r"@\w|#\[|#(?![a-z])|//|/\*|--|;|%|\[\w+|template\s*<"
# Lines that go on with what is above: brackets, branches, operators, labels, the inside of a comment.
_GOES_ON = (
    r"[){}\].?&|+,:]|\*(?!\w)|#(?:if|else|elif|endif|ifn?def|define|undef|pragma)\b|(?=[a-z])(?:\w+:[ \t\r]*(?:\n|$)"
    r"|(?=[cdefrtw])(?:else|elif|elsif|except|finally|catch|rescue|end|endif|endfunction|done|fi|esac|then|do|where)\b)"
)
_HEAD = r"(?:async |export |pub |public |static |private )*(?:def|func|fn|fun|function|class)\b[^\n]*\([ \t]*(?=\n)"
_BEGIN = re.compile(rf"\n({INDENT})(?:({_ABOVE})|(?=[acdefps])({_HEAD})|(?=\S)(?!{_GOES_ON}))")
_DEEPEST = 60
_DOC_INSIDE = 2 * _DEEPEST + 10  # added to the levels inside of a doc string
_FAR = 3000  # characters: a longer doc string is not known for one
_PARAMETERS = 1000  # characters: so many may the parameters of a function take
_TAB = 4  # blanks


class Code(Stateless):
    """Source code by its level."""

    name = "code"
    outermost = RECORD
    # Most lines are told by their first letter.
    opens = re.compile(
        rf"{INDENT}(?=[-#=*_@/;%\[t\"rRuU])"
        rf"(?:{_ABOVE}|#|[-=*_](?: ?[-=*_]){{2,}}$|@\S|\*(?:[^/]|$)|[rRuU]?\"{{3}}.*\"{{3}}$)"
    )
    open_ends = (*OPEN_ENDS, "{", "(", "[", "\\", " =", "=>", "->", "&&", "||", "*/", " then", " do")

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._has_docs = True

    def see(self, text: str, base: int) -> None:
        """Whether there are doc strings at all."""
        self._has_docs = '"""' in text

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Lines by indentation; those right below a comment, decorator or attribute are none."""
        found = _lines(_BEGIN, text, max(low, 0), high)
        docs = _docs(text, max(low, 0), high) if self._has_docs else []
        return _outside(found, docs) if docs else found

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """Only lines that are indented no more than the last one, for no others can be better."""
        low = max(low, 0)
        last = text.rfind("\n", low, high)
        match = _BEGIN.match(text, last) if last >= 0 else None
        while last >= 0 and not match:
            last = text.rfind("\n", low, last)
            match = _BEGIN.match(text, last) if last >= 0 else None
        if (
            not match
            or match.lastindex != 1
            or text[last - 1 : last] in ("(", ",", "\r")
            or (self._has_docs and _docs(text, low, high))
        ):
            return self.boundaries(text, low, high)
        width = len(match[1].expandtabs(_TAB))
        return _lines(_within(min(width, _DEEPEST)), text, low, high)

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The last line at the left margin behind a blank one."""
        low = max(far, 0)
        blank = text.rfind("\n\n", low, high - 1)
        while blank >= 0:
            if _OUTERMOST.match(text, blank + 1):
                return blank + 2, RECORD, WHOLE
            blank = text.rfind("\n\n", low, blank)
        return None

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """Only lines that are indented less, and without regard to doc strings where those are at the left margin."""
        if below >= RECORD + 2 * _DEEPEST:
            return self.boundaries(text, low, high)
        return _lines(_within((below - 1 - RECORD) // 2), text, max(low, 0), high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The first boundary in ``low + 1 .. high`` with the level or a smaller one; 0 if there is none."""
        match = _within(min((level - RECORD) // 2, 2 * _DEEPEST)).search(text, max(low, 0), high + 100)
        return match.start() + 1 if match and match.start() < high else 0


def _lines(pattern: re.Pattern[str], text: str, low: int, high: int) -> list[Boundary]:
    """The boundaries at the lines that a pattern made like ``_BEGIN`` finds."""
    found: list[Boundary] = []
    attached, inside = False, 0  # inside: the parameters of a function
    tabbed = text.find("\t", low, high + 100) >= 0
    for match in pattern.finditer(text, low, high + 100):
        begin, end = match.span(1)
        if begin > high:
            break
        if begin < inside:
            continue
        above = text[begin - 2 : begin - 1]
        parted = above == "\n" or (above == "\r" and text[begin - 3 : begin - 2] == "\n")
        if not attached or parted:
            width = end - begin if not tabbed else len(match[1].expandtabs(_TAB))
            if width > _DEEPEST:
                width = _DEEPEST
            found.append((begin, RECORD + 2 * width + (not parted), WHOLE))
        last = match.lastindex
        attached = last == 2
        if last == 3:
            inside = text.find(f"\n{match[1]})", begin, begin + _PARAMETERS)
    return found


@lru_cache(maxsize=128)
def _within(width: int) -> re.Pattern[str]:
    """``_BEGIN`` for lines that are indented by at most so many blanks, or tabs that are as wide."""
    deeper = "[ \\t]" if width == 0 else f"[ ]{{{width + 1}}}|\\t{{{width // _TAB + 1}}}"
    return re.compile(rf"\n(?!{deeper})({INDENT})(?:({_ABOVE})|(?=\S)(?!{_GOES_ON}))")


_OUTERMOST = _within(0)


def _docs(text: str, low: int, high: int) -> list[tuple[int, int, int]]:
    """The doc strings that reach into ``low .. high``: from the begin of their first line to a line's; level."""
    found = []
    place = text.rfind('"""', max(0, low - _FAR), low)
    place = text.find('"""', low, high) if place < 0 else place
    while 0 <= place < high:
        closed = text.find('"""', place + 3)
        begin = text.rfind("\n", 0, place) + 1
        if text[begin:place].strip(" \trRuUfF") or text[max(0, begin - 200) : begin].rstrip()[-1:] != ":":
            place = (
                closed if place + 3 < closed < high and place >= low else text.find('"""', max(low, place + 3), high)
            )
            continue
        closed = text.find("\n", closed) + 1 if closed >= 0 else 0
        width = len(text[begin:place].rstrip("rRuUfF").expandtabs(_TAB))
        found.append((begin, closed or len(text), RECORD + 2 * min(width, _DEEPEST)))
        place = text.find('"""', max(low, closed or high), high)
    return found


def _outside(found: list[Boundary], docs: list[tuple[int, int, int]]) -> list[Boundary]:
    """The boundaries, those inside of doc strings deeper; none before one, nor where its own block goes on behind."""
    for begin, end, inner in docs:
        behind = next((at if level >= inner else -1 for at, level, _ in found if at >= end), -1)
        found = [
            (at, level + _DOC_INSIDE if begin <= at < end else level, whole)
            for at, level, whole in found
            if at not in (begin, behind)
        ]
    return found
