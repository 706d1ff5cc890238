"""Owns what pretokens are made of: the merges of each distinct one are done once, and then looked up, all at once.

Those of up to eight bytes are known by their bytes as one number, of up to sixteen as two; longer ones stand in a dict.
Numpy finds a whole block's numbers in tables at some 30 ns each.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["Merges"]

_SLOTS = 17  # bits
_SPREAD = 0x9E3779B97F4A7C15  # Knuth's multiplicative hashing: 2 ** 64 / the golden ratio


class Merges:
    """Pretokens → the edges of their tokens. It grows with each new one: ``stored`` says, in bytes, about how far.

    An interrupt leaves it without an entry, never with a wrong one.
    """

    def __init__(self, encoding: Encoding) -> None:
        import numpy

        self.stored = 0
        self._np = numpy
        self._ranks = encoding._mergeable_ranks
        self._encode = encoding._core_bpe.encode_single_piece
        self._decode = encoding._core_bpe.decode_single_token_bytes
        self._masks = numpy.array([(1 << 8 * size) - 1 for size in range(9)], numpy.uint64)
        self._known: dict[bytes, int] = {}  # pretoken → kind; kind 0 is one token
        # By kind: where its part of ``_inner`` begins, which ends where that of the next begins.
        self._first = numpy.zeros(2, numpy.int64)
        self._inner = numpy.zeros(0, numpy.int64)  # where its tokens end inside of it, counted from its beginning
        self._short, self._medium = _Table(), _Table()

    def edges(self, data: bytes, starts: Any, sizes: Any) -> Any:
        """Where each token of ASCII bytes without NULs ends, given where its pretokens begin and their sizes."""
        numpy = self._np
        kinds = self._kinds(data, starts, sizes)
        ends = starts + sizes
        several = numpy.flatnonzero(kinds)
        if not len(several):
            return ends
        kinds, first = kinds.take(several), self._first
        low = first.take(kinds)
        more = first.take(kinds + 1) - low  # edges inside of a pretoken, beside the one at its end
        places = numpy.ones(len(ends), numpy.int64)
        places[several] += more
        places = places.cumsum() - 1
        edges = numpy.empty(int(places[-1]) + 1, numpy.int64)
        edges[places] = ends
        nth = numpy.arange(int(more.sum())) - (more.cumsum() - more).repeat(more)
        where = (places.take(several) - more).repeat(more) + nth
        edges[where] = starts.take(several).repeat(more) + self._inner.take(low.repeat(more) + nth)
        return edges

    def _kinds(self, data: bytes, starts: Any, sizes: Any) -> Any:
        """The kind of each pretoken."""
        numpy = self._np
        eights = numpy.ndarray((len(data) + 8,), "<u8", data + bytes(16), 0, (1,))  # the eight bytes from each on
        low = eights.take(starts)
        low &= self._masks.take(numpy.minimum(sizes, 8))
        kinds = self._short.look(low)
        long = numpy.flatnonzero(sizes > 8)
        kinds[long] = 0
        new = numpy.flatnonzero(kinds < 0)
        if len(new):
            distinct, first, which = numpy.unique(low.take(new), return_index=True, return_inverse=True)
            learnt = self._learnt(data, starts, sizes, new.take(first))
            kinds[new] = learnt.take(which)
            self._short.store(learnt, distinct)
        medium = long[sizes.take(long) <= 16]
        low = low.take(medium)
        high = eights.take(starts.take(medium) + 8)
        high &= self._masks.take(sizes.take(medium) - 8)
        kinds[medium] = found = self._medium.look(low, high)
        new = numpy.flatnonzero(found < 0)
        if len(new):
            kinds[medium.take(new)] = learnt = self._learnt(data, starts, sizes, medium.take(new))
            self._medium.store(learnt, low.take(new), high.take(new))
        longest = long[sizes.take(long) > 16]
        kinds[longest] = self._learnt(data, starts, sizes, longest)
        return kinds

    def _learnt(self, data: bytes, starts: Any, sizes: Any, which: Any) -> Any:
        """The kinds of some of the pretokens, which may be new."""
        begins = starts.take(which)
        spans = zip(begins.tolist(), (begins + sizes.take(which)).tolist(), strict=True)
        pieces = [data[begin:end] for begin, end in spans]
        new = set(pieces).difference(self._known)
        if new:
            self._learn(new)
        return self._np.fromiter(map(self._known.__getitem__, pieces), self._np.int32, len(pieces))

    def _learn(self, new: set[bytes]) -> None:
        numpy = self._np
        several = new.difference(self._ranks)
        tokens = list(map(self._encode, several))
        count = numpy.fromiter(map(len, tokens), numpy.int64, len(tokens))
        widths = map(len, map(self._decode, chain.from_iterable(tokens)))
        ends = numpy.append(0, numpy.fromiter(widths, numpy.int64, int(count.sum())).cumsum())
        last = count.cumsum()  # of each pretoken's ends; before it stands the last of the one before
        inner = numpy.delete(ends[1:] - ends.take(last - count).repeat(count), last - 1)
        kind = len(self._first) - 1
        self.stored += sum(map(len, new)) + 64 * len(new) + 8 * len(inner)
        self._inner = numpy.append(self._inner[: self._first[-1]], inner)
        self._first = numpy.append(self._first, self._first[-1] + (count - 1).cumsum())
        self._known.update(zip(several, range(kind, kind + len(several)), strict=True))
        self._known.update(dict.fromkeys(new - several, 0))


class _Table:
    """Pretokens, as one number of 64 bits or two, → kinds; many are looked up at once.

    A pretoken has two places, and may be pushed out of the second by another: it is then unknown again. The first
    number is never 0, which stands in empty places.
    """

    def __init__(self) -> None:
        import numpy

        self._np = numpy
        self._low, self._high = (numpy.zeros(2 << _SLOTS, numpy.uint64) for _ in range(2))
        self._kinds = numpy.zeros(2 << _SLOTS, numpy.int32)

    def look(self, low: Any, high: Any = None) -> Any:
        """The kinds, -1 where one is not known."""
        spread = _spread(low, high)
        places = (spread >> (64 - _SLOTS)).view("i8")
        kinds = self._kinds.take(places)
        other = self._np.flatnonzero(self._others(places, low, high))
        if len(other):
            places = _second(spread.take(other))
            missing = self._others(places, low.take(other), None if high is None else high.take(other))
            kinds[other] = self._np.where(missing, -1, self._kinds.take(places))
        return kinds

    def store(self, kinds: Any, low: Any, high: Any = None) -> None:
        """Remember. If this is interrupted, places are empty, never wrong."""
        spread = _spread(low, high)
        places = (spread >> (64 - _SLOTS)).view("i8")
        there = self._low.take(places)
        places = self._np.where((there == 0) | (there == low), places, _second(spread))
        self._low[places] = 0
        self._kinds[places] = kinds
        if high is not None:
            self._high[places] = high
        self._low[places] = low

    def _others(self, places: Any, low: Any, high: Any) -> Any:
        others = self._low.take(places) != low
        if high is not None:
            others |= self._high.take(places) != high
        return others


def _spread(low: Any, high: Any) -> Any:
    return (low if high is None else low * _SPREAD ^ high) * _SPREAD


def _second(spread: Any) -> Any:
    return ((spread >> 24) & ((1 << _SLOTS) - 1)).view("i8") + (1 << _SLOTS)
