"""Chooses the cut among the boundaries of a text, the same way for every kind.

The units that a cut at the limit would tear lie one inside the other. Seen from the limit backwards they are the
boundaries whose level is less than that of all behind them, from the innermost to the outermost. The cut comes before
the outermost one that is worth it: any that begins near the limit; farther back, up to half of the chunk, one that is
to stay whole and would fit. What the chunks lost so far stands in an account, which keeps the mean fill where it was
promised. Where no boundary is near, sentences, clauses and words are looked for.

Whatever the cut is, what ends there must not belong to what follows: a heading, an introduction, a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mrengine.chunking.account import Account
from mrengine.chunking.boundaries import ALWAYS, PARAGRAPH, SOFT, WHOLE, Boundary, Context, Kind
from mrengine.chunking.splitters.breaks import last_word
from mrengine.chunking.splitters.sentences import last_clause, last_sentence, sentence_begins

__all__ = ["Cutter", "Fits", "soft_window"]


class Fits(Protocol):
    """Whether ``text[start:stop]`` fits into a chunk, or into a ``share`` of one."""

    def __call__(self, start: int, stop: int, share: float = 1.0, /) -> bool: ...


_REACH = 0.5  # of a chunk: more is not left empty to keep a unit whole
_BACK = 0.7  # and not more for what belongs to what follows
_FEW = 2000  # tokens: below, a unit is large beside a chunk
_TINY = 500  # tokens
_HEADED = 1.3  # times what is small may a unit be, as one with a head above its first part is
_DENSER = 2  # times the characters may a part of a chunk have that takes as many tokens as another
_BLANKS = ("\n", "\r", " ", "\t")
_NEARLY = 6  # characters: a line that lacks so few may fit
_NONE = 1 << 30  # a level that no boundary has
_OPENINGS = 8  # lines in a row that belong to what follows
_CLOSES = (";", "}")  # so ends no line that belongs to what follows
_STOPS = (",", "!", "?", ".", ")", '"', "'", "”", "»")  # nor so, if it begins with a letter
_DOUBTFUL = (".", ")", '"', "'", "”", "»")  # and is not short
_SHORT = 60
_SOON = 0.4  # of an overlap: so much less is given up for a paragraph
_LINE = 400  # characters of a line's end are looked at


def soft_window(target: int) -> float:
    """What part of a chunk a better cut may cost. On average half of it is: 3% of large chunks, 6% of small."""
    return 0.06 if target >= _FEW else 0.12


class Cutter:
    """A splitter made of a kind: the chunker asks it where to cut, it asks the kind where units begin."""

    def __init__(self, kind: Kind, target: int, *, near: float | None = None) -> None:
        """``near``: the share of a chunk that a better cut may cost, whatever it keeps whole."""
        self._kind = kind
        self.kind = kind.name
        self.see = kind.see
        self.context: Callable[[str, int], Context] = kind.context
        self._find = kind.boundaries
        self._leads = kind.leads
        self._quick = kind.top
        self._nearest = kind.near
        self._far = kind.far
        self._after = kind.after
        self._opens = kind.opens.match
        self._ends = kind.open_ends
        self._near = soft_window(target) if near is None else near
        self._account = Account(target)
        spare = self._account.spare
        # Units of so small a part of a chunk, a quarter of a small one, stay whole however much was spent: chunks of
        # such units alone leave no more than the spare part empty, even where all are of one length.
        self._small = 1 / int(1 / spare - 1)
        # Of chunks below 500 tokens no fill is promised.
        self._always = (1.6 if target < _TINY else 0.5) * spare
        self._allow()

    def spent(self, share: float) -> None:
        """Note that this share of a chunk stayed empty."""
        self._account.spend(share)
        self._allow()

    def _allow(self) -> None:
        # What part of a chunk a larger unit may cost to be kept whole; any better cut, which costs never more than the
        # account affords; and how far back a unit may begin that is to stay whole.
        self._afforded = min(_REACH, max(self._account.left, self._always))
        self._window = min(self._near, self._afforded)
        self._back = min(_REACH, _DENSER * max(self._afforded, self._small))

    def _affords(self, start: int, offset: int, end: int, span: int, fits: Fits) -> bool:
        """Whether a unit that is to stay whole, and would fit, is worth what it costs."""
        if not fits(start, offset, 1 - self._afforded):
            return fits(offset, end)
        # A somewhat larger one stays whole, too, as long as no more was spent than there is.
        small = self._small * (_HEADED if self._account.left > self._always else 1)
        return end - offset <= _DENSER * span * small and fits(offset, end, small)

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """The best cut in ``start + 1 .. high``."""
        if text[high - 1] != "\n":  # the last token may be one with the newline, if what is missing fits
            newline = text.find("\n", high, high + _NEARLY)
            if newline >= 0 and fits(start, newline + 1):
                high = newline + 1
        span = high - start
        near, far = high - int(span * self._window), high - int(span * _REACH)
        blank = text[high - 1] == "\n" and text[high : high + 1] in _BLANKS
        best = 0
        if not blank and (top := self._quick(text, near, far, high)):
            best = top[0] if top[0] >= near else self._unit(text, start, high, [top], fits)
        if not best:
            found = self._nearest(text, near, high)
            if blank:
                found += self._behind_blanks(text, high)
            # Far from the limit only what lies farther out counts.
            least = min([level for _, level, _ in found]) if found else _NONE
            if least > self._kind.outermost:
                found = self._far(text, far, near, least) + found
            best = (
                self._unit(text, start, high, found, fits)
                or self._first_part(text, start, high, found, fits)
                or self._inside(text, start, high, found, fits)
            )
        return self._unbound(text, high - int(span * _BACK), best)

    def _behind_blanks(self, text: str, high: int) -> list[Boundary]:
        """``high`` itself, if nothing but blank lines parts it from a boundary."""
        begin = high + len(text[high : high + _LINE]) - len(text[high : high + _LINE].lstrip())
        return [(high, level, whole) for place, level, whole in self._find(text, high, begin) if place > high][-1:]

    def _unit(self, text: str, start: int, high: int, found: list[Boundary], fits: Fits) -> int:
        """The begin of the outermost unit that is worth it; 0 if none is."""
        span = high - start
        near, far = high - int(span * self._window), high - int(span * self._back)
        chain, least = [], _NONE
        # Whether a unit was too dear of which a chunk would hold two: what its larger parts would cost is saved for it.
        dear = False
        for boundary in reversed(found):
            if boundary[1] < least:
                least = boundary[1]
                chain.append(boundary)
        for offset, level, whole in reversed(chain):
            if offset >= near:
                return offset
            if whole == ALWAYS or (whole == WHOLE and offset >= far):
                stop = min(len(text), max(offset, start) + span + (span >> 2))
                end = self._after(text, level, high, stop)
                end = _bare(text, high, end or stop) if end or stop == len(text) else 0
                if end and whole == ALWAYS and not text[start:offset].strip() and fits(start, end):
                    return end  # behind the limit: its last token may be one with the newline
                if end and offset > start:
                    if whole == ALWAYS:
                        kept = fits(offset, end)
                    elif dear:
                        kept = fits(offset, end, self._small)
                    else:
                        kept = self._affords(start, offset, end, span, fits)
                    if kept:
                        return offset
                    dear = dear or (whole == WHOLE and fits(offset, end, 0.5))
        return 0

    def _first_part(self, text: str, start: int, high: int, found: list[Boundary], fits: Fits) -> int:
        """The begin of the innermost unit, where it is too large, but what is first in it would fit; else 0."""
        span = high - start
        offset, _, whole = found[-1] if found else (0, 0, SOFT)
        if whole != WHOLE or offset < high - int(span * self._back) or offset <= start:
            return 0
        end = self._after(text, _NONE, high, min(len(text), offset + span))
        return offset if end and self._affords(start, offset, end, span, fits) else 0

    def _inside(self, text: str, start: int, high: int, found: list[Boundary], fits: Fits) -> int:
        """In the innermost unit: behind a sentence, at a boundary of little worth, behind a clause, between words."""
        span = high - start
        inner = found[-1][0] if found else 0
        low = max(inner, high - int(span * _REACH))
        sentence = last_sentence(text, low, high)
        if sentence:
            return sentence
        if not found:  # far from the limit, only what is to stay whole was looked for
            found = self._find(text, max(low, high - span // 4), high)
            inner = found[-1][0] if found else 0
        if found and not found[-1][2]:
            return inner
        return last_clause(text, max(low, high - span // 4), high) or last_word(text, max(start, inner), high, fits)

    def _unbound(self, text: str, low: int, cut: int) -> int:
        """The cut, or one before it and behind ``low``, if what ends there belongs to what follows."""
        place = cut
        for _ in range(_OPENINGS):
            tail = text[max(0, place - _LINE) : place].rstrip()
            begin = (tail.rfind("\n") if "\r" not in tail else max(tail.rfind("\n"), tail.rfind("\r"))) + 1
            if not self._is_opening(tail, begin):
                return place
            begin += max(0, place - _LINE)
            if len(tail) - begin > 100:
                begin = last_sentence(text, begin, place - 1) or begin
            if begin <= low:
                return cut
            place = begin
        return cut

    def _is_opening(self, text: str, begin: int) -> bool:
        """Whether the line from ``begin`` to the end belongs to what follows: most are told by their last mark."""
        if text.endswith(self._ends):
            return True
        last = text[-1:]
        if last in _CLOSES:
            return False
        told = last in _STOPS and (last not in _DOUBTFUL or len(text) - begin > _SHORT)
        return not (told and text[begin:].lstrip()[:1].isalpha()) and self._opens(text, begin) is not None

    def resume(self, text: str, low: int, start: int) -> int:
        """Where an overlap that ends at ``start`` begins: the first of the outermost whole units at ``low`` or later.

        Else a paragraph, if one begins in the first part of the reach; the first boundary or sentence; ``start``, if
        there is none.
        """
        found = [boundary for boundary in self._leads(text, low - 1, start - 1) if boundary[0] >= low]
        outer = min((level for _, level, whole in found if whole), default=-1)
        if outer >= 0:
            return next(offset for offset, level, _ in found if level <= outer)
        near = low + int((start - low) * _SOON)
        for offset, level, _ in found:
            if level <= PARAGRAPH and offset <= near:
                return offset
        first = found[0][0] if found else start
        return next(sentence_begins(text, low, first), first)


def _bare(text: str, low: int, end: int) -> int:
    """The end of a unit without the blank lines behind it; at least ``low``."""
    tail = text[max(low, end - _LINE) : end]
    body = len(tail.rstrip())
    return end - len(tail) + body + (tail[body : body + 1] == "\n") + 2 * (tail[body : body + 2] == "\r\n")
