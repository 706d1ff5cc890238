"""The contract of loaders: pieces of text, with the numbers of the pages they begin on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from mrengine.errors import SourceError

__all__ = ["Loader", "Notes", "Piece", "text_of"]


class Piece(NamedTuple):
    """A piece of a document's text. ``page``: the number of the page on which it begins; None: as the one before."""

    text: str
    page: int | None = None


@runtime_checkable
class Loader(Protocol):
    """Makes text of one kind of file. An entry point of the group ``mrengine.loaders`` names a class or an instance.

    ``suffixes``: in lower case, with their dot; ``media_types``: as servers send them. ``load`` takes a seekable binary
    file at its beginning and returns pieces of text, ``Piece`` or str. Whatever it raises makes its source unreadable;
    of a message, which may quote the document, only that of a SourceError is shown.
    """

    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]

    def load(self, binary: BinaryIO) -> Iterable[Piece | str]:
        """The text of a file, in order."""
        ...


def text_of(pieces: Iterable[Piece | str], pages: list[tuple[int, int]], name: str) -> Iterator[str]:
    """The text of some pieces; (number, offset) of each page is appended to ``pages`` as it comes by."""
    at = 0
    for piece in pieces:
        text, page = (piece, None) if isinstance(piece, str) else piece
        if not isinstance(text, str):
            raise SourceError(f"the loader of {name} gave {type(text).__name__}, not text", source=name)
        if page is not None and (not pages or pages[-1][0] != page):
            pages.append((int(page), at))
        if text:
            at += len(text)
            yield text


log = logging.getLogger("mrengine")


@dataclass(slots=True)
class Notes:
    """What is learned while a text is read. ``pages``: (number, offset of its first character) of each page, in order;
    ``warnings``: for the user.
    """

    pages: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Log the warnings, for a caller who does not take the notes."""
        for line in self.warnings:
            log.warning("%s", line)
