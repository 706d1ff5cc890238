r"""Finds where pretokens begin in ASCII text: all at once with numpy, ten times as fast as the regular expression.

An OpenAI tokenizer splits a text into *pretokens* by a regular expression, and merges the bytes of each into tokens.
Whether a pretoken begins between two characters follows from their classes and those of their neighbours
(:func:`_begins`), except at a few places that are decided one by one: apostrophes, blank lines, slashes after
newlines, long numbers, the end of the text. ``tests/chunking/tokens/test_token_ends.py`` compares all contexts of five
characters.
"""

from __future__ import annotations

import re
from typing import Any

import numpy

__all__ = ["Pretokens"]

# Classes of characters, ordered so that each test on a whole array is a single comparison.
_LOWER, _UPPER, _DIGIT, _BLANK, _NEWLINE, _SPACE, _MARK, _SLASH = range(8)
_LETTERS, _WHITE, _MARKS = (_LOWER, _UPPER), (_BLANK, _NEWLINE, _SPACE), (_MARK, _SLASH)
_DEPENDS = 2  # neither yes nor no: it depends on characters farther away

_CONTRACTION = re.compile(rb"'(?:[sdmtSDMT]|[lL][lL]|[vV][eE]|[rR][eE])")


def _class_of(character: str) -> int:
    if character.isdigit():
        return _DIGIT
    if character.isalpha():
        return _LOWER if character.islower() else _UPPER
    kinds = {"\n": _NEWLINE, "\r": _NEWLINE, " ": _SPACE, "\t": _BLANK, "\v": _BLANK, "\f": _BLANK, "/": _SLASH}
    return kinds.get(character, _MARK)


_CLASSES = bytes(_class_of(chr(byte)) if byte < 128 else _MARK for byte in range(256))


def _begins(left: int, right: int, *, joined: bool, blank_follows: bool, modern: bool) -> int:
    r"""Whether a pretoken begins between the classes ``left`` and ``right``: 0, 1 or ``_DEPENDS``.

    ``joined``: a mark or a space precedes ``left``, so a mark at ``left`` belongs to it, not to the word.
    ``modern``: o200k's expression, which splits words where capitals begin and lets marks take ``[\r\n/]*``, not
    ``[\r\n]*``.
    """
    if right in _LETTERS:
        if left in _LETTERS:
            return modern and left == _LOWER and right == _UPPER
        return joined if left in _MARKS else left not in (_BLANK, _SPACE)
    if right == _DIGIT:
        return left != _DIGIT
    if right in _MARKS:
        if left == _NEWLINE and right == _SLASH and modern:
            return _DEPENDS
        return left not in (*_MARKS, _SPACE)
    if right == _NEWLINE:
        return _DEPENDS if left in (_BLANK, _SPACE) else left not in (*_MARKS, _NEWLINE)
    return not blank_follows if left in (_BLANK, _SPACE) else True


def _answers(*, modern: bool) -> bytes:
    """:func:`_begins` for all codes: three bits of ``left``, three of ``right``, joined, blank_follows."""
    return bytes(
        _begins(code >> 5, code >> 2 & 7, joined=bool(code & 2), blank_follows=bool(code & 1), modern=modern)
        for code in range(256)
    )


class Pretokens:
    """Finds where the pretokens of cl100k or of o200k (``modern``) begin; keeps no state between texts."""

    def __init__(self, *, modern: bool) -> None:
        self._modern = modern
        self._answers = _answers(modern=modern)

    def begins(self, data: bytes) -> Any:
        """For each character, whether a pretoken begins with it. None for text of mostly blank lines: too slow here."""
        classes = data.translate(_CLASSES)
        what = numpy.frombuffer(classes, numpy.uint8)
        code = what * numpy.uint8(4)
        code[1:] += what[:-1] * numpy.uint8(32)
        code[2:] += (what[:-2] >= _SPACE) * numpy.uint8(2)
        white = (what >= _BLANK) & (what <= _SPACE)
        code[:-1] += white[1:]
        code[-1] += 1
        answers = code.tobytes().translate(self._answers)
        answer = numpy.frombuffer(answers, numpy.uint8)
        open_places = numpy.count_nonzero(answer == _DEPENDS)
        if open_places > len(data) >> 4:
            return None
        begins = answer == 1
        begins[0] = True
        self._numbers(begins, what == _DIGIT)
        if open_places:
            self._decide_from_afar(begins, answers, classes)
        if not self._modern:
            self._end(begins, classes)
        if b"'" in data:
            self._contractions(begins, data, classes, what)
        return begins

    def _numbers(self, begins: Any, digit: Any) -> None:
        """Split numbers after every third digit."""
        fourth = digit[3:] & digit[2:-1] & digit[1:-2] & digit[:-3]  # or any later one
        places = numpy.flatnonzero(fourth)
        if len(places):
            new = numpy.append(True, places[1:] != places[:-1] + 1)
            since = places - numpy.maximum.accumulate(places * new)
            begins[places[since % 3 == 0] + 3] = True

    def _decide_from_afar(self, begins: Any, answers: bytes, classes: bytes) -> None:
        """Blanks before a newline join it and the newlines before them; slashes after one join the marks before it."""
        done, place = 0, answers.find(_DEPENDS)
        while place >= 0:
            if classes[place] == _NEWLINE:
                above = _back(classes, place, _BLANK, _SPACE)
                if above and classes[above - 1] == _NEWLINE and not _taken(classes, above):
                    begins[above] = False
            elif place >= done:
                taken = _taken(classes, place)
                done = place
                while taken and done < len(classes) and classes[done] in (_NEWLINE, _SLASH):
                    done += 1
                begins[place:done] = False
                begins[done : done + 1] = True
                if classes[done : done + 1] == bytes((_MARK,)) and taken and classes[done + 1 : done + 2] in _LETTER:
                    begins[done + 1 : done + 2] = False
            place = answers.find(_DEPENDS, place + 1)

    def _end(self, begins: Any, classes: bytes) -> None:
        """cl100k takes blanks and newlines at the end of a text as one, except newlines that belong to a mark."""
        first = _back(classes, len(classes), *_WHITE)
        if first and classes[first - 1] in _MARKS:
            while classes[first : first + 1] == bytes((_NEWLINE,)):
                first += 1
        begins[first + 1 :] = False
        begins[first : first + 1] = True

    def _contractions(self, begins: Any, data: bytes, classes: bytes, what: Any) -> None:
        """``'s``, ``'ll`` and so on: the end of a word in o200k, pretokens of their own in cl100k."""
        places = numpy.flatnonzero(numpy.frombuffer(data, numpy.uint8) == ord("'"))
        places = places[what.take(places + 1, mode="clip") <= _UPPER]
        if self._modern:
            places = places[what.take(places - 1, mode="clip") <= _UPPER]
        after = 0
        for begin in places.tolist():
            match = _CONTRACTION.match(data, begin)
            if not match:
                continue
            end = match.end()
            before = classes[begin - 1] if begin else _NEWLINE
            if self._modern and (before not in _LETTERS or begin == after):
                continue
            if not self._modern and before in (*_MARKS, _SPACE):
                continue
            begins[begin:end] = False
            begins[begin] = not self._modern
            begins[end : end + 1] = True
            after = end


_LETTER = tuple(bytes((kind,)) for kind in _LETTERS)


def _back(classes: bytes, place: int, *kinds: int) -> int:
    """The beginning of the run of such classes that ends at ``place``."""
    low = max(0, place - 64)  # most runs are short, and copying everything before would be expensive
    kept = classes[low:place].rstrip(bytes(kinds))
    return low + len(kept) if kept else len(classes[:low].rstrip(bytes(kinds)))


def _taken(classes: bytes, place: int) -> bool:
    """Whether the newlines before ``place`` belong to a mark before them."""
    before = _back(classes, place, _NEWLINE)
    return before > 0 and classes[before - 1] in _MARKS
