"""Cuts a document by a guide: untouched chunks stay as they were, and edited text is fitted between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mrengine.chunking.detect import Splitter
    from mrengine.chunking.guide import Guide
    from mrengine.chunking.tokens.token_index import TokenIndex

__all__ = ["Guided"]

Cut = tuple[int, int, int]  # where a chunk begins with its overlap, where it ends, its tokens

FULL = 0.7  # of what would fit: a chunk that ends at an earlier cut has so much at least
HALF = 0.5  # or so much, where two chunks share what lies before one


class _Free(Protocol):
    def next(self, ruler: TokenIndex, splitter: Splitter, lead: int, start: int, target: int) -> Cut: ...


class Guided:
    """Cuts one document. Limits hold as ever: whatever does not fit is cut freely."""

    def __init__(self, free: _Free, guide: Guide) -> None:
        self._free, self._guide = free, guide
        self._planned = -1  # where the next chunk is to end, in characters of the document

    def next(self, ruler: TokenIndex, splitter: Splitter, at: tuple[int, int, int], room: int) -> Cut:
        """The next chunk. ``at``: where the chunk before begins, where the overlap would, and the start."""
        previous, lead, start = at
        base = ruler.base
        kept = self._guide.kept.get(base + start)
        if kept is not None:
            end, first = kept[0] - base, start - kept[1]
            if first > previous or first == start:
                cut = self._fitting(ruler, first, end, room)
                if cut is not None:
                    return cut
            cut = self._fitting(ruler, lead, end, room)
            if cut is not None:
                return cut
        planned, self._planned = self._planned - base, -1
        if planned > start and (cut := self._fitting(ruler, lead, planned, room)) is not None:
            return cut
        return self._between(ruler, splitter, lead, start, room)

    def _between(self, ruler: TokenIndex, splitter: Splitter, lead: int, start: int, room: int) -> Cut:
        """A chunk of what was touched: up to an earlier cut if it is full enough then; else, where a cut is near behind
        it, such that the next one reaches that.
        """
        free = self._free.next(ruler, splitter, lead, start, room)
        base, high = ruler.base, ruler.reach(free[0], room)
        for place in reversed(self._guide.between(base + start, base + max(high, free[1]))):
            if place - base - start < FULL * (free[1] - start):
                break
            cut = self._fitting(ruler, free[0], place - base, room)
            if cut is not None:
                return cut
        behind = self._guide.behind(base + max(high, free[1]))
        if behind is None or behind - base > len(ruler.text):
            return free
        end = behind - base
        if ruler.fits(free[1], end, room) and end - free[1] >= HALF * (free[1] - start):
            self._planned = behind
            return free
        return self._shared(ruler, splitter, free, start, end) or free

    def _shared(self, ruler: TokenIndex, splitter: Splitter, free: Cut, start: int, end: int) -> Cut | None:
        """The first of two chunks that share ``start:end``; None: it takes more than two."""
        total = ruler.count(start, end)
        limit = free[2] - ruler.count(start, free[1]) + int(total * (HALF + 0.05))
        if limit >= free[2]:
            return None
        first = self._free.next(ruler, splitter, free[0], start, limit)
        if first[1] <= start or not ruler.fits(first[1], end, free[2] - 1):
            return None
        self._planned = end + ruler.base
        return first

    def _fitting(self, ruler: TokenIndex, lead: int, end: int, room: int) -> Cut | None:
        if not 0 <= lead < end <= len(ruler.text):
            return None
        count = ruler.count(lead, end)
        return (lead, end, count) if count <= room else None
