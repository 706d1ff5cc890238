"""Boundaries read in advance, for kinds of text that must be read from the beginning."""

from __future__ import annotations

from bisect import bisect_right

from mrengine.chunking.boundaries import Boundary

__all__ = ["Places"]


class Places:
    """Places in characters of the document, with their levels; asked for in characters of the window."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._levels: list[int] = []
        self._wholes: list[int] = []
        self._base = 0

    def move(self, base: int) -> None:
        """The window begins here now: forget what lies before."""
        gone = bisect_right(self._places, base)
        del self._places[:gone], self._levels[:gone], self._wholes[:gone]
        self._base = base

    def add(self, places: list[int], levels: list[int], wholes: list[int]) -> None:
        """More of them, in characters of the document, behind the others."""
        self._places += places
        self._levels += levels
        self._wholes += wholes

    def between(self, low: int, high: int) -> list[Boundary]:
        """Those in ``low + 1 .. high``."""
        base = self._base
        first = bisect_right(self._places, low + base)
        last = bisect_right(self._places, high + base, first)
        return [
            (place - base, level, whole)
            for place, level, whole in zip(
                self._places[first:last], self._levels[first:last], self._wholes[first:last], strict=True
            )
        ]

    def after(self, level: int, low: int, high: int) -> int:
        """The first in ``low + 1 .. high`` with the level or a smaller one; 0 if there is none."""
        first = bisect_right(self._places, low + self._base)
        last = bisect_right(self._places, high + self._base, first)
        for index in range(first, last):
            if self._levels[index] <= level:
                return self._places[index] - self._base
        return 0
