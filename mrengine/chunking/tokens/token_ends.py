r"""Finds where every token of a text ends: by pretokens where it is ASCII, by the tokenizer where it is not.

Going around the tokenizer is several times as fast and gives the same result: tests compare them, and so does
:class:`TokenEnds`, on a sample, before it takes that way. A text that is ASCII except for a few words is treated as
two: between a letter or digit and a space or mark token counts always add up (``safe_cuts``, rules 2 and 3), so the
words that are not ASCII are joined and tokenised, as is the rest, and the ends of both are mapped back.
"""

from __future__ import annotations

import threading
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy

from mrengine.chunking.tokens.pretoken_cache import PretokenCache
from mrengine.chunking.tokens.pretokens import Pretokens

if TYPE_CHECKING:
    from mrengine.chunking.tokens.tokenizer import Tokenizer

__all__ = ["TokenEnds"]

_LEAST = 4096  # characters; below, the tokenizer is as fast
_LONGEST = 512  # characters of a pretoken
_MANY = 40  # characters per non-ASCII word, on average; below, taking the text apart does not pay
_MOST_STORED = 4 << 20  # bytes
_MODERN = {"o200k_base": True, "o200k_harmony": True, "cl100k_base": False}  # other encodings have other expressions
_LEFT, _RIGHT = 1, 2  # sides of a cut at which counts add up
_SAMPLE = 20 * (
    "The patient's HbA1c was 7.25% (2026-11-26); I don't own an iPhone\n\n  \n\tstop:\r\n//see http://a.b/c?d=e'll\n"
    "/* x */ getHTTPResponse1234567"
    '{"id":10000042,"tags":["x","yZ"],"note":"escaped \\u00fc"}\n\n- item_one  \n    return self.value[0] != -1;\n'
)


def _side_of(character: str) -> int:
    if character.isalnum():
        return _LEFT
    return _RIGHT if character in " \t" or (character.isprintable() and character != "'") else 0


_SIDES = bytes(_side_of(chr(byte)) if byte < 128 else 0 for byte in range(256))


class TokenEnds:
    """Where each token of a text ends, in characters, as numpy arrays of int64. A surrogate is a UnicodeEncodeError."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._busy = threading.Lock()
        self._widths, self._characters = _sizes(tokenizer.encoding._mergeable_ranks)
        self._pretoken_cache = PretokenCache(tokenizer, self._widths)
        self._pretokens: Pretokens | None = None
        if tokenizer.name in _MODERN:
            self._pretokens = Pretokens(modern=_MODERN[tokenizer.name])
            found = self._ascii(_SAMPLE.encode())
            tokens = map(tokenizer.encoding.decode_single_token_bytes, tokenizer.encoding.encode_ordinary(_SAMPLE))
            if found is None or found.tolist() != list(accumulate(map(len, tokens))):
                self._pretokens = None

    def of(self, text: str) -> Any:
        """Where each token of a text of up to about a million characters ends."""
        data = text.encode()
        found = self._ascii(data) if len(data) == len(text) else self._apart(data, len(text))
        return self._tokenised(text) if found is None else found

    def _tokenised(self, text: str) -> Any:
        return self._summed(text, self._widths if text.isascii() else self._characters)

    def _summed(self, text: str, widths: Any) -> Any:
        numbers = numpy.frombuffer(self._tokenizer.tokens(text), numpy.uint32)
        return widths.take(numbers).cumsum(dtype=numpy.int64)

    def _ascii(self, data: bytes) -> Any:
        """Where the tokens of an ASCII text end; None if it must be tokenised.

        The cache is not shared at the same time: a second thread tokenises instead of waiting, as does a child that was
        forked while the lock was held.
        """
        if not self._pretokens or len(data) < _LEAST or not self._busy.acquire(blocking=False):
            return None
        try:
            begins = None if b"\0" in data else self._pretokens.begins(data)
            if begins is None:
                return None
            starts = numpy.flatnonzero(begins)
            sizes = numpy.diff(starts, append=len(data))
            if int(sizes.max()) > _LONGEST:
                return None
            if self._pretoken_cache.stored > _MOST_STORED:
                self._pretoken_cache = PretokenCache(self._tokenizer, self._widths)
            return self._pretoken_cache.token_ends(data, starts, sizes)
        finally:
            self._busy.release()

    def _apart(self, data: bytes, length: int) -> Any:
        """Where the tokens of a UTF-8 text with a few non-ASCII words end; None where there are many.

        The words lie between ASCII parts; the first and the last of these may be empty.
        """
        high = numpy.frombuffer(data, numpy.uint8) > 0x7F
        most = length // _MANY
        # Decided early: the text is of another script, or would be split into too many words.
        if numpy.count_nonzero(high) > len(data) // 3:
            return None
        other = numpy.flatnonzero(high)  # bytes
        runs = numpy.flatnonzero(numpy.diff(other, prepend=-2) > 1)
        if len(runs) > 2 * most:
            return None
        words = self._words(data, other.take(runs), other.take(numpy.append(runs[1:], len(other)) - 1) + 1)
        if len(words) > 2 * most:
            return None
        bounds = numpy.concatenate(((0,), words, (len(data),)))
        parts = [data[begin:end] for begin, end in pairwise(bounds.tolist())]
        plain = self._ascii(b"".join(parts[::2]))
        if plain is None:
            return None
        rest = self._summed(b"".join(parts[1::2]).decode(), self._widths)
        within = other.compress(numpy.frombuffer(data, numpy.uint8).take(other) & 0xC0 == 0x80)
        return self._put_together(plain, rest, bounds, within)

    def _put_together(self, plain: Any, rest: Any, bounds: Any, within: Any) -> Any:
        """Map ends in the joined ASCII parts and in the joined rest, in bytes, to ends in the text, in characters.

        ``bounds``: of the parts, alternating. ``within``: where the continuation bytes of characters are.
        """
        sizes, begins = numpy.diff(bounds), bounds[:-1]
        plain = _moved(plain, sizes[::2], begins[::2] - within.searchsorted(begins[::2]))
        rest = _moved(rest, sizes[1::2], begins[1::2])
        rest -= within.searchsorted(rest)
        token_ends = numpy.concatenate((plain, rest))
        token_ends.sort(kind="stable")  # which merges two sorted runs
        return token_ends

    def _words(self, data: bytes, begins: Any, ends: Any) -> Any:
        """Where non-ASCII parts, with whatever belongs to them, begin and end, alternating, in bytes."""
        sides = numpy.frombuffer(data.translate(_SIDES), numpy.uint8)
        cuts = numpy.flatnonzero((sides[:-1] == _LEFT) & (sides[1:] == _RIGHT)) + 1
        cuts = numpy.concatenate(((0,), cuts, (len(data),)))
        begins = cuts.take(cuts.searchsorted(begins, "right") - 1)
        ends = cuts.take(cuts.searchsorted(ends))
        first = numpy.flatnonzero(numpy.append(True, begins[1:] > ends[:-1]))
        words = numpy.stack((begins.take(first), ends.take(numpy.append(first[1:], len(ends)) - 1)))
        return words.ravel("F")


def _moved(token_ends: Any, sizes: Any, begins: Any) -> Any:
    """Token ends in joined parts of these sizes, moved to where the parts begin."""
    ends = sizes.cumsum()
    counts = numpy.diff(token_ends.searchsorted(ends, "right"), prepend=0)
    return token_ends + (begins - ends + sizes).repeat(counts)


def _sizes(ranks: dict[bytes, int]) -> tuple[Any, Any]:
    """For each token id, how many bytes the token has and how many characters begin in it."""
    numbers = numpy.fromiter(ranks.values(), numpy.int64, len(ranks))
    sizes = numpy.fromiter(map(len, ranks), numpy.uint8, len(ranks))
    begins = numpy.frombuffer(b"".join(ranks), numpy.uint8) & 0xC0 != 0x80
    ends = sizes.cumsum(dtype=numpy.int64)
    characters = numpy.add.reduceat(begins, ends - sizes, dtype=numpy.uint8)
    widths, counts = numpy.zeros((2, int(numbers.max()) + 1), numpy.uint8)
    widths[numbers], counts[numbers] = sizes, characters
    return widths, counts
