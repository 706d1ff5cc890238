"""Finds marks all over a window at once with numpy: those that lines begin with, and runs of three."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

__all__ = ["doubled", "tripled"]

_NEWLINE, _BLANK, _ASCII = 10, 32, 128
_ALONE = "#="  # these stand alone, too


def doubled(text: str, marks: str, *, first: bool) -> Any:
    """Where lines begin with one of the marks twice, or with one that may stand alone. ``first``: whether a line begins
    with the text. At the text's end, where a line may go on, they are found that may become one.
    """
    import numpy

    wanted, alone = _tables(marks)
    data = _codes(text)
    begins = numpy.flatnonzero(data[:-1] == _NEWLINE) + 1
    if first and text:
        begins = numpy.concatenate(([0], begins))
    begins = begins[wanted.take(data.take(begins), mode="clip")]
    mark, behind = data.take(begins), data.take(begins + 1, mode="clip")
    return begins[(behind == mark) | (alone.take(mark) & (behind <= _BLANK))]


def tripled(text: str, mark: str) -> list[int]:
    """Where the mark stands three times in a row; in a longer run, at each place where three begin."""
    import numpy

    places = numpy.flatnonzero(_codes(text) == ord(mark))
    found: list[int] = places[:-2][places[2:] - places[:-2] == 2].tolist()
    return found


def _codes(text: str) -> Any:
    import numpy

    if text.isascii():  # a quarter of the memory
        return numpy.frombuffer(text.encode("ascii"), numpy.uint8)
    return numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32)


@lru_cache(maxsize=8)
def _tables(marks: str) -> tuple[Any, Any]:
    """Of each character, and of all others last: whether it is one of the marks, and whether it may stand alone."""
    import numpy

    wanted, alone = numpy.zeros(_ASCII, numpy.bool_), numpy.zeros(_ASCII, numpy.bool_)
    wanted[[ord(mark) for mark in marks]] = True
    alone[[ord(mark) for mark in _ALONE]] = True
    return wanted, alone
