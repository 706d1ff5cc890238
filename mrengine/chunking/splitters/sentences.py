"""Finds where sentences end, in the world's languages as far as a few rules carry; then clauses.

A place that is doubtful is none: what a mark less costs is a little fill. Looked at are only the few marks near a cut.
Offsets are characters of the given text; a sentence ends before the blank that follows it, or behind the newline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mrengine.chunking.splitters.abbreviations import is_abbreviation

__all__ = ["last_clause", "last_sentence", "sentence_begins"]

# A blank must follow a narrow mark; none need follow a wide one, nor "!" and "?" between characters that are written
# without blanks. The expression begins with one set of characters, which the re module skips to fast, and looks back
# from there for the first mark of a run.
_NARROW = ".!?…؟۔।॥։።"
_WIDE = "。！？｡．។៕။༎"
_CLOSING = "\"'”’“»›)\\]"
_WIDE_CLOSING = "”’」』）》】"
_UNSPACED = "\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f"
_END = re.compile(
    rf"[{_NARROW}{_WIDE}](?<![{_NARROW}{_WIDE}][{_NARROW}{_WIDE}])"
    rf"(?:(?<=[{_NARROW}])[{_NARROW}]*(?:[{_CLOSING}]|[ \u00a0\u202f]»)*(?=\s)"
    rf"|(?<=[{_UNSPACED}][!?])[!?]*[{_WIDE_CLOSING}]*(?=[{_UNSPACED}「『（])"
    rf"|(?<=[{_WIDE}])[{_WIDE}!?]*[{_WIDE_CLOSING}]*(?![{_WIDE}{_WIDE_CLOSING}]))"
)
_NEXT = re.compile(r"\s+")
_GOES_ON = ",;:)]}»"  # before these no sentence ends
_STEP = 160


def last_sentence(text: str, low: int, high: int) -> int:
    """The last end of a sentence in ``low + 1 .. high``, or 0. Looked for backwards in growing windows."""
    step, low, upper = _STEP, max(low, 0), high
    while True:
        begin = max(low, high - step)
        for match in reversed(list(_END.finditer(text, begin, upper + 16))):
            end = _end(text, match)
            if begin < end <= high:
                while end < high and text[end] == "\n":  # the blank line belongs to it
                    end += 1
                return end
        if begin == low:
            return 0
        upper = begin
        step *= 4


def _end(text: str, match: re.Match[str]) -> int:
    """Where to cut behind a match of a sentence's end; 0 where it is none (an abbreviation, an initial)."""
    end = match.end()
    first = match.start()
    if text[first] in _WIDE or not text[end : end + 1].isspace():
        return end
    blank = _NEXT.match(text, end, end + 200)
    after = text[blank.end() : blank.end() + 1] if blank else ""
    if after and (after.islower() or after in _GOES_ON):
        return 0
    if text[first] == "." and text[first + 1 : first + 2] != "." and is_abbreviation(text, first):
        return 0
    gap = blank.group() if blank else ""
    newline = gap.find("\n")
    return end + newline + 1 if newline >= 0 else end


def sentence_begins(text: str, low: int, high: int) -> Iterator[int]:
    """Where sentences (with the blank before them) begin in ``low .. high - 1``, forwards."""
    for match in _END.finditer(text, max(low - 4, 0), high):
        end = _end(text, match)
        if low <= end < high and end:
            yield end


_CLAUSES = (("; ", ";\n", "；", "؛", "។", "၊"), (", ", ",\n", "，", "、", "،", "､"))


def last_clause(text: str, low: int, high: int) -> int:
    """The last end of a clause in ``low + 1 .. high``: behind ``;``, else behind ``,``; or 0."""
    for marks in _CLAUSES:
        found = max(text.rfind(mark, max(low, 0), high + len(mark) - 1) for mark in marks)
        if found >= 0:
            return found + 1 + (text[found + 1 : found + 2] == "\n" and found + 2 <= high)
    return 0
