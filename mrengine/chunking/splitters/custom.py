"""Cuts where the user prefers: at a callable's offsets, as long as limit and tiling hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from operator import index
from typing import Any

from mrengine.chunking.boundaries import NO_CONTEXT, Context
from mrengine.chunking.cutter import Cutter, Fits
from mrengine.chunking.splitters.prose import Prose
from mrengine.errors import ChunkingError

__all__ = ["Custom"]


class Custom:
    """The splitter made of a ``callable(text) -> offsets``; it is called once, with the whole document.

    Offsets may come in any order, twice, and from a generator. What the callable raises passes unchanged.
    """

    kind = "custom"

    def __init__(self, target: int, text: str, preferred: Callable[[str], Any]) -> None:
        self._offsets = _checked(preferred(text), len(text))
        self._prose = Cutter(Prose(target), target)
        self._base = 0

    def see(self, text: str, base: int) -> None:
        """Only the place of the window is noted."""
        self._base = base

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """The last preferred offset up to ``high``, however near ``start``; as prose, where there is none."""
        place = bisect_right(self._offsets, high + self._base) - 1
        best = self._offsets[place] - self._base if place >= 0 else 0
        return best if best > start else self._prose.cut(text, start, high, fits)

    def spent(self, share: float) -> None:
        """Its cuts do not depend on it."""

    def context(self, text: str, start: int) -> Context:
        """Nothing is lost."""
        return NO_CONTEXT

    def resume(self, text: str, low: int, start: int) -> int:
        """The first preferred offset at ``low`` or later."""
        place = bisect_left(self._offsets, low + self._base)
        return min(start, self._offsets[place] - self._base) if place < len(self._offsets) else start


WAY = "return offsets, not pieces: positions in the text, as ints, where a chunk may begin"


def _checked(offsets: Any, length: int) -> list[int]:
    if not isinstance(offsets, Iterable) or isinstance(offsets, (str, bytes)):
        raise ChunkingError(f"the splitter returned {_kind_of(offsets)}: {WAY}", splitter="callable")
    return sorted({_offset(value, length) for value in offsets})


def _offset(value: Any, length: int) -> int:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        problem = f"the splitter returned {_kind_of(value)} among its offsets"
        raise ChunkingError(f"{problem}: {WAY}", splitter="callable", length=length)
    offset = index(value)
    if not 0 <= offset <= length:
        problem = f"the splitter returned the offset {offset}, which is outside of the text's 0 to {length}"
        raise ChunkingError(problem, splitter="callable", length=length)
    return offset


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
