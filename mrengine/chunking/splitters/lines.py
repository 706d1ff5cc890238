"""Looks at a text line by line near a place. A line ends with LF, CRLF or CR alone."""

from __future__ import annotations

__all__ = ["Line", "lines_between", "unified"]

_MORE = 160  # characters of the last line that are looked at


# A line that is not blank: where it begins, the line without its end, and whether the line above is blank.
Line = tuple[int, str, bool]


def unified(text: str) -> str:
    """The text with LF for every end of a line, as long as it was: the CR of a CRLF becomes a blank."""
    return text.replace("\r\n", " \n").replace("\r", "\n") if "\r" in text else text


def lines_between(text: str, low: int, high: int, more: int = _MORE) -> list[Line]:
    """The lines that begin in ``low + 1 .. high``, blank ones left out. The last may be cut short after ``more``."""
    low = max(low, 0)
    piece = text[low : high + more]
    if "\r" in piece:
        piece = unified(piece)
    first = piece.find("\n") + 1
    if not first or low + first > high:
        return []
    above = piece[:first] if piece[: first - 1].strip() else unified(text[max(0, low - 200) : low]) + piece[:first]
    blank = not above[above.rfind("\n", 0, len(above) - 1) + 1 :].strip()
    found = []
    begin = low + first
    for line in piece[first:].split("\n"):
        if begin > high:
            break
        if line and not line.isspace():
            found.append((begin, line, blank))
            blank = False
        else:
            blank = True
        begin += len(line) + 1
    return found
