"""What a loader gives: pieces of text, each perhaps with the number of the page it stands on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from mrengine.errors import SourceError

__all__ = ["Loader", "Notes", "Piece", "text_of"]


class Piece(NamedTuple):
    """A piece of a document's text. ``page``: the number of the page on which it begins; None: the one before."""

    text: str
    page: int | None = None


@runtime_checkable
class Loader(Protocol):
    """Makes text of one kind of file. An entry point of the group ``mrengine.loaders`` names a class or an instance.

    ``suffixes``: in lower case, with their dot; ``media_types``: as servers tell them. ``load`` is given a binary file
    at its beginning that can seek, and gives pieces of text, ``Piece`` or str; whatever it raises is the source's
    fault, and reported without a word of it unless it is a SourceError.
    """

    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]

    def load(self, binary: BinaryIO) -> Iterable[Piece | str]:
        """The text of a file, in order."""
        ...


def text_of(pieces: Iterable[Piece | str], pages: list[tuple[int, int]], name: str) -> Iterator[str]:
    """The text of some pieces; where each page begins goes to ``pages``, as it comes by."""
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
    """``pages``: (number, offset of its first character) of each page, in order. ``warnings``: for the caller."""

    pages: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Say it where nobody else does."""
        for line in self.warnings:
            log.warning("%s", line)
