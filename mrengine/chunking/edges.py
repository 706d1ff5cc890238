r"""Owns finding the edges of all tokens of a text: by pretokens where it is ASCII, by the tokenizer where it is not.

The way round the tokenizer is several times as fast, and its edges are the tokenizer's own: tests compare them, and so
does :class:`Edges`, on a sample, before it goes that way. A text that is ASCII but for a few words is two: between a
letter or digit and a space or mark token counts add up, whichever they are (``safecuts``, rules 2 and 3), so the words
that are not ASCII are joined and tokenised; so is the rest; and the edges of both are put back to where they belong.
"""

from __future__ import annotations

import re
import threading
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from mrengine.chunking.merges import Merges
from mrengine.chunking.pretokens import Pretokens
from mrengine.chunking.safecuts import LETTERS, MARKS

if TYPE_CHECKING:
    from mrengine.chunking.tokens import Tokenizer

__all__ = ["Edges"]

_LEAST = 4096  # characters: below, the tokenizer is as fast
_LONGEST = 512  # characters of a pretoken
_MANY = 40  # characters: where on average so many have a word that is not ASCII, taking the text apart does not pay
_MOST_STORED = 4 << 20  # bytes
_MODERN = {"o200k_base": True, "o200k_harmony": True, "cl100k_base": False}  # the others have another expression
_LEFT, _RIGHT = 1, 2  # sides of a cut at which counts add up
_SAMPLE = 20 * (
    "The patient's HbA1c was 7.25% (2026-11-26); I don't own an iPhone\n\n  \n\tstop:\r\n//see http://a.b/c?d=e'll\n"
    "/* x */ getHTTPResponse1234567"
    '{"id":10000042,"tags":["x","yZ"],"note":"escaped \\u00fc"}\n\n- item_one  \n    return self.value[0] != -1;\n'
)


class Edges:
    """Where each token of a text ends, in characters, as numpy arrays of int64. A surrogate is a UnicodeEncodeError."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        import numpy

        self._np = numpy
        self._tokenizer = tokenizer
        self._busy = threading.Lock()
        self._merges = Merges(tokenizer.encoding)
        self._pretokens: Pretokens | None = None
        if tokenizer.name in _MODERN:
            self._pretokens = Pretokens(modern=_MODERN[tokenizer.name])
            found = self._ascii(_SAMPLE)
            tokens = map(tokenizer.encoding.decode_single_token_bytes, tokenizer.encoding.encode_ordinary(_SAMPLE))
            if found is None or found.tolist() != list(accumulate(map(len, tokens))):
                self._pretokens = None

    def of(self, text: str) -> Any:
        """The edges of a text of at most about a million characters."""
        found = self._ascii(text) if text.isascii() else self._apart(text)
        return self._tokenised(text) if found is None else found

    @cached_property
    def _sides(self) -> Any:
        """By code point: whether it may be left or right of a cut at which counts add up."""
        numpy = self._np
        sides = numpy.zeros(1 << 16, numpy.uint8)
        points = numpy.arange(1 << 16, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
        for sort, side in ((LETTERS, _LEFT), (MARKS, _RIGHT)):
            for run in re.finditer(sort + "+", points):
                sides[run.start() : run.end()] = side
        return sides

    def _tokenised(self, text: str) -> Any:
        numpy = self._np
        numbers = numpy.frombuffer(self._tokenizer.tokens(text), numpy.uint32)
        widths = numpy.frombuffer(self._tokenizer.widths(text.isascii()), numpy.uint8)
        return widths.take(numbers).cumsum(dtype=numpy.int64)

    def _ascii(self, text: str) -> Any:
        """The edges of an ASCII text; None if it must be tokenised.

        Threads do not wait for each other: the second tokenises. So does the child of a fork at such a moment.
        """
        if not self._pretokens or len(text) < _LEAST or not self._busy.acquire(blocking=False):
            return None
        try:
            data = text.encode("ascii")
            begins = None if b"\0" in data else self._pretokens.begins(data)
            if begins is None:
                return None
            starts = self._np.flatnonzero(begins)
            sizes = self._np.diff(starts, append=len(data))
            if int(sizes.max()) > _LONGEST:
                return None
            if self._merges.stored > _MOST_STORED:
                self._merges = Merges(self._tokenizer.encoding)
            return self._merges.edges(data, starts, sizes)
        finally:
            self._busy.release()

    def _apart(self, text: str) -> Any:
        """The edges of a text with a few words that are not ASCII; None where they are many."""
        numpy = self._np
        points = numpy.frombuffer(text.encode("utf-32-le"), numpy.uint32)
        other = points > 0x7F
        most = len(text) // _MANY
        # Soon seen: the text is of another script, or it would be taken apart into too many words.
        if int(other.sum()) > len(text) // 2 or int((other[1:] & ~other[:-1]).sum()) > 2 * most:
            return None
        sides = self._sides.take(numpy.minimum(points, len(self._sides) - 1))
        cuts = numpy.flatnonzero((sides[:-1] == _LEFT) & (sides[1:] == _RIGHT)) + 1
        bounds = numpy.concatenate(((0,), cuts, (len(text),)))
        so_far = numpy.append(0, other.cumsum(dtype=numpy.int32)).take(bounds)
        # The parts, ASCII ones and others by turns; the first and the last are ASCII and may be empty.
        turns = numpy.flatnonzero(numpy.diff(numpy.diff(so_far) > 0, prepend=False, append=False))
        if len(turns) > 2 * most:
            return None
        begins = numpy.concatenate(((0,), bounds.take(turns), (len(text),)))
        parts = [text[begin:end] for begin, end in pairwise(begins.tolist())]
        plain = self._ascii("".join(parts[::2]))
        if plain is None:
            return None
        rest = self._tokenised("".join(parts[1::2]))
        sizes = numpy.diff(begins)
        moved = (_moved(plain, sizes[::2], begins[:-1:2]), _moved(rest, sizes[1::2], begins[1:-1:2]))
        edges = numpy.concatenate(moved)
        edges.sort(kind="stable")
        return edges


def _moved(edges: Any, sizes: Any, begins: Any) -> Any:
    """Edges in joined parts → edges in the text in which these begin at ``begins``."""
    ends = sizes.cumsum()
    return edges + (begins - ends + sizes).take(ends.searchsorted(edges))
