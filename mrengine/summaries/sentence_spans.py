"""Finds the sentences of any script, as spans that cover the text except for the white space between them."""

from __future__ import annotations

import regex

from mrengine.chunking.splitters.abbreviations import is_abbreviation

__all__ = ["sentences"]

_MARK = r"(?:\s*\[\d+(?:, \d+)*\])*"  # marks behind a full stop belong to the sentence before them
_STOP = regex.compile(
    rf"(?P<full>[。！？｡︒]+[」』”’\"')）\]]*{_MARK})"
    rf"|(?P<stop>[.!?…։।॥။។؟۔]+[\"'”’»)\]]*{_MARK})(?=\s|$)"
)
_LINE = regex.compile(r"[^\n]+")
_NEW_LINE = regex.compile(r"\s*(?:[-*+•‣–][ \t]|\d{1,3}[.)][ \t]|#{1,6}[ \t]|\|)")  # an item, a heading, a row
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}.]+$")
_AMOUNT = regex.compile(r"\d\s?\p{L}{1,4}$")
_BLANK = regex.compile(r"[ \t\u3000]+")
_THAI = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_LONG = 120  # characters; in a script without full stops, a blank behind so many ends a sentence
_LONGEST = 2_000  # characters; in any script


def sentences(text: str, *, wrapped: bool = False) -> list[tuple[int, int]]:
    """The spans of the sentences. ``wrapped``: a sentence may go on over a line's end; else that ends one."""
    spans = (span for block in _blocks(text, wrapped=wrapped) for span in _of_block(text, *block))
    return [trimmed for span in spans if (trimmed := _trimmed(text, *span)) is not None]


def _blocks(text: str, *, wrapped: bool) -> list[tuple[int, int]]:
    """Lines; if ``wrapped``, paragraphs, items and headings."""
    blocks: list[tuple[int, int]] = []
    open_until = -1  # where the line before ends, if this one may go on with it
    for line in _LINE.finditer(text):
        if not line.group().strip():
            open_until = -1
            continue
        joins = wrapped and line.start() == open_until + 1 and not _NEW_LINE.match(line.group())
        if joins and blocks:
            blocks[-1] = (blocks[-1][0], line.end())
        else:
            blocks.append(line.span())
        open_until = line.end() if not line.group().lstrip().startswith("#") else -1  # a heading ends with its line
    return blocks


def _of_block(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    begin = start
    for stop in _STOP.finditer(text, start, end):
        if stop["stop"] and _goes_on(text, begin, stop, end):
            continue
        spans.append((begin, stop.end()))
        begin = stop.end()
    if begin < end:
        spans.append((begin, end))
    return [part for span in spans for part in _short(text, *span)]


def _goes_on(text: str, begin: int, stop: regex.Match[str], end: int) -> bool:
    """Whether a full stop belongs to an abbreviation, a number or initials."""
    following = text[stop.end() : min(end, stop.end() + 8)].lstrip()
    if following[:1].islower():
        return True
    if stop["stop"] != ".":
        return False
    word = _WORD.search(text, begin, stop.start())
    if word is None:
        return text[stop.start() - 1] not in "])}\"'”’»%"
    if not text[begin : word.start()].strip() and word.group().isdigit():
        return True  # "1." at the head of an item
    if not following or _AMOUNT.search(text, begin, stop.start()):
        return False  # "20 mg. The dose": a unit ends a sentence where another begins
    return is_abbreviation(text, stop.start())


def _short(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A span without a full stop, cut at blanks if its script has none, or if it is longer than any sentence."""
    if end - start <= _LONG or not (_THAI.search(text, start, end) or end - start > _LONGEST):
        return [(start, end)]
    least = _LONG if end - start <= _LONGEST or _THAI.search(text, start, end) else _LONGEST // 2
    parts, begin = [], start
    for blank in _BLANK.finditer(text, start, end):
        if blank.start() - begin >= least:
            parts.append((begin, blank.start()))
            begin = blank.end()
    return [*parts, (begin, end)]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end = start + len(part.strip())
    return (start, end) if start < end else None
