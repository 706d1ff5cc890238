"""Last resorts: cuts between words, then between letters and marks, then between grapheme clusters.

Offsets are characters of the given text. A cut lies before the blank that follows a word: there token counts add up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regex import Pattern

__all__ = ["last_cluster", "last_word"]

_WORD = re.compile(
    r"(?<=\S)(?=\s)|(?<=\n)|(?<=[、，。；：！？…”’」』）》】])|(?<=[\u3041-\u30ff\u3400-\u9fff])(?=[\u3041-\u30fa\u3400-\u9fff])"
)
# Marks and symbols, emoji among them; and what only ends one: a selector of a variant, a skin tone.
_MARK = (
    r"\s!-/:-@\[-`{-~\xa1-\xbf\u2010-\u2027\u2030-\u205e\u20a0-\u20c0\u2190-\u2bff\u3001-\u301f"
    r"\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
)
_LAST_MARK = rf"{_MARK}\ufe0e\ufe0f\U0001f3fb-\U0001f3ff"
_PART = re.compile(rf"(?<=[^\W_])(?![^\W_])(?=[{_MARK}])|(?<=[{_LAST_MARK}])(?<![^\W_])(?=[^\W_])")
# One of these stands beside each edge. A set of characters is found several times as fast.
_BESIDE = {
    _WORD: re.compile("[\\s、，。；：！？…”’」』）》】\u3041-\u30ff\u3400-\u9fff]"),
    _PART: re.compile(f"[{_LAST_MARK}]"),
}
_LONGEST = 16_000  # characters: what is longer is no word, and not looked through
_NEAR = {_WORD: 64, _PART: 16}  # characters: to begin the next chunk with what does not fit costs little
# A vowel that is written before its consonant begins a syllable in Thai and Lao; a consonant in Khmer and Burmese,
# unless it is joined to the one before, or ends a syllable.
_SYLLABLE = re.compile(
    "(?=[\u0e40-\u0e44\u0ec0-\u0ec4][\u0e01-\u0e2e\u0e81-\u0eae])"
    "|(?<!\u17d2)(?=[\u1780-\u17b3])|(?<!\u1039)(?=[\u1000-\u102a](?![\u103a\u1039]))"
)
_SYLLABLES = 40  # characters
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
_FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def last_word(text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
    """The last cut between words in ``start + 1 .. high``; inside a word only where that alone does not fit.

    Then between its letters and its marks (paths, minified code); inside a run of letters only where it does not fit.
    """
    return (
        _last_edge(_WORD, text, start, high, fits)
        or _last_edge(_PART, text, start, high, fits)
        or _last_syllable(text, start, high)
        or last_cluster(text, start, high)
    )


def _last_syllable(text: str, start: int, high: int) -> int:
    """The last begin of a syllable near ``high`` in Thai, Lao, Khmer or Burmese, written without blanks; else 0."""
    if not (0 < start + 1 < high < len(text) and "\u0e00" <= text[high - 1] <= "\u17ff"):
        return 0
    begin = max(start + 1, high - _SYLLABLES)
    found = [match.start() for match in _SYLLABLE.finditer(text, begin, high + 4) if match.start() <= high]
    return found[-1] if found else 0


def _last_edge(edge: re.Pattern[str], text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int:
    """The last such edge in ``start + 1 .. high``; 0 if there is none, or if what begins there does not fit."""
    if high < len(text) and edge.match(text, high):
        return high
    if text.isascii() and text[start:high].isalnum():
        return 0
    beside = _BESIDE[edge].search
    step, begin, end = 64, high, high
    start = max(start, high - _LONGEST)
    while begin > start + 1:
        begin, end = max(start + 1, high - step), begin
        found = None
        if beside(text, begin - 1, min(end + 1, high)):
            for match in edge.finditer(text, begin, min(end + 1, high)):
                found = match
        if found is not None:
            last = found.start()
            if high - last <= _NEAR[edge]:
                return last
            mark = beside(text, high)
            after = edge.search(text, mark.start()) if mark else None
            return last if fits(last, after.start() if after else len(text)) else 0
        step *= 4
    return 0


def last_cluster(text: str, start: int, high: int) -> int:
    """The last boundary between grapheme clusters in ``start + 1 .. high``; ``high`` if one cluster fills all of it."""
    if high >= len(text) or (text[high - 1 : high + 1].isascii() and text[high - 1] != "\r"):
        return high
    if _FLAG.match(text, high - 1) and _FLAG.match(text, high):
        return _between_flags(text, start, high)
    reach = 32
    while True:
        begin = max(start, high - reach)
        for match in _clusters().finditer(text, pos=begin, endpos=high + reach):
            if match.end() >= high:
                break
        if match.end() == high:
            return high
        if match.start() > begin:
            return int(match.start())
        if begin == start or reach > 4096:
            return high
        reach *= 8


@cache
def _clusters() -> Pattern[str]:
    import regex

    return regex.compile(r"\X")


def _between_flags(text: str, start: int, high: int) -> int:
    """Flags are pairs of regional indicators, counted from the first of their run; chunks begin with a whole one."""
    before = text[start:high]
    return high - (len(before) - len(before.rstrip(_FLAGS))) % 2
