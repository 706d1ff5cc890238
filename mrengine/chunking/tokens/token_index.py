"""Owns the measured text: a moving window of the document with the offset of every token edge, and exact counts in it.

Every block is tokenised once. Token widths, summed up, give the character at which each token ends; at a safe cut
(``safecuts``) a count is a subtraction of two indices, elsewhere only the text between the cut and the next safe cut is
tokenised again. A stretch without any safe cut (one letter a million times) is tokenised in parts; where two such parts
meet is a *seam*, and counts across a seam are made afresh.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

import numpy

from mrengine.chunking.tokens.safe_cuts import SafeCuts
from mrengine.chunking.tokens.tokenizer import Tokenizer, mend

__all__ = ["TokenIndex"]

_AFRESH = 128  # characters: so short a text is quicker counted than looked up
_PART = 1 << 16  # characters: so long may a stretch without a safe cut be, before it is tokenised in parts
_SEEN_WITH_MORE = 128  # characters: so near the end of a text a safe cut may show when it goes on
_MOST_SEAMS = 5  # in a chunk; tiktoken gives up on runs of about a million blanks
_SLACK = 64  # tokens: by more than this, no count differs from the difference of its edges


class TokenIndex:
    """The window ``text`` (offsets are relative to it; ``base`` is its place in the document) and its token edges.

    ``near``: how far, in characters, a safe cut is looked for before a count is made afresh.
    """

    def __init__(self, blocks: Iterator[str], tokenizer: Tokenizer, cuts: SafeCuts, *, near: int) -> None:
        self.text = ""
        self.base = 0
        self.ended = False
        self.tokenizer = tokenizer
        self._blocks = blocks
        self._cuts = cuts
        self._near = near
        self._pending = ""
        self._searched = 0  # characters of it that have no safe cut
        self._measured = 0  # characters of the document that have edges
        self._seams: list[int] = []  # in characters of the document
        self._edges = numpy.zeros(1, numpy.int64).data  # in characters of the document
        self._enough_until = -1  # up to here a chunk may begin without more text; in characters of the document
        self._head_of, self._head_is = -1, (0, 0, 0)  # what _head() answered last, in characters of the document
        self._safe_stop = (-1, 0)  # a safe cut, in characters of the document, and its index
        self._bare = (0, 0)  # from here to there no safe cut was found; in characters of the document

    # The window ------------------------------------------------------------------------------------------------

    def fill(self, start: int, tokens: int, *, keep: int) -> int:
        """Read on until ``tokens`` tokens lie behind ``start``, or the document ends; forget what is before ``keep``.

        Returns by how much the window moved: what was offset x is offset x - moved now.
        """
        if self.ended or start + self.base <= self._enough_until:
            return 0
        wanted = self._index(start) + tokens + 1
        first = self._index(keep)
        moved: int = self._edges[first] - self.base
        texts, edges = [self.text[moved:]], [self._edges[first:]]
        length = len(self._edges)
        while length < wanted and not self.ended:
            text = self._next_segment()
            texts.append(text)
            edges.append(self._measure(text))
            length += len(edges[-1])
        self.text = "".join(texts)
        self._edges = numpy.concatenate(edges).data  # one number is looked up in half of numpy's time
        self._enough_until = self._edges[max(0, len(self._edges) - tokens - 1)]
        self._head_of, self._safe_stop, self._bare = -1, (-1, 0), (0, 0)
        self.base += moved
        self._seams = [seam for seam in self._seams if seam > self.base]
        return moved

    def _next_segment(self) -> str:
        """Text up to a safe cut; up to a seam, where there is none for long; all of it at the end of the document."""
        while len(self._pending) <= _PART:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                segment, self._pending = self._pending, ""
                return segment
            self._pending += block
        cut = self._cuts.last(self._pending, max(1, self._searched), len(self._pending))
        if cut is None:
            cut = _PART - ("\ud800" <= self._pending[_PART - 1] < "\udc00")
            self._seams.append(self._measured + cut)
        segment, self._pending = self._pending[:cut], self._pending[cut:]
        self._searched = max(0, len(self._pending) - _SEEN_WITH_MORE)
        return segment

    def _measure(self, text: str) -> Any:
        """The edges of a segment that follows what was measured so far."""
        begin = self._measured
        self._measured += len(text)
        try:
            return self.tokenizer.edges.of(text) + begin
        except UnicodeEncodeError:
            return _with_pairs(self.tokenizer.edges.of(mend(text)), text) + begin

    # Measuring -------------------------------------------------------------------------------------------------

    def _index(self, offset: int) -> int:
        """How many edges lie before or at an offset, less one: the number of tokens before it, if it is an edge."""
        return bisect_right(self._edges, offset + self.base) - 1

    def count(self, start: int, stop: int) -> int:
        """Tokens of ``text[start:stop]``, exactly as a tokenizer counts that text alone."""
        if stop - start > _AFRESH and not (self._seams and self._seam_between(start, stop)):
            low, tokens, first = self._head(start)
            if first >= 0:
                at_end = self.ended and stop == len(self.text)
                high = stop if at_end else self._cuts.last(self.text, max(low, stop - self._near), stop)
                if high is not None:
                    last = self._index(high)
                    tokens += last - first
                    if high < stop:
                        return tokens + self.tokenizer.count(self.text[high:stop])
                    self._safe_stop = (stop + self.base, last)
                    return tokens
        return self.tokenizer.count(self.text[start:stop])

    def _head(self, start: int) -> tuple[int, int, int]:
        """The first safe cut behind ``start``, the tokens up to it, and its index; an index of -1 if none is near."""
        if self._head_of == start + self.base:
            return self._head_is[0] - self.base, *self._head_is[1:]
        if self._safe_stop[0] == start + self.base:  # here ended what was counted before: the usual case
            return start, 0, self._safe_stop[1]
        first = self._first_safe_cut(start)
        text = self.text
        head: tuple[int, int, int] = (start, 0, -1)
        if first is not None:
            head = (first, self.tokenizer.count(text[start:first]) if start < first else 0, self._index(first))
        self._head_of, self._head_is = start + self.base, (head[0] + self.base, head[1], head[2])
        return head

    def _first_safe_cut(self, start: int) -> int | None:
        """The first safe cut behind ``start``, or None if none is near. Going forward, no place is seen twice."""
        base, (bare, until) = self.base, self._bare
        if start + base == 0:
            return start
        known = bare <= start + base < until
        low, high = until - base if known else start, min(start + self._near, len(self.text))
        first = self._cuts.first(self.text, low, high) if low <= high else None
        if first is None:
            self._bare = (bare if known else start + base, high + 1 + base)
        return first

    def reach(self, start: int, tokens: int) -> int:
        """The offset up to which about ``tokens`` tokens lie behind ``start``: exactly so many, if it is a safe cut."""
        _, head, first = self._head(start)
        beyond = first >= 0 and tokens > head  # otherwise no safe cut is near: the edges tell about how far it is
        index = first + tokens - head if beyond else self._index(start) + tokens
        inside = index < len(self._edges) - 1
        offset: int = self._edges[index] - self.base if inside else len(self.text)
        return self._before_last_seam(start, offset) if self._seams else offset

    def fits(self, start: int, stop: int, tokens: int) -> bool:
        """Whether ``text[start:stop]`` has at most so many tokens; counted only where the edges leave it open."""
        stop = min(stop, len(self.text))
        about = self._index(stop) - self._index(start)
        if abs(about - tokens) > _SLACK:
            return about < tokens
        return self.count(start, stop) <= tokens

    def before(self, stop: int, tokens: int) -> int:
        """The offset from which about ``tokens`` tokens lie before ``stop``."""
        edge: int = self._edges[max(0, self._index(stop) - tokens)]
        return max(0, edge - self.base)

    def _seam_between(self, start: int, stop: int) -> bool:
        seams = self._seams
        return bisect_right(seams, start + self.base) < bisect_left(seams, stop + self.base)

    def _before_last_seam(self, start: int, stop: int) -> int:
        """No chunk has more than a few seams: tiktoken could not take a run of blanks that is much longer."""
        last = bisect_right(self._seams, start + self.base) + _MOST_SEAMS - 1
        return min(stop, self._seams[last] - self.base) if last < len(self._seams) else stop


def _with_pairs(edges: Any, text: str) -> Any:
    """Edges of a mended text → edges of the text itself, in which a surrogate pair is two characters."""
    halves = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32) >> 10
    places = numpy.flatnonzero((halves[:-1] == 0xD800 >> 10) & (halves[1:] == 0xDC00 >> 10))
    return edges + (places - numpy.arange(len(places))).searchsorted(edges)
