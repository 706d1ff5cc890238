"""The cuts of an earlier version of a document, as far as its text still has them: a guide for cutting it again.

Where a text is cut hangs on all that stands before, so after an edit every cut may move, and every chunk be another.
With a guide the chunks whose text is still there are cut as they were, and what an edit has touched is fitted between
them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

__all__ = ["Guide", "OldChunk", "guide"]

WINDOW = 64  # bytes before and behind a cut by which it is found again; a power of two
BLOCK = 1 << 21  # bytes of the new text that are looked at at once
MOST_PLACES = 8  # of the same window: more say nothing
_PRIME = 0x9E3779B97F4A7C15


class OldChunk(NamedTuple):
    """A chunk of the earlier version. Bytes of its document: ``first`` (of its overlap), ``own`` (without it), ``end``;
    ``digest``: blake2b of ``first:end``.
    """

    first: int
    own: int
    end: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Guide:
    """Offsets in characters of the document. ``kept``: where a chunk begins that is there as it was: its end and its
    overlap. ``cuts``: all places that were cut, sorted.
    """

    kept: dict[int, tuple[int, int]] = field(default_factory=dict)
    cuts: Sequence[int] = ()

    def between(self, low: int, high: int) -> Sequence[int]:
        """The cuts in ``low + 1 .. high``."""
        return self.cuts[bisect_right(self.cuts, low) : bisect_right(self.cuts, high)]

    def behind(self, offset: int) -> int | None:
        """The first cut behind an offset."""
        at = bisect_right(self.cuts, offset)
        return self.cuts[at] if at < len(self.cuts) else None


def guide(old: Any, new: Any, chunks: Sequence[OldChunk]) -> Guide:
    """Find the chunks of ``old`` in ``new``, bytes of UTF-8 both, in whatever order they stand there now."""
    finder = _Finder(old, new)
    for chunk in chunks:
        if not finder.keep(chunk, chunk.own):
            break
    for chunk in reversed(chunks):
        if not finder.keep(chunk, chunk.own + len(new) - len(old)):
            break
    for place, found in _places(old, new, chunks):
        finder.cuts.add(place)
        for chunk in found:
            if chunk.own + WINDOW <= len(old) and finder.keep(chunk, place):
                break
    return _in_characters(finder, new)


class _Finder:
    """What was found so far, in bytes of the new text."""

    def __init__(self, old: Any, new: Any) -> None:
        self._old, self._new = old, new
        self.kept: dict[
            int, tuple[int, int]
        ] = {}  # where a chunk's own text begins: its end, and where its overlap does
        self.cuts: set[int] = set()

    def keep(self, chunk: OldChunk, place: int) -> bool:
        """Note a chunk whose own text begins there, if it does."""
        first, end = place - (chunk.own - chunk.first), place + chunk.end - chunk.own
        if place in self.kept:
            return True
        if first < 0 or end > len(self._new):
            return False
        if blake2b(self._new[first:end], digest_size=16).digest() != chunk.digest:
            return False
        self.kept[place] = end, first
        self.cuts |= {place, end}
        return True


def _places(old: Any, new: Any, chunks: Sequence[OldChunk]) -> Iterable[tuple[int, list[OldChunk]]]:
    """Where the text around a cut stands in the new text, and the chunks that may begin there."""
    import numpy

    windows: dict[bytes, list[tuple[int, OldChunk | None]]] = {}  # how far behind it the cut is
    for chunk in chunks:
        for at, begins in ((chunk.own, chunk), (chunk.end, None)):
            if at + WINDOW <= len(old):
                windows.setdefault(bytes(old[at : at + WINDOW]), []).append((0, begins))
            if at >= WINDOW:
                windows.setdefault(bytes(old[at - WINDOW : at]), []).append((WINDOW, begins))
    if not windows or len(new) < WINDOW:
        return
    hashes = numpy.sort(numpy.array([_hash(window) for window in windows], numpy.uint64))
    times: dict[bytes, int] = {}
    for base in range(0, len(new) - WINDOW + 1, BLOCK):
        piece = numpy.frombuffer(new[base : base + BLOCK + WINDOW - 1], numpy.uint8)
        rolled = _rolled(piece.astype(numpy.uint64))
        at = numpy.searchsorted(hashes, rolled)
        hits = numpy.flatnonzero(hashes[numpy.minimum(at, len(hashes) - 1)] == rolled)
        for hit in hits.tolist():
            window = bytes(new[base + hit : base + hit + WINDOW])
            times[window] = times.get(window, 0) + 1
            if window in windows and times[window] <= MOST_PLACES:
                for behind in (0, WINDOW):
                    found = [chunk for far, chunk in windows[window] if far == behind]
                    if found:
                        yield base + hit + behind, [chunk for chunk in found if chunk is not None][:MOST_PLACES]


def _rolled(values: Any) -> Any:
    """The hash of the window that begins at each place, by doubling."""
    import numpy

    width, factor = 1, _PRIME
    while width < WINDOW:
        values = values[:-width] + numpy.uint64(factor) * values[width:]
        width, factor = 2 * width, factor * factor % (1 << 64)
    return values


def _hash(window: bytes) -> int:
    total, factor = 0, 1
    for value in window:
        total += value * factor
        factor = factor * _PRIME % (1 << 64)
    return total % (1 << 64)


def _in_characters(finder: _Finder, new: Any) -> Guide:
    import numpy

    wanted = sorted(finder.cuts | {first for _, first in finder.kept.values()})
    characters: dict[int, int] = {}
    done = at = 0
    for base in range(0, len(new) + 1, BLOCK):
        piece = numpy.frombuffer(new[base : base + BLOCK], numpy.uint8)
        starts = numpy.concatenate(([0], numpy.cumsum((piece & 0xC0) != 0x80)))
        upto = bisect_left(wanted, base + len(piece) + (base + len(piece) == len(new)), at)
        for place in wanted[at:upto]:
            characters[place] = done + int(starts[place - base])
        at, done = upto, done + int(starts[-1])
    kept = {
        characters[place]: (characters[end], characters[place] - characters[first])
        for place, (end, first) in finder.kept.items()
    }
    return Guide(kept, sorted(characters[place] for place in finder.cuts))
