"""Labelled texts, and the judge of where they were cut.

A generator of a kind of text builds a ``Labelled``: it knows where the units are. A cut is *wrong* if it lies inside a
unit that would have fitted into a chunk, or if a span that belongs to what follows is the last of a chunk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Builder", "Labelled", "judge"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, the spans of its units, and those of what belongs to what follows."""

    text: str
    units: tuple[tuple[int, int], ...]
    openings: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Builder:
    """Builds a text part by part; parts may be nested by ``begin`` and ``end``."""

    parts: list[str] = field(default_factory=list)
    units: list[tuple[int, int]] = field(default_factory=list)
    openings: list[tuple[int, int]] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> Builder:
        """Text that may be cut anywhere: between units, mostly blanks."""
        self.parts.append(text)
        self.length += len(text)
        return self

    def unit(self, text: str) -> Builder:
        """Text that must not be torn where it fits."""
        self.units.append((self.length, self.length + len(text)))
        return self.add(text)

    def opening(self, text: str) -> Builder:
        """Text that must not be torn, nor be the last of a chunk: a heading, a separator, a head."""
        self.openings.append((self.length, self.length + len(text)))
        return self.unit(text)

    def begin(self) -> int:
        """Where a unit of several parts begins: give it to :meth:`end`."""
        return self.length

    def end(self, begin: int) -> Builder:
        """Close a unit of several parts."""
        self.units.append((begin, self.length))
        return self

    def done(self) -> Labelled:
        """The labelled text."""
        return Labelled("".join(self.parts), tuple(self.units), tuple(self.openings))


def judge(
    made: Labelled,
    cuts: Sequence[int],
    target: int,
    count: Callable[[str], int],
    *,
    quarter: bool = False,
    leads: bool = False,
) -> tuple[int, ...]:
    """The wrong ones among the cuts. ``quarter``: only units of at most a quarter of the limit count. ``leads``: the
    places are not ends of chunks but begins of overlaps.

    Blanks at both ends of a unit are no part of it.
    """
    found = []
    largest = target // 4 if quarter else target
    for cut in cuts:
        torn = [_bare(made.text, a, b) for a, b in made.units if a < cut < b]
        torn = [(a, b) for a, b in torn if a < cut < b]
        if any(b - a <= 12 * target and count(made.text[a:b]) <= largest for a, b in torn) or (
            not leads and _left_last(made, cut)
        ):
            found.append(cut)
    return tuple(found)


def _bare(text: str, a: int, b: int) -> tuple[int, int]:
    part = text[a:b]
    return a + len(part) - len(part.lstrip()), a + len(part.rstrip())


def _left_last(made: Labelled, cut: int) -> bool:
    """Whether what stands last before the cut belongs to what follows."""
    last = cut - len(made.text[max(0, cut - 2000) : cut]) + len(made.text[max(0, cut - 2000) : cut].rstrip())
    index = bisect_right(made.openings, (last, -1)) - 1
    return index >= 0 and _bare(made.text, *made.openings[index])[1] == last
