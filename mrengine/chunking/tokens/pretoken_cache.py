"""Caches the tokens of pretokens: the merges of each distinct one are made once, and looked up from then on.

Pretokens of up to eight bytes are keyed by their bytes as one integer, of up to sixteen as two; longer ones are in a
dict. Numpy looks up a whole block at some 30 ns each. New ones are learned together: joined by digits, they are
tokenised as one text. A digit between two pretokens that are no numbers is a pretoken of its own, and does not change
those before it, unless they are blanks: the expressions look ahead for nothing but blanks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from mrengine.chunking.tokens.tokenizer import Tokenizer

__all__ = ["PretokenCache"]

_SLOTS = 16  # bits
_SPREAD = 0x9E3779B97F4A7C15  # Knuth's multiplicative hashing: 2 ** 64 / the golden ratio
_DIGIT = b"7"
_ENTRY = 128  # bytes that a dict takes for an entry, roughly


class PretokenCache:
    """Pretokens → where their tokens end. Grows with each new pretoken; ``stored``: its approximate size in bytes.

    After an interrupt an entry may be missing, but never wrong.
    """

    def __init__(self, tokenizer: Tokenizer, widths: Any) -> None:
        """``widths``: the bytes of each token, by id."""
        self.stored = 0
        self._ranks = tokenizer.encoding._mergeable_ranks
        self._encode = tokenizer.encoding._core_bpe.encode_single_piece
        self._tokens = tokenizer.tokens
        self._widths = widths
        self._is_digit, self._is_blank = (
            numpy.isin(numpy.arange(256), list(some)) for some in (b"0123456789", b" \t\v\f")
        )
        self._masks = numpy.array([(1 << 8 * size) - 1 for size in range(9)], numpy.uint64)
        # By kind of pretoken: where its part of ``_inner`` begins, which ends where that of the next begins. Kind 0 is
        # one token.
        self._first = numpy.zeros(2, numpy.int64)
        self._inner = numpy.zeros(0, numpy.int64)  # where tokens end inside a pretoken, from its beginning
        self._short, self._medium = _Table(), _Table()
        self._long: dict[bytes, int] = {}  # pretoken → kind

    def token_ends(self, data: bytes, starts: Any, sizes: Any) -> Any:
        """Where each token ends in ASCII bytes without NULs, given the begins and sizes of the pretokens."""
        kinds = self._kinds(data, starts, sizes)
        ends = starts + sizes
        several = numpy.flatnonzero(kinds != 0)  # of booleans they are found several times as fast
        if not len(several):
            return ends
        kinds, first = kinds.take(several), self._first
        low = first.take(kinds)
        more = first.take(kinds + 1) - low  # ends of tokens inside a pretoken, without the one at its own end
        counts = numpy.ones(len(ends), numpy.int64)
        counts[several] += more
        token_ends = ends.repeat(counts)
        nth = self._nth(more)
        where = (several + more.cumsum() - more).repeat(more) + nth
        token_ends[where] = starts.take(several).repeat(more) + self._inner.take(low.repeat(more) + nth)
        return token_ends

    def _nth(self, counts: Any) -> Any:
        """0, 1 .. counts[0] - 1, 0, 1 .. counts[1] - 1, and so on."""
        ends = counts.cumsum()
        return numpy.arange(int(ends[-1])) - (ends - counts).repeat(counts)

    def _kinds(self, data: bytes, starts: Any, sizes: Any) -> Any:
        """The kind of each pretoken."""
        eights = numpy.ndarray((len(data) + 8,), "<u8", data + bytes(16), 0, (1,))  # the eight bytes from each on
        low = eights.take(starts)  # it copies them all, and is twice as fast for that
        low &= self._masks.take(sizes, mode="clip")
        kinds = self._short.look(low)
        long = numpy.flatnonzero(sizes > 8)
        kinds[long] = 0
        new = numpy.flatnonzero(kinds < 0)
        if len(new):
            kinds[new] = self._looked_up(self._short, data, starts.take(new), sizes.take(new), low.take(new))
        medium = long[sizes.take(long) <= 16]
        low = low.take(medium)
        high = eights[starts.take(medium) + 8]
        high &= self._masks.take(sizes.take(medium) - 8)
        kinds[medium] = found = self._medium.look(low, high)
        new = numpy.flatnonzero(found < 0)
        if len(new):
            names, medium = (low.take(new), high.take(new)), medium.take(new)
            kinds[medium] = self._looked_up(self._medium, data, starts.take(medium), sizes.take(medium), *names)
        longest = long[sizes.take(long) > 16]
        if len(longest):
            kinds[longest] = self._longest(data, starts.take(longest), sizes.take(longest))
        return kinds

    def _looked_up(self, table: _Table, data: bytes, starts: Any, sizes: Any, low: Any, high: Any = None) -> Any:
        """Add pretokens that the table lacks, and return their kinds."""
        first, which = table.distinct(low, high)
        kinds = self._learnt(data, starts.take(first), sizes.take(first))
        table.store(kinds, low.take(first), None if high is None else high.take(first))
        return kinds.take(which)

    def _longest(self, data: bytes, starts: Any, sizes: Any) -> Any:
        spans = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        pieces = [data[begin:end] for begin, end in spans]
        new = {piece: index for index, piece in enumerate(pieces) if piece not in self._long}
        if new:
            which = list(new.values())
            learnt = self._learnt(data, starts.take(which), sizes.take(which))
            self.stored += int(sizes.take(which).sum()) + _ENTRY * len(new)
            self._long.update(zip(new, learnt.tolist(), strict=True))
        return numpy.fromiter(map(self._long.__getitem__, pieces), numpy.int32, len(pieces))

    def _learnt(self, data: bytes, starts: Any, sizes: Any) -> Any:
        """Tokenise new pretokens, and return their kinds."""
        kinds = numpy.zeros(len(starts), numpy.int32)
        codes = numpy.frombuffer(data, numpy.uint8)
        alone = self._is_digit.take(codes.take(starts)) | self._is_blank.take(codes.take(starts + sizes - 1))
        for index in numpy.flatnonzero(alone).tolist():
            begin = int(starts[index])
            kinds[index] = self._learnt_alone(data[begin : begin + int(sizes[index])])
        joined = numpy.flatnonzero(~alone)
        if len(joined):
            kinds[joined] = self._learnt_joined(codes, starts.take(joined), sizes.take(joined))
        return kinds

    def _learnt_alone(self, piece: bytes) -> int:
        if piece in self._ranks:
            return 0
        widths = self._widths.take(self._encode(piece))
        return int(self._store(numpy.array([len(widths) - 1]), widths.cumsum()[:-1])[0])

    def _learnt_joined(self, codes: Any, starts: Any, sizes: Any) -> Any:
        ends = sizes.cumsum() + numpy.arange(1, len(sizes) + 1)  # in the joined text, which begins with a digit
        begins = ends - sizes
        text = numpy.full(int(ends[-1]) + 1, ord(_DIGIT), numpy.uint8)
        nth = self._nth(sizes)
        text[begins.repeat(sizes) + nth] = codes.take(starts.repeat(sizes) + nth)
        numbers = numpy.frombuffer(self._tokens(text.tobytes().decode("ascii")), numpy.uint32)
        token_ends = self._widths.take(numbers).cumsum(dtype=numpy.int64)
        before = token_ends.searchsorted(begins)
        more = token_ends.searchsorted(ends) - before - 1
        inner = token_ends.take((before + 1).repeat(more) + self._nth(more)) - begins.repeat(more)
        kinds = numpy.zeros(len(starts), numpy.int32)
        several = numpy.flatnonzero(more)
        kinds[several] = self._store(more.take(several), inner)
        self.stored += 16 * len(starts)
        return kinds

    def _store(self, counts: Any, inner: Any) -> Any:
        """Register new kinds, given how many tokens end inside each."""
        kind = len(self._first) - 1
        self.stored += 8 * (len(counts) + len(inner))
        self._inner = numpy.append(self._inner[: self._first[-1]], inner)
        self._first = numpy.append(self._first, self._first[-1] + counts.cumsum())
        return numpy.arange(kind, kind + len(counts))


class _Table:
    """Pretokens, as one or two integers of 64 bits, → kinds; a whole array is looked up at once.

    Two-way hashing: a pretoken has two places, and another may evict it from the second; it is then learned again. The
    first integer is never 0, which marks empty places.
    """

    def __init__(self) -> None:
        self._low, self._high = (numpy.zeros(2 << _SLOTS, numpy.uint64) for _ in range(2))
        self._kinds = numpy.zeros(2 << _SLOTS, numpy.int32)

    def look(self, low: Any, high: Any = None) -> Any:
        """The kinds; -1 where unknown."""
        spread = _spread(low, high)
        places = (spread >> (64 - _SLOTS)).view("i8")
        kinds = self._kinds.take(places)
        other = numpy.flatnonzero(self._others(places, low, high))
        if len(other):
            places = _second(spread.take(other))
            missing = self._others(places, low.take(other), None if high is None else high.take(other))
            kinds[other] = numpy.where(missing, -1, self._kinds.take(places))
        return kinds

    def distinct(self, low: Any, high: Any = None) -> tuple[Any, Any]:
        """Distinct pretokens, by index, and for each of all its distinct one. A few duplicates may remain."""
        places = (_spread(low, high) >> (64 - _SLOTS)).view("i8")
        number = numpy.arange(len(low))
        owner = numpy.empty(1 << _SLOTS, numpy.int64)
        owner[places] = number
        owner = owner.take(places)
        same = low.take(owner) == low
        if high is not None:
            same &= high.take(owner) == high
        owner = numpy.where(same, owner, number)
        mine = owner == number
        return numpy.flatnonzero(mine), (mine.cumsum() - 1).take(owner)

    def store(self, kinds: Any, low: Any, high: Any = None) -> None:
        """Store kinds. Ordered so that an interrupt leaves places empty, never wrong."""
        spread = _spread(low, high)
        places = (spread >> (64 - _SLOTS)).view("i8")
        there = self._low.take(places)
        places = numpy.where((there == 0) | (there == low), places, _second(spread))
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
