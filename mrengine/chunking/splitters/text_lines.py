"""Judges single lines of running text: whether one ends a sentence, has cells, hangs below another, or is repeated."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.abbreviations import is_abbreviation

__all__ = ["ENDS", "PAGE_ENDS", "begin_alike", "hangs", "has_cells", "has_ended", "is_furniture", "running_heads"]

ENDS = frozenset(".!?:;…。！？：；।॥។။؟۔\"'”’»)」』*_|>")
PAGE_ENDS = frozenset("]-–—")  # last marks of a page number, beside digits
_DIGITS = re.compile(r"\d+")
# A form feed, or a page number: "- 12 -", "Page 3 of 7".
_FURNITURE = re.compile(
    r"\f|\s*(?:(?:page|seite|página|pagina|стр\.?|p\.?)\s*)?[-–—\[]?\s*\d+\s*(?:(?:of|/|von|de|di|sur|из)\s*\d+\s*)?[-–—\]]?\s*$",
    re.IGNORECASE,
)
_GAP = re.compile(r"[^\s.!?:;,]\s{2,}\S")  # two blanks behind the end of a sentence make no cell
_BEGINS = re.compile(r"\s*(?:[\[(<#*|\"']*)([^\W\d_]+|\d+)?([^\w\s，。、！？]+|\s)")
_WORDY = re.compile(rf"\n{INDENT}[^\W\d_]+ ")  # a word and a blank: the begin of most lines of running text


def hangs(line: str, above: str) -> bool:
    """Whether a line is indented deeper than the one above it."""
    # It then describes what the line above names, as an option in a manual page, and belongs to it.
    return line[0] in " \t" and len(line) - len(line.lstrip()) > len(above) - len(above.lstrip()) + 1


def has_ended(above: str) -> bool:
    """Whether a line ends a sentence, judged by its last mark; an empty line does."""
    if not above:
        return True
    return above[-1] in ENDS and not (above[-1] == "." and is_abbreviation(above, len(above) - 1))


def has_cells(line: str) -> bool:
    """Whether a line is divided by tabs, bars or wide gaps."""
    body = line.strip()
    return "\t" in body or " | " in body or ("  " in body and _GAP.search(body) is not None)


def is_furniture(line: str, heads: frozenset[str], ends: frozenset[str]) -> bool:
    """Whether a line is a page number or one of the running heads; the last mark of most says that they are none.

    ``ends``: the last marks of the heads.
    """
    body = line.strip()
    last = body[-1]
    if (last.isdigit() or last in PAGE_ENDS or line[0] == "\f") and _FURNITURE.match(line):
        return True
    if not heads or ("0" if last.isdecimal() else last) not in ends:
        return False
    return _DIGITS.sub("0", body) in heads


def running_heads(lines: list[str]) -> frozenset[str]:
    """Short lines that are repeated, with 0 in place of their numbers: page heads and feet."""
    short = Counter(_DIGITS.sub("0", line.strip()) for line in lines if 3 < len(line) < 60)
    heads = {line for line, count in short.items() if count > 2 and line and line[-1] not in ".;:,"}
    if heads:  # a repeated line with a description indented below it is a name, and no running head
        heads -= {
            _DIGITS.sub("0", line.strip())
            for line, below in pairwise(lines)
            if 3 < len(line) < 60 and below[:1] in (" ", "\t") and hangs(below, line)
        }
    return frozenset(heads)


def begin_alike(lines: list[str]) -> bool:
    """Whether most lines begin with the same pattern: a time, a name and a colon, a number and a bar."""
    # Lines of running text begin alike, too: with a word and a blank. Such a shape tells nothing.
    said = [line for line in lines if line]
    if len(said) < 4 or len(_WORDY.findall("\n".join(("", *said)))) > 0.4 * len(said):
        return False
    shape, most = Counter(map(_shape, said)).most_common(1)[0]
    return most > 0.6 * len(said) and shape not in ("", "a ", "A ")


def _shape(line: str) -> str:
    # What a line begins with: marks, "0", "A" or "a" for a number or word, and the mark or blank behind it.
    match = _BEGINS.match(line)
    if not match:
        return ""
    word = match.group(1) or ""
    kind = "0" if word.isdigit() else "A" if word[:1].isupper() else "a" if word else ""
    return line[: match.start(1)].strip() + kind + match.group(2)[:1] if word else match.group()[:4]
