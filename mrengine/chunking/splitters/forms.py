"""Kinds of text whose records begin with lines of a recurring form: a time, a speaker's name.

Which of the known forms a text has is learnt from each new window; what begins in another way goes on with the record.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from mrengine.chunking.boundaries import LINE, PARAGRAPH, RECORD, SOFT, WHOLE, Boundary, Stateless
from mrengine.chunking.splitters.lines import each_line_back, lines_between

__all__ = ["NOTHING", "Formed", "newline_of"]

NOTHING = re.compile(r"(?!)")
_RUNS, _RUN = 4, 1500  # so many parts of so many characters are learnt from
_SELDOM = 0.05  # of the lines that begin records; a form that is rarer begins none
_STEP = 400  # characters
_LINE = 200  # characters: the begin of a line is no longer


def newline_of(text: str) -> str:
    """What ends the lines: CR, in a text without LF; else LF (the CR of a CRLF stands at the end of a line)."""
    return "\r" if "\n" not in text and "\r" in text else "\n"


class Formed(Stateless):
    """Records that begin with a line of one of the ``forms``; give these, a few more inner lines, and a name."""

    outermost = RECORD
    opens = NOTHING
    open_ends = ()
    forms: tuple[str, ...] = ()  # expressions without groups, each for the begin of a line; the first that fits counts
    inner = SOFT  # the lines of a record that does not fit: are they units?

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._used: frozenset[int] = frozenset()
        self._begin = NOTHING
        self._newline = ""
        self._seen = 0

    def see(self, text: str, base: int) -> None:
        """Learn which forms the text that is new has."""
        begin = max(0, self._seen - base)
        self._newline = self._newline or newline_of(text)
        found = self.learn(text, begin)
        self._seen = base + len(text)
        most = max(found.values(), default=0)
        self._used |= {form for form, count in found.items() if count > _SELDOM * most}
        self._begin = _begins(tuple(self.forms[form] for form in sorted(self._used)), self._newline)

    def learn(self, text: str, begin: int) -> Counter[int]:
        """How many lines of the text behind ``begin`` have which form: looked at are a few parts of it."""
        match = any_of(self.forms).match
        found: Counter[int] = Counter()
        step = max(_RUN, (len(text) - begin) // _RUNS)
        for low in range(begin, len(text), step):
            lines = text[low : low + _RUN].split(self._newline)
            for line in lines if low == 0 else lines[1:]:
                if line and self.may_begin(line) and (form := match(line)):
                    found[(form.lastindex or 1) - 1] += 1
        return found

    def may_begin(self, line: str) -> bool:
        """Whether it is worth to look whether a line begins a record."""
        return True

    def events(self, text: str, low: int, high: int) -> list[Boundary]:
        """The begins of records."""
        low = max(low, 0)
        found = self._begin.finditer(text, low, high + _LINE)
        places = [match.start() + 1 for match in found]
        return [(place, RECORD, WHOLE) for place in places if place <= high]

    def boundaries(self, text: str, low: int, high: int) -> list[Boundary]:
        """Records, and the lines inside of them."""
        found = self.events(text, low, high)
        events = {place for place, _, _ in found}
        found += [
            (begin, PARAGRAPH if blank else LINE, SOFT if blank else self.inner)
            for begin, line, blank in lines_between(text, low, high)
            if begin not in events and (blank or self.is_unit(line))
        ]
        found.sort()
        return found

    def last(self, text: str, low: int, high: int) -> list[Boundary]:
        """The last record, and the lines behind it: all that counts where the last place of a level is asked for."""
        found: list[Boundary] = []
        for begin, line, blank in each_line_back(text, low, high):
            if self._begin.match(text, begin - 1, high + _LINE):
                found.append((begin, RECORD, WHOLE))
                break
            if blank or self.is_unit(line):
                found.append((begin, PARAGRAPH if blank else LINE, SOFT if blank else self.inner))
        found.reverse()
        return found

    def is_unit(self, line: str) -> bool:
        """Whether a line inside of a record is one by itself, where the record does not fit."""
        return True

    def top(self, text: str, near: int, far: int, high: int) -> Boundary | None:
        """The last record: looked for near the limit, then farther back."""
        low = max(near, high - _STEP)
        found = self.events(text, low, high) or self.events(text, far, low)
        return found[-1] if found and found[-1][1] <= RECORD else None

    def near(self, text: str, low: int, high: int) -> list[Boundary]:
        """Records, or the lines if none begins here."""
        return self.events(text, low, high) or self.boundaries(text, low, high)

    def far(self, text: str, low: int, high: int, below: int) -> list[Boundary]:
        """Records only, or the lines if none begins here."""
        return self.near(text, low, high)

    def after(self, text: str, level: int, low: int, high: int) -> int:
        """The next record, if it is one that is looked for."""
        if level > RECORD:
            return super().after(text, level, low, high)
        match = self._begin.search(text, max(low, 0), high + _LINE)
        return match.start() + 1 if match and match.start() < high else 0


@lru_cache(maxsize=8)
def any_of(forms: tuple[str, ...]) -> re.Pattern[str]:
    """One expression; the index of its group says which form it was."""
    return re.compile("|".join(f"({form})" for form in forms))


@lru_cache(maxsize=64)
def _begins(forms: tuple[str, ...], newline: str) -> re.Pattern[str]:
    """The newline before a line of one of the forms."""
    return re.compile(f"{newline}(?:{'|'.join(forms)})") if forms else NOTHING
