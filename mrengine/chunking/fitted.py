"""The cuts of ``target_tokens="fit"``: one chunk if the document fits one call, else enough for parallel calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from mrengine.chunking.chunker import Chunker
from mrengine.chunking.detect import SplitterChoice, detect
from mrengine.chunking.tokens.tokenizer import tokenizer
from mrengine.records import Chunk
from mrengine.sources.opening import BLOCK, TextSource, blocks

__all__ = ["FittedChunker"]

AT_ONCE = 72  # chunks of a document that is cut: so many calls go at once, where limits allow it
LEAST = 800  # tokens of a chunk: below that, prompts cost more than texts, and sentences lose what they refer to
MOST = 6000  # beyond that, models pass over facts
_OVERLAP = 8  # of a chunk of running text, an eighth at most stands in the one before, too
_DENSE = frozenset({"csv", "json", "log", "xml", "sql", "hl7", "diff", "yaml"})  # fewer words' worth in each token
_CHARS = 8  # of a token, at most, on average over a document


class FittedChunker:
    """Acts like ``Chunker``. ``room``: tokens that one call has for its text."""

    def __init__(
        self, *, room: int, overlap_tokens: int = 350, encoding: str = "o200k_base", splitter: SplitterChoice = "auto"
    ) -> None:
        self.room = room
        self._overlap, self._encoding, self._splitter = overlap_tokens, encoding, splitter
        self._made: dict[int, Chunker] = {}
        self._tokenizer = tokenizer(encoding)

    def prepare(self) -> None:
        """See Chunker."""
        self._chunker(self.room).prepare()

    def chunk(self, document: TextSource, *, document_id: str = "document", first_id: int = 0) -> Iterator[Chunk]:
        """See Chunker. Of a document that is longer, no more is held than what tells that it is."""
        rest = blocks(document)
        head, whole = _taken(rest, max(self.room * _CHARS, AT_ONCE * MOST * 4))
        tokens = self._tokenizer.count(head) if whole else None
        text: Any = head if whole else chain((head,), rest)
        chunker = self._chunker(self._target(head, tokens))
        return chunker.chunk(text, document_id=document_id, first_id=first_id)

    def _target(self, head: str, tokens: int | None) -> int:
        if tokens is not None and tokens <= self.room:
            return self.room
        kind = self._splitter if isinstance(self._splitter, str) else ""
        kind = detect(head[:BLOCK]) if kind == "auto" else kind
        pace = (
            MOST
            if tokens is None
            else max(LEAST * (2 if kind in _DENSE else 1), tokens * _OVERLAP // (AT_ONCE * (_OVERLAP - 1)))
        )
        return min(pace, MOST, self.room)

    def _chunker(self, target: int) -> Chunker:
        if target not in self._made:
            overlap = min(self._overlap, target // _OVERLAP)
            self._made = {
                target: Chunker(
                    target_tokens=target, overlap_tokens=overlap, encoding=self._encoding, splitter=self._splitter
                )
            }
        return self._made[target]


def _taken(pieces: Iterator[str], least: int) -> tuple[str, bool]:
    """The text up to so many characters, and whether that is all of it."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size > least:
            return "".join(taken), False
    return "".join(taken), True
