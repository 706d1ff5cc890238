"""Looks at a text line by line near a place. A line ends with LF, CRLF or CR alone."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Line", "each_line", "each_line_back", "line_at", "lines_between", "unified"]

_MORE = 160  # characters of the last line that are looked at


# A line that is not blank: where it begins, the line without its end, and whether the line above is blank.
Line = tuple[int, str, bool]


def unified(text: str) -> str:
    """The text with LF for every end of a line, as long as it was: the CR of a CRLF becomes a blank."""
    return text.replace("\r\n", " \n").replace("\r", "\n") if "\r" in text else text


def line_at(text: str, begin: int, stop: int) -> str:
    """The line at ``begin`` without its newline, up to ``stop``."""
    end = text.find("\n", begin, stop)
    return text[begin : end if end >= 0 else stop]


def lines_between(text: str, low: int, high: int, more: int = _MORE) -> list[Line]:
    """The lines that begin in ``low + 1 .. high``, blank ones left out. The last may be cut short after ``more``."""
    return list(each_line(text, low, high, more))


def each_line(text: str, low: int, high: int, more: int = _MORE) -> Iterator[Line]:
    """The same, one by one."""
    low = max(low, 0)
    piece = text[low : high + more]
    if "\r" in piece:
        piece = unified(piece)
    first = piece.find("\n") + 1
    if not first or low + first > high:
        return
    blank = _is_blank(text, low, piece[:first])
    begin = low + first
    for line in piece[first:].split("\n"):
        if begin > high:
            break
        if line and not line.isspace():
            yield begin, line, blank
            blank = False
        else:
            blank = True
        begin += len(line) + 1


def each_line_back(text: str, low: int, high: int, more: int = _MORE) -> Iterator[Line]:
    """The same from the last to the first; those that nobody asks for cost nothing."""
    low, stop = max(low, 0), high + more
    if text.find("\r", low, stop) >= 0:
        yield from reversed(lines_between(text, low, high, more))
        return
    first = text.find("\n", low, high) + 1
    if not first:
        return
    begin = text.rfind("\n", low, high) + 1
    end = text.find("\n", begin, stop)
    line = text[begin : end if end >= 0 else stop]
    while begin > first:
        before = text.rfind("\n", low, begin - 1) + 1
        above = text[before : begin - 1]
        if line and not line.isspace():
            yield begin, line, not above or above.isspace()
        begin, line = before, above
    if line and not line.isspace():
        yield begin, line, _is_blank(text, low, text[low:first])


def _is_blank(text: str, low: int, piece: str) -> bool:
    """Whether the line is blank that ends with ``piece``, which begins at ``low``."""
    above = piece if piece[:-1].strip() else unified(text[max(0, low - 200) : low]) + piece
    return not above[above.rfind("\n", 0, len(above) - 1) + 1 :].strip()
