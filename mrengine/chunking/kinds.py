"""Owns the kinds of text: which splitter a text gets, by name or by looking at its beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from mrengine.chunking.prose import Prose
from mrengine.errors import ChunkingError

__all__ = ["Splitter", "check", "choose", "detect"]


class Splitter(Protocol):
    """Where to cut. Offsets are characters of the window ``text``; one object serves one document."""

    @property
    def kind(self) -> str: ...

    def cut(self, text: str, start: int, high: int, fits: Callable[[int, int], bool]) -> int: ...

    def resume(self, text: str, low: int, start: int) -> int: ...


_KINDS: dict[str, Callable[[], Splitter]] = {"prose": Prose}


def check(splitter: str | Callable[[str], object]) -> None:
    """ChunkingError for a splitter that is neither "auto", a known name nor a callable."""
    if not callable(splitter) and splitter != "auto" and splitter not in _KINDS:
        known = ", ".join(("auto", *_KINDS))
        raise ChunkingError(f"unknown splitter {splitter!r}: use one of {known}, or a callable", splitter=splitter)


def choose(splitter: str | Callable[[str], object], blocks: Iterator[str]) -> tuple[Splitter, Iterator[str]]:
    """The splitter for a document, and its blocks again (the first was looked at)."""
    first = next(blocks, "")
    name = detect(first) if splitter == "auto" else splitter
    return _KINDS[str(name)](), chain((first,), blocks)


def detect(text: str) -> str:
    """The kind of a text, from its beginning."""
    return "prose"
