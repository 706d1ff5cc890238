"""Judges single lines of running text: whether one ends a sentence, has cells, hangs below another, or is repeated."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from mrengine.chunking.boundaries import INDENT
from mrengine.chunking.splitters.abbreviations import is_abbreviation

__all__ = ["DIGITS", "ENDS", "PAGE_ENDS", "begin_alike", "hangs", "has_cells", "has_ended", "running_heads"]

ENDS = frozenset(".!?:;…。！？：；।॥។။؟۔\"'”’»)」』*_|>")
PAGE_ENDS = frozenset("]-–—")  # last marks of a page number, beside digits
DIGITS = re.compile(r"\d+")
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


def running_heads(lines: list[str]) -> frozenset[str]:
    """Short lines that are repeated, with 0 in place of their numbers: page heads and feet."""
    short = Counter(DIGITS.sub("0", line.strip()) for line in lines if 3 < len(line) < 60)
    heads = {line for line, count in short.items() if count > 2 and line and line[-1] not in ".;:,"}
    if heads:  # a repeated line with a description indented below it is a name, and no running head
        heads -= {
            DIGITS.sub("0", line.strip())
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
