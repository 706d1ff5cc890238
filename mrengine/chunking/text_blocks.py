"""Where documents enter: each kind becomes the same stream of text blocks, whatever it came from.

A block has ``BLOCK`` characters, except the last; surrogate pairs may be split, CRLF, NUL and BOM are left as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from mrengine.errors import SourceError
from mrengine.sources.notes import Notes
from mrengine.sources.opening import File, open_pieces
from mrengine.sources.urls import Url

__all__ = ["BLOCK", "Source", "blocks"]

BLOCK = 1 << 17

# str (always text), Path, Url, bytes, a text or binary file object, or an iterable of the pieces of one text
Source = Any


def blocks(document: Source, *, size: int = BLOCK, name: str = "", notes: Notes | None = None) -> Iterator[str]:
    """The text of a document in blocks of ``size`` characters. ``name``: what errors call it if it has none.

    ``notes``: takes what else is learned; without it, what the caller must hear is logged. Raises SourceError for what
    cannot be read, is of no kind of which text is made, or is damaged (``offset`` in bytes).
    """
    if isinstance(document, str):
        return _slices(document, size)
    if notes is not None:
        return _regrouped(_pieces(document, size, name, notes), size)
    return _telling(document, size, name)


def _telling(document: Source, size: int, name: str) -> Iterator[str]:
    notes = Notes()
    yield from _regrouped(_pieces(document, size, name, notes), size)
    notes.log()


def _slices(text: str, size: int) -> Iterator[str]:
    if len(text) <= size:
        yield text
        return
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def _regrouped(pieces: Iterable[str], size: int) -> Iterator[str]:
    waiting: list[str] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            text = "".join(waiting)
            whole = length - length % size
            yield from _slices(text[:whole], size)
            waiting, length = [text[whole:]], length - whole
    if length:
        yield "".join(waiting)


def _pieces(document: Source, size: int, name: str, notes: Notes) -> Iterator[str]:
    kinds = (os.PathLike, bytes, bytearray, memoryview, File, Url)
    if isinstance(document, kinds) or hasattr(document, "read"):
        return open_pieces(document, size, name, notes)
    if isinstance(document, Iterable):
        return _checked(document)
    kind = type(document).__name__
    message = f"a document cannot be of type {kind}: give a str, Path, Url, bytes, file or iterable of str"
    raise SourceError(message, source=kind)


def _checked(pieces: Iterable[Any]) -> Iterator[str]:
    for piece in pieces:
        if not isinstance(piece, str):
            kind = type(piece).__name__
            raise SourceError(f"an iterable document must give str pieces of one text, not {kind}", source=kind)
        yield piece
