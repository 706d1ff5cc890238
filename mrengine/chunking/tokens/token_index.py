"""A moving window over the document, with the offset at which every token ends, and exact counts in it.

Every block is tokenised once. Summing up token widths gives the character at which each token ends. At a safe cut
(``safe_cuts``) a count is the difference of two indices; elsewhere only the text up to the next safe cut is tokenised
again. A stretch without any safe cut (one letter a million times) is tokenised in parts. These meet at *seams*, and
counts across a seam are made from scratch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

import numpy

from mrengine.chunking.tokens.safe_cuts import SafeCuts
from mrengine.chunking.tokens.tokenizer import Tokenizer, mend

__all__ = ["TokenIndex"]

_AFRESH = 128  # characters; a shorter text is counted faster than looked up
_PART = 1 << 16  # characters; a longer stretch without a safe cut is tokenised in parts
_SEEN_WITH_MORE = 128  # characters; this close to the end, further text may reveal a safe cut
_MOST_SEAMS = 5  # in a chunk; tiktoken fails on runs of about a million blanks
_SLACK = 64  # tokens by which a count may differ from the difference of its indices


class TokenIndex:
    """The window ``text`` and its token ends. Offsets are relative to the window, which begins at ``base``.

    ``near``: how many characters to search for a safe cut before counting from scratch.
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
        self._searched = 0  # characters at its end without a safe cut
        self._measured = 0  # characters of the document that are tokenised
        self._seams: list[int] = []  # in characters of the document
        self._token_ends = numpy.zeros(1, numpy.int64).data  # in characters of the document
        self._enough_until = -1  # a chunk that begins before this needs no more text; in characters of the document
        self._head_of, self._head_is = -1, (0, 0, 0)  # the last result of _head(), in characters of the document
        self._safe_stop = (-1, 0)  # a safe cut, in characters of the document, and its index
        self._bare = (0, 0)  # no safe cut between these; in characters of the document

    # The window ------------------------------------------------------------------------------------------------

    def fill(self, start: int, tokens: int, *, keep: int) -> int:
        """Read until ``tokens`` tokens follow ``start``, or the document ends; drop the text before ``keep``.

        Returns how far the window moved: the old offset x is now x - moved.
        """
        if self.ended or start + self.base <= self._enough_until:
            return 0
        wanted = self._index(start) + tokens + 1
        first = self._index(keep)
        moved: int = self._token_ends[first] - self.base
        texts, token_ends = [self.text[moved:]], [self._token_ends[first:]]
        length = len(self._token_ends)
        while length < wanted and not self.ended:
            text = self._next_segment()
            texts.append(text)
            token_ends.append(self._measure(text))
            length += len(token_ends[-1])
        self.text = "".join(texts)
        self._token_ends = numpy.concatenate(token_ends).data  # a memoryview: single items take half of numpy's time
        self._enough_until = self._token_ends[max(0, len(self._token_ends) - tokens - 1)]
        self._head_of, self._safe_stop, self._bare = -1, (-1, 0), (0, 0)
        self.base += moved
        self._seams = [seam for seam in self._seams if seam > self.base]
        return moved

    def _next_segment(self) -> str:
        """Text up to a safe cut; up to a seam if there is none for long; all of it at the end of the document."""
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
        """The token ends of the next segment."""
        begin = self._measured
        self._measured += len(text)
        try:
            return self.tokenizer.token_ends.of(text) + begin
        except UnicodeEncodeError:
            return _with_pairs(self.tokenizer.token_ends.of(mend(text)), text) + begin

    # Measuring -------------------------------------------------------------------------------------------------

    def _index(self, offset: int) -> int:
        """The number of token ends up to an offset, less one: the number of tokens before it, if a token ends there."""
        return bisect_right(self._token_ends, offset + self.base) - 1

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
        """The first safe cut after ``start``, the tokens up to it, and its index; -1 if none is near."""
        if self._head_of == start + self.base:
            return self._head_is[0] - self.base, *self._head_is[1:]
        if self._safe_stop[0] == start + self.base:  # the previous count ended here: the usual case
            return start, 0, self._safe_stop[1]
        first = self._first_safe_cut(start)
        text = self.text
        head: tuple[int, int, int] = (start, 0, -1)
        if first is not None:
            head = (first, self.tokenizer.count(text[start:first]) if start < first else 0, self._index(first))
        self._head_of, self._head_is = start + self.base, (head[0] + self.base, head[1], head[2])
        return head

    def _first_safe_cut(self, start: int) -> int | None:
        """The first safe cut after ``start``, or None if none is near. Going forward, no place is searched twice."""
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
        """The offset about ``tokens`` tokens after ``start``; exactly so many if ``start`` is a safe cut."""
        _, head, first = self._head(start)
        beyond = first >= 0 and tokens > head  # otherwise no safe cut is near, and token ends give an estimate
        index = first + tokens - head if beyond else self._index(start) + tokens
        inside = index < len(self._token_ends) - 1
        offset: int = self._token_ends[index] - self.base if inside else len(self.text)
        return self._before_last_seam(start, offset) if self._seams else offset

    def fits(self, start: int, stop: int, tokens: int) -> bool:
        """Whether ``text[start:stop]`` has at most so many tokens; counted only if the token ends leave it open."""
        stop = min(stop, len(self.text))
        about = self._index(stop) - self._index(start)
        if abs(about - tokens) > _SLACK:
            return about < tokens
        return self.count(start, stop) <= tokens

    def before(self, stop: int, tokens: int) -> int:
        """The offset about ``tokens`` tokens before ``stop``."""
        edge: int = self._token_ends[max(0, self._index(stop) - tokens)]
        return max(0, edge - self.base)

    def _seam_between(self, start: int, stop: int) -> bool:
        seams = self._seams
        return bisect_right(seams, start + self.base) < bisect_left(seams, stop + self.base)

    def _before_last_seam(self, start: int, stop: int) -> int:
        """Raise where a chunk would have more than a few seams: tiktoken fails on much longer runs of blanks."""
        last = bisect_right(self._seams, start + self.base) + _MOST_SEAMS - 1
        return min(stop, self._seams[last] - self.base) if last < len(self._seams) else stop


def _with_pairs(token_ends: Any, text: str) -> Any:
    """Map token ends of a mended text to the text itself, in which a surrogate pair is two characters."""
    halves = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32) >> 10
    places = numpy.flatnonzero((halves[:-1] == 0xD800 >> 10) & (halves[1:] == 0xDC00 >> 10))
    return token_ends + (places - numpy.arange(len(places))).searchsorted(token_ends)
