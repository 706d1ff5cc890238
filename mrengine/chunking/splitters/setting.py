"""Learns from the first lines of a window how running text is set: wrapped, in lines that are units, in records."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from mrengine.chunking.boundaries import SOFT, WHOLE
from mrengine.chunking.splitters.text_lines import ENDS, begin_alike

__all__ = ["Setting", "is_forced", "learnt"]

_OTHER = frozenset("|#-*+>=~`:<•")  # first marks of rows, headings, items and fences, which are not wrapped
_WIDEST = 200  # characters: no text is wrapped at more


class Setting(NamedTuple):
    """How the lines of a text are set."""

    wrapped: bool = False
    width: int = 0
    whole: int = SOFT  # whether lines are to stay whole in a text that is not wrapped
    blocks: bool = False  # paragraphs are records of a few lines each
    outdented: bool = False  # records begin at the left margin, and their other lines are indented


def learnt(lines: list[str], before: Setting) -> Setting:
    """How lines are set; ``before``: of the window before, which holds where these tell nothing."""
    wrapped, width, whole = before.wrapped, before.width, before.whole
    if len(lines) > 2:
        wrapped, width, whole = _of_lines([line.rstrip() for line in lines], before.width)
    said = [line for line in lines if line.strip()]
    parted = [line for above, line in pairwise(lines) if line.strip() and not above.strip()]
    margin = sum(1 for line in parted if line[0] not in " \t")
    at_margin = sum(1 for line in said if line[0] not in " \t")
    outdented = margin > 1 and margin + 1 >= at_margin and at_margin < 0.35 * len(said)
    outdented |= sum(line.startswith("BEGIN:V") for line in said) > 2  # calendars, address books
    blocks = len(parted) > 2 and 1.8 * len(parted) < len(said) < 15 * len(parted)
    if blocks and wrapped:  # records, if they begin alike: with a time, a number
        blocks = parted[0][0].isdigit() and begin_alike(parted)
        wrapped = not blocks
    return Setting(wrapped, width, whole, blocks, outdented)


def _of_lines(lines: list[str], width: int) -> tuple[bool, int, int]:
    """Whether these lines are wrapped, how wide, and whether they are to stay whole if not; ``width``: as known."""
    pairs = [
        (a, b)
        for a, b in pairwise(lines)
        if len(a) > 25 and b and a.lstrip()[0] not in _OTHER and b.lstrip()[0] not in _OTHER
    ]
    if not pairs:
        return False, width, WHOLE if begin_alike(lines) else SOFT
    lengths = sorted([len(a) for a, _ in pairs])
    width = lengths[len(lengths) * 95 // 100]
    going_on = [b for a, b in pairs if a[-1] not in ENDS and b.lstrip()[:1].islower()]
    if width <= _WIDEST and len(going_on) > 0.4 * len(pairs):
        return True, width, SOFT
    if begin_alike(lines):
        return False, width, WHOLE
    if width > _WIDEST:
        return False, width, SOFT
    forced = sum(1 for a, b in pairs if is_forced(a, b, width))
    ended = sum(1 for a, _ in pairs if a[-1] in ENDS)
    return forced > 0.6 * len(pairs) and ended < 0.8 * len(pairs), width, SOFT


def is_forced(above: str, line: str, width: int) -> bool:
    """Whether the line above had no room for the first word of this line, which is not blank."""
    return len(above) + 1 + len(line.split(None, 1)[0]) > width
