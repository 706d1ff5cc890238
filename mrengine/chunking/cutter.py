"""Chooses the cut among the boundaries of a text, the same way for every kind.

The units that a cut at the limit would tear lie one inside the other. Going back from the limit, their begins are the
boundaries whose level is less than that of all boundaries behind them. The cut comes before the outermost unit that is
worth it: any that begins near the limit; farther back, up to half of the chunk, one that is to stay whole and would
fit. An account of what the chunks have left empty keeps the mean fill as promised. Where no boundary is near, the cut
comes behind a sentence, a clause or a word.

No chunk ends with a line that belongs to what follows: a heading, an introduction, a number. The reasons and figures
are in docs/decisions/chunking-boundaries.md.
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


_REACH = 0.5  # of a chunk: the most that is left empty to keep a unit whole
_BACK = 0.7  # of a chunk: the most that is left empty to keep lines with what follows them
_FEW = 2000  # tokens: beside a smaller chunk, units are large
_TINY = 500  # tokens: of smaller chunks no fill is promised
_HEADED = 1.3  # a unit may be so many times a small one, as is one with a head above its first part
_DENSER = 2  # one part of a text may have so many times the characters that another has in as many tokens
_BLANKS = ("\n", "\r", " ", "\t")
_NEARLY = 6  # characters: a line that goes beyond the limit by so few may fit all the same
_NONE = 1 << 30  # a level that no boundary has
_OPENINGS = 8  # the most lines in a row that are taken to belong to what follows
# The last mark is enough to judge most lines. One that belongs to what follows never ends with the first of these; nor
# with the second, if it begins with a letter; but with the third it may, if it is short.
_CLOSES = (";", "}")
_STOPS = (",", "!", "?", ".", ")", '"', "'", "”", "»")
_DOUBTFUL = (".", ")", '"', "'", "”", "»")
_SHORT = 60
_SOON = 0.4  # of an overlap: how much shorter it may become to begin with a paragraph
_LINE = 400  # characters of the end of a line that are read


def soft_window(target: int) -> float:
    """The part of a chunk that a better cut may cost."""
    # On average half of it is lost: 3% of large chunks, 6% of small ones.
    return 0.06 if target >= _FEW else 0.12


class Cutter:
    """Makes a splitter of a kind: the chunker asks it where to cut, and it asks the kind where units begin."""

    def __init__(self, kind: Kind, target: int, *, near: float | None = None) -> None:
        """``near``: the part of a chunk that a better cut may cost, even if it keeps no unit whole."""
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
        # Units up to this part of a chunk, a quarter of a small one, stay whole however much was spent: chunks of such
        # units alone leave no more than the spare part empty, even where all have the same length.
        self._small = 1 / int(1 / spare - 1)
        # What a unit may cost even when nothing is left. It is more for chunks of which no fill is promised.
        self._always = (1.6 if target < _TINY else 0.5) * spare
        self._allow()

    def spent(self, share: float) -> None:
        """Note that this share of a chunk stayed empty."""
        self._account.spend(share)
        self._allow()

    def _allow(self) -> None:
        # Parts of a chunk: what a larger unit may cost to be kept whole; what any better cut may cost, which is never
        # more than the account affords; how far back a unit may begin that is to stay whole. Computed once a chunk, as
        # they are asked for at each boundary.
        self._afforded = min(_REACH, max(self._account.left, self._always))
        self._window = min(self._near, self._afforded)
        self._back = min(_REACH, _DENSER * max(self._afforded, self._small))

    def _affords(self, start: int, offset: int, end: int, span: int, fits: Fits) -> bool:
        """Whether a unit from ``offset`` to ``end`` that is to stay whole fits, and is worth what it costs."""
        # The costs are counted in tokens: where a text is dense in one place, characters say too little.
        if not fits(start, offset, 1 - self._afforded):
            return fits(offset, end)
        # A small unit stays whole all the same; a somewhat larger one, too, as long as the account is not overdrawn.
        small = self._small * (_HEADED if self._account.left > self._always else 1)
        return end - offset <= _DENSER * span * small and fits(offset, end, small)

    def cut(self, text: str, start: int, high: int, fits: Fits) -> int:
        """The best cut in ``start + 1 .. high``."""
        if text[high - 1] != "\n":  # the newline may be part of the last token, so that the rest of the line fits, too
            newline = text.find("\n", high, high + _NEARLY)
            if newline >= 0 and fits(start, newline + 1):
                high = newline + 1
        span = high - start
        near, far = high - int(span * self._window), high - int(span * _REACH)
        blank = text[high - 1] == "\n" and text[high : high + 1] in _BLANKS
        best = 0
        # The one outermost boundary at first: where the kind finds it quickly, no line is listed.
        if not blank and (top := self._quick(text, near, far, high)):
            best = top[0] if top[0] >= near else self._unit(text, start, high, [top], fits)
        if not best:
            found = self._nearest(text, near, high)
            if blank:
                found += self._behind_blanks(text, high)
            # Far from the limit only boundaries count that lie farther out than all near it.
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
        """The boundary behind ``high``, moved to ``high``, if only blank lines are between them."""
        begin = high + len(text[high : high + _LINE]) - len(text[high : high + _LINE].lstrip())
        return [(high, level, whole) for place, level, whole in self._find(text, high, begin) if place > high][-1:]

    def _unit(self, text: str, start: int, high: int, found: list[Boundary], fits: Fits) -> int:
        """The begin of the outermost unit that is worth its cost; 0 if none is."""
        span = high - start
        near, far = high - int(span * self._window), high - int(span * self._back)
        chain, least = [], _NONE
        # Whether a unit of half a chunk at most was too dear. Then its larger parts are not kept whole: what they would
        # cost is saved for the next such unit.
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
                    return end  # a little behind the limit: the newline may be part of the last token
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
        """The begin of the innermost unit if it is too large, but its first part would fit and is worth it; else 0."""
        span = high - start
        offset, _, whole = found[-1] if found else (0, 0, SOFT)
        if whole != WHOLE or offset < high - int(span * self._back) or offset <= start:
            return 0
        end = self._after(text, _NONE, high, min(len(text), offset + span))
        return offset if end and self._affords(start, offset, end, span, fits) else 0

    def _inside(self, text: str, start: int, high: int, found: list[Boundary], fits: Fits) -> int:
        """A cut inside the innermost unit: behind a sentence, at a soft boundary, behind a clause, between words."""
        span = high - start
        inner = found[-1][0] if found else 0
        low = max(inner, high - int(span * _REACH))
        sentence = last_sentence(text, low, high)
        if sentence:
            return sentence
        if not found:  # soft boundaries far from the limit were not listed before
            found = self._find(text, max(low, high - span // 4), high)
            inner = found[-1][0] if found else 0
        if found and not found[-1][2]:
            return inner
        return last_clause(text, max(low, high - span // 4), high) or last_word(text, max(start, inner), high, fits)

    def _unbound(self, text: str, low: int, cut: int) -> int:
        """The cut, moved back as far as ``low`` if the lines before it belong to what follows."""
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
        """Whether the line from ``begin`` to the end of the text belongs to what follows."""
        if text.endswith(self._ends):
            return True
        last = text[-1:]
        if last in _CLOSES:
            return False
        told = last in _STOPS and (last not in _DOUBTFUL or len(text) - begin > _SHORT)
        return not (told and text[begin:].lstrip()[:1].isalpha()) and self._opens(text, begin) is not None

    def resume(self, text: str, low: int, start: int) -> int:
        """Where an overlap that ends at ``start`` begins: the first of the outermost whole units at ``low`` or later.

        Without such a unit, it begins at a paragraph in the first part of the reach, else at the first boundary or
        sentence, else at ``start``: there is no overlap.
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
    """The end of a unit without the blank lines behind it, but not before ``low``."""
    tail = text[max(low, end - _LINE) : end]
    body = len(tail.rstrip())
    return end - len(tail) + body + (tail[body : body + 1] == "\n") + 2 * (tail[body : body + 2] == "\r\n")
