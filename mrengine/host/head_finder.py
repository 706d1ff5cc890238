"""Finds where the titles and table headers above chunks stand in the spool: the log keeps only these places."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from mrengine.log.format.heads import (
    AS_IT_STANDS,
    IN_MARKUP,
    IN_WORDS,
    NO_HEADS,
    WITH_NEWLINE,
    Head,
    HeadPlaces,
    Heads,
    digest_of,
    text_of,
)

__all__ = ["HeadFinder", "Read"]

Read = Callable[[int, int], bytes | None]  # the bytes between two offsets of the spool
_NEAR, _BLOCK = 1 << 13, 1 << 16  # bytes of the first block that is searched, and of the largest: most are near
_REACH = 1 << 13  # bytes that a title with its markup, or a table header, takes at most: so far blocks overlap
_MOST = 256  # places that are remembered
# All that str.split() takes for blanks, in UTF-8: titles are kept with single spaces, however the text wraps them.
_BLANK = rb"[\x09-\x0d\x1c-\x20]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
_BLANKS = b"(?:" + _BLANK + b")+"
_HEADING = re.compile(rb"<[hH][1-6](?:[^<]|<(?!/?[hH]))*(?=</[hH])")  # no part of a text is looked at twice


class HeadFinder:
    """Finds the heads (titles and table headers) of one document, chunk after chunk.

    A head is looked for once, backwards from the first chunk below it. So each level of titles reads the document once
    at most.
    """

    def __init__(self, begin: int, read: Read) -> None:
        """``begin``: where the document begins in the spool."""
        self._begin, self._read = begin, read
        self._known: dict[tuple[str, bool], Head | None] = {}  # the last one used is last
        self._last: tuple[Heads, HeadPlaces] = (((), ""), NO_HEADS)

    def places(self, heads: Heads, kind: str, before: int) -> HeadPlaces:
        """The places of the heads of a chunk of this kind that ends at ``before``. A head that is not in the document
        is left out.
        """
        if self._last[0] != heads:
            titles = [(text, self._place(text, kind, before, is_title=True)) for text in heads[0]]
            header = [(text, self._place(text, kind, before, is_title=False)) for text in heads[1:] if text]
            known: Heads = (_texts(titles), "".join(_texts(header)))
            places = HeadPlaces(digest_of(known), _found(titles), _found(header)) if known != ((), "") else NO_HEADS
            self._last = heads, places
        return self._last[1]

    def _place(self, text: str, kind: str, before: int, *, is_title: bool) -> Head | None:
        key = text, is_title
        place = self._known.pop(key) if key in self._known else self._look_for(text, kind, before, is_title=is_title)
        self._known[key] = place
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return place

    def _look_for(self, text: str, kind: str, before: int, *, is_title: bool) -> Head | None:
        form = WITH_NEWLINE if text.endswith("\n") else AS_IT_STANDS
        data = text[: len(text) - (form == WITH_NEWLINE)].encode("utf-8", "surrogatepass")
        marks: re.Pattern[bytes] | None = _HEADING if kind == "html" else None
        stop, size = before, _NEAR
        while stop > self._begin:
            start, size = max(self._begin, stop - size), min(_BLOCK, 2 * size)
            # To the chunk's end, and not to its beginning: a chunk may begin inside its own title.
            block = self._read(start, min(before, stop + _REACH + len(data)))
            if block is None:
                return None
            at = block.rfind(data)
            if at >= 0:
                return Head(start + at, start + at + len(data), form)
            if is_title:
                marks = marks or re.compile(_BLANKS.join(map(re.escape, data.split(b" "))))
                other = IN_MARKUP if marks is _HEADING else IN_WORDS
                for match in reversed(list(marks.finditer(block))):
                    if _says(match[0], other, text):
                        return Head(start + match.start(), start + match.end(), other)
            stop = start
        return None


def _says(data: bytes, form: int, title: str) -> bool:
    with suppress(UnicodeDecodeError):  # a character that the block's edge has cut
        return text_of(data, form) == title
    return False


def _texts(heads: list[tuple[str, Head | None]]) -> tuple[str, ...]:
    return tuple(text for text, place in heads if place is not None)


def _found(heads: list[tuple[str, Head | None]]) -> tuple[Head, ...]:
    return tuple(place for _, place in heads if place is not None)
