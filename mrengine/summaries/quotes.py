"""Looks a quote up in a text: code, not a model, decides whether it is there, and where.

Both sides are folded: white space is dropped, quotation marks, dashes, ligatures and composed characters are unified,
and hyphens between letters are dropped, as they may belong to a line's end. Offsets are those of the original text.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator
from typing import Any

import regex

__all__ = ["QuoteFinder", "number_places", "numbers_in", "page_of"]

_CLUSTER = regex.compile(r"\X")
_MARKS = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″〝〞＂「」『』", '"'),
        **dict.fromkeys("‘’‚‛‹›′`´＇", "'"),
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
        "…": "...",
        **dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True)),
    }
)
_AROUND = " \t\r\n\"'“”„«»‘’`*_…"
_ENDS = ".,;:!?。，；：！？、…"
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hangul}]")
_LEAST = 4  # letters and digits of a quote: fewer stand in any text
_LEAST_UNSPACED = 2
_ELLIPSIS = regex.compile(r"\s*(?:\[\s*(?:\.{3}|…)\s*\]|\(\s*(?:\.{3}|…)\s*\)|\.{3,}|…)\s*")
_WIDEST_GAP = 400  # characters that an ellipsis may stand for
_NUMBER = regex.compile(r"\d+(?:[.,'’\u00a0\u202f ]\d{3}(?!\d))*(?:[.,]\d+)?")
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_WORDS = {word: str(number) for number, word in enumerate(_COUNTED.split())}
_FURTHER_LANGUAGES = (
    "zwei 2 drei 3 vier 4 fünf 5 sechs 6 sieben 7 acht 8 neun 9 zehn 10 elf 11 zwölf 12 deux 2 trois 3 quatre 4 cinq 5 "
    "sept 7 huit 8 dix 10 douze 12 dos 2 tres 3 cuatro 4 cinco 5 seis 6 siete 7 ocho 8 nueve 9 diez 10 doce 12"
)
_FURTHER = _FURTHER_LANGUAGES.split()
_WORDS |= dict(zip(_FURTHER[::2], _FURTHER[1::2], strict=True))
_ORDER = {"once": "1", "first": "1", "twice": "2", "second": "2", "third": "3", "both": "2", "single": "1"}
_HAN = {han: number for number, han in enumerate("零一二三四五六七八九十")} | {"两": 2, "兩": 2}
_MEASURES = "天日周週年月岁歲次个個名例位人小时時点點分秒毫克升米倍片"
_EITHER = regex.compile(
    rf"({_NUMBER.pattern})|([{''.join(_HAN)}]+)(?=[{_MEASURES}])|([\p{{L}}--[{''.join(_HAN)}]]+)", regex.V1
)
_BEFORE = regex.compile(r"(\p{L}+)[\s#.:]{0,3}$")
_NEAR = 40  # characters before a number in which the word before it ends
_BEHIND = regex.compile(r"\s?(\p{L}+)")


class QuoteFinder:
    """Looks up quotes in one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded, self._at = _fold(text)

    def find(self, quote: str, *, prefer_from: int = 0) -> tuple[int, int] | None:
        """The offsets of a quote in the text; None: it is not there.

        ``prefer_from``: of several places, take the first at or behind this offset. A place that begins or ends within
        a word or a number does not count: "5 mg" is no quote of "25 mg".
        """
        whole = self._one(quote, prefer_from)
        return whole if whole is not None else self._elided(quote, prefer_from)

    def _one(self, quote: str, prefer_from: int) -> tuple[int, int] | None:
        for form in _forms(quote):
            folded = _fold(form)[0]
            if not _is_enough(folded):
                return None  # no later form is longer
            place = self._place(folded, prefer_from)
            if place is not None:
                return place
        return None

    def _elided(self, quote: str, prefer_from: int) -> tuple[int, int] | None:
        """The span of a quote that leaves something out, from its first to its last part."""
        parts = [part for part in _ELLIPSIS.split(quote.strip(_AROUND)) if part.strip()]
        if len(parts) < 2:
            return None
        start = end = -1
        for part in parts:
            place = self._one(part, max(prefer_from, end))
            if place is None or (end >= 0 and not 0 <= place[0] - end <= _WIDEST_GAP):
                return None
            start, end = (place[0] if start < 0 else start), place[1]
        return start, end

    def _place(self, folded: str, prefer_from: int) -> tuple[int, int] | None:
        first: tuple[int, int] | None = None
        at = self._folded.find(folded)
        while at >= 0:
            start, end = self._at[at], self._behind(at + len(folded) - 1)
            if not (_joined(self._text, start) or _joined(self._text, end)):
                if start >= prefer_from:
                    return start, end
                first = first or (start, end)
            at = self._folded.find(folded, at + 1)
        return first

    def _behind(self, last: int) -> int:
        """The end of the character, with its combining marks, that the folded one at ``last`` comes from."""
        start = self._at[last]
        cluster = _CLUSTER.match(self._text, start)
        return cluster.end() if cluster else start + 1


def _joined(text: str, at: int) -> bool:
    """Whether a cut at this offset is within a word or a number."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if left.isalnum() and right.isalnum():
        return not (_UNSPACED.match(left) or _UNSPACED.match(right))
    if left in ".,/:" and right.isdigit() and at > 1 and text[at - 2].isdigit():
        return True  # within "2.5", before the 5
    return left.isdigit() and right in ".,/:" and at + 1 < len(text) and text[at + 1].isdigit()


def _forms(quote: str) -> list[str]:
    """The quote, and how models change one: quotation marks around it, a last stop, the case of the first letter."""
    bare = quote.strip(_AROUND)
    forms = [quote.strip(), bare, bare.rstrip(_ENDS + _AROUND)]
    if bare[:1].isalpha():
        forms += [form[:1].swapcase() + form[1:] for form in forms[1:]]
    return list(dict.fromkeys(form for form in forms if form)) or [""]


def _is_enough(folded: str) -> bool:
    letters = [char for char in folded if char.isalnum()]
    unspaced = sum(1 for char in letters if _UNSPACED.match(char))
    return len(letters) >= _LEAST or unspaced >= _LEAST_UNSPACED


def _fold(text: str) -> tuple[str, array[int]]:
    """The folded text, and for each of its characters its offset in ``text``."""
    folded: list[str] = []
    origin: array[int] = array("Q")
    for start, cluster in _clusters(text):
        for char in cluster.translate(_MARKS):
            if not char.isspace():
                folded.append(char)
                origin.append(start)
    kept = [
        at
        for at, char in enumerate(folded)
        if char != "-" or not (0 < at < len(folded) - 1 and folded[at - 1].isalpha() and folded[at + 1].isalpha())
    ]
    if len(kept) == len(folded):
        return "".join(folded), origin
    return "".join(folded[at] for at in kept), array("Q", (origin[at] for at in kept))


def _clusters(text: str) -> list[tuple[int, str]]:
    """Each character with its offset; in a text that is not NFC, with its combining marks, composed."""
    if unicodedata.is_normalized("NFC", text):
        return list(enumerate(text))
    return [(match.start(), unicodedata.normalize("NFC", match.group())) for match in _CLUSTER.finditer(text)]


def numbers_in(text: str) -> set[str]:
    """The numbers in a text, in one form: "1,500" and "1500", "2.50" and "2.5", "three" and "3"."""
    return {form for _, form in _forms_of(unicodedata.normalize("NFKC", text))}


def number_places(text: str) -> list[tuple[str, str, str]]:
    """The numbers of a text in order, each in its one form with the words before and behind it."""
    text = unicodedata.normalize("NFKC", text)
    places = []
    for match, form in _forms_of(text):
        # Near only: a search from the beginning for every number takes quadratic time in a long quote.
        before = _BEFORE.search(text, max(0, match.start() - _NEAR), match.start())
        behind = _BEHIND.match(text, match.end())
        places.append((form, before[1] if before else "", behind[1] if behind else ""))
    return places


def _forms_of(text: str) -> Iterator[tuple[regex.Match[str], str]]:
    for match in _EITHER.finditer(text):
        word = (match[3] or "").lower()
        form = _plain(match[1]) if match[1] else _from_han(match[2]) or _WORDS.get(word) or _ORDER.get(word)
        if form is not None:
            yield match, form


def _from_han(run: str | None) -> str | None:
    """The number of Chinese numerals below a hundred: 三, 十二, 二十三."""
    if not run:
        return None
    tens, mark, ones = run.partition("十")
    if not mark:
        return "".join(str(_HAN[han]) for han in run)
    if len(tens) > 1 or len(ones) > 1:
        return run
    return str(10 * (_HAN[tens] if tens else 1) + (_HAN[ones] if ones else 0))


def _plain(number: str) -> str:
    """Digits without thousands separators, with a point before decimals and no redundant zeros."""
    whole, mark, rest = number, "", ""
    at = max(number.rfind("."), number.rfind(","))
    # Three digits behind a mark are thousands, in "1,500" and "1.500" alike; behind a 0 they can only be decimals.
    if at >= 0 and (len(number) - at - 1 != 3 or number[:at] in ("0", "")):
        whole, mark, rest = number[:at], ".", number[at + 1 :].rstrip("0")
    digits = "".join(char for char in whole if char.isdigit()).lstrip("0") or "0"
    return f"{digits}{mark}{rest}" if rest else digits


def page_of(chunk: Any, offset: int) -> int | None:
    """The page that an offset of the chunk's document lies on; None: the document has no pages."""
    page_at = getattr(chunk, "page_at", None)
    page = page_at(offset) if callable(page_at) else None
    return page if isinstance(page, int) else None
