"""Turns a document into chunks: limit, tiling and overlap. Splitters say where to cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mrengine.chunking.boundaries import NO_CONTEXT, Context
from mrengine.chunking.detect import Splitter, SplitterChoice, check, choose, detect
from mrengine.chunking.guided import Guided
from mrengine.chunking.tokens.safe_cuts import safe_cuts
from mrengine.chunking.tokens.tokenizer import PAIR, tokenizer
from mrengine.errors import ChunkingError
from mrengine.records import Chunk, above
from mrengine.sources.opening import BLOCK, TextSource, blocks

if TYPE_CHECKING:
    from mrengine.chunking.guide import Guide
    from mrengine.chunking.tokens.token_index import TokenIndex

__all__ = ["Chunker"]

_CONTEXT = 0.25  # of a chunk may be titles and the head of a table
_PARTED = " > "  # stands between titles
_MANY_TITLES = 1000
_JOINT = 2  # tokens: a text behind another has at most so many more than by itself


class Chunker:
    """A configured way to cut documents; make it once, use it for many.

    ``target_tokens``: the limit of a chunk, its overlap included; None gives one chunk a document.
    ``overlap_tokens``: at most so many tokens of whole sentences (elements, lines) before ``start`` are in the text.
    Raises ChunkingError for limits, encodings and splitters that cannot work.
    """

    def __init__(
        self,
        *,
        target_tokens: int | None = 6000,
        overlap_tokens: int = 350,
        encoding: str = "o200k_base",
        splitter: SplitterChoice = "auto",
    ) -> None:
        _check_limits(target_tokens, overlap_tokens)
        self.target_tokens = target_tokens
        self.overlap_tokens = overlap_tokens if target_tokens is not None else 0
        self.splitter = splitter
        check(splitter)
        self._tokenizer = tokenizer(encoding)
        self._cuts = safe_cuts(encoding)
        self._above: tuple[tuple[tuple[str, ...], str], int] = (((), ""), 0)  # what was counted last
        self._titles: dict[str, int] = {}  # the tokens of parts of lines of titles

    def prepare(self) -> None:
        """Load now what cutting needs (numpy, tables: 0.14 s, 25 MB), not with the first document that is cut."""
        if self.target_tokens is not None:
            _ = self._tokenizer.token_ends

    def chunk(
        self, document: TextSource, *, document_id: str = "document", first_id: int = 0, guide: Guide | None = None
    ) -> Iterator[Chunk]:
        """The chunks of one document, in order, ids from ``first_id``. An empty document has none. ``guide``: how an
        earlier version of it was cut.

        Raises SourceError, while iterated, for what cannot be read or decoded.
        """
        target = self.target_tokens
        if target is None:
            return self._whole(document, document_id, first_id)
        if isinstance(document, str) and not document:
            return iter(())
        if isinstance(document, str) and (found := self.whole(document, document_id)) is not None:
            return iter((Chunk(first_id, document_id, 0, len(document), 0, *found, document),))
        return self._cut(document, target, document_id, first_id, Guided(self, guide) if guide else None)

    def whole(self, text: str, name: str = "") -> tuple[int, str] | None:
        """Tokens and kind of a short text that is one chunk: ``chunk()`` without its objects, for rows of a table.

        None: that has to be asked. ``name``: of the document.
        """
        target, splitter = self.target_tokens, self.splitter
        if target is None or not 0 < len(text) <= target or callable(splitter):
            return None
        count = self._tokenizer.count(text)
        if count > target:
            return None
        return count, detect(text[:BLOCK], name) if splitter == "auto" else splitter

    def _single(self, text: str, count: int, document_id: str, chunk_id: int, name: str = "") -> Iterator[Chunk]:
        if not text:
            return iter(())
        name = name or document_id
        kind = detect(text[:BLOCK], name) if self.splitter == "auto" else _kind(self.splitter)
        return iter((Chunk(chunk_id, document_id, 0, len(text), 0, count, kind, text),))

    def _whole(self, document: TextSource, document_id: str, first_id: int) -> Iterator[Chunk]:
        text = document if isinstance(document, str) else "".join(blocks(document))
        count = self._tokenizer.count(text)
        yield from self._single(text, count, document_id, first_id, _name(document, document_id))

    def _cut(
        self, document: TextSource, target: int, document_id: str, chunk_id: int, guided: Guided | None
    ) -> Iterator[Chunk]:
        from mrengine.chunking.tokens.token_index import TokenIndex

        splitter, source = choose(self.splitter, target, blocks(document), _name(document, document_id))
        ruler = TokenIndex(source, self._tokenizer, self._cuts, near=max(64, min(target, 4096)))
        previous = lead = start = 0
        seen = ""
        while True:
            moved = ruler.fill(start, 2 * target + 64, keep=previous)
            previous, lead, start = previous - moved, lead - moved, start - moved
            if start == len(ruler.text):
                return
            if ruler.text is not seen:
                seen = ruler.text
                splitter.see(seen, ruler.base)
            context, room = self._context(splitter, ruler.text, start, target)
            if guided is None:
                lead, end, count = self.next(ruler, splitter, lead, start, room)
            else:
                lead, end, count = guided.next(ruler, splitter, (previous, lead, start), room)
            splitter.spent(1 - count / room)
            text, base = ruler.text[lead:end], ruler.base
            yield Chunk(
                chunk_id, document_id, base + start, base + end, start - lead, count, splitter.kind, text, *context
            )
            chunk_id += 1
            previous, start = start, end
            lead = self._lead(ruler, splitter, previous, start)

    def _context(self, splitter: Splitter, text: str, start: int, target: int) -> tuple[Context, int]:
        """What a chunk at ``start`` has lost, and the tokens that are left for its text.

        Where titles and table header would take too much, first the header is left out, then the outermost titles.
        """
        context = splitter.context(text, start)
        if context == NO_CONTEXT:
            return context, target
        most = int(target * _CONTEXT)
        headings, header = context
        while (taken := self._taken(headings, header)) > most:
            if not headings and not header:
                return NO_CONTEXT, target
            headings, header = (headings, "") if header else (headings[1:], "")
        return Context(headings, header), target - taken

    def _taken(self, headings: tuple[str, ...], header: str) -> int:
        """The tokens of what stands above a text."""
        if self._above[0] != (headings, header):
            tokens = self._titles_taken(headings) if headings and not header else 0
            self._above = ((headings, header), (tokens or self._tokenizer.count(above(headings, header))) + _JOINT)
        return self._above[1]

    def _titles_taken(self, headings: tuple[str, ...]) -> int:
        """The tokens of the line of titles; outer ones come again and again. 0 where they cannot be summed up."""
        parts = [_PARTED + title for title in headings]
        parts[0] = parts[0].replace(_PARTED, "[", 1)  # as ``above`` writes them
        parts[-1] += "]\n"
        # Only behind what is no blank the tokens of both sides add up.
        if not headings[0] or any(part[-1].isspace() for part in parts[:-1]):
            return 0
        known = self._titles
        if len(known) > _MANY_TITLES:
            known.clear()
        total, new = 0, ""
        for part in parts:
            tokens = known.get(part)
            if tokens is None:
                known[part] = 0  # not counted alone: most titles come once, and new ones are counted together
                new += part
            else:
                if not tokens:
                    tokens = known[part] = self._tokenizer.count(part)
                total += tokens
        return total + self._tokenizer.count(new) if new else total

    def next(self, ruler: TokenIndex, splitter: Splitter, lead: int, start: int, target: int) -> tuple[int, int, int]:
        """Where the chunk begins (with its overlap) and ends, and its tokens: the most that fits."""

        def fits(begin: int, stop: int, share: float = 1.0, /) -> bool:
            return ruler.fits(begin, stop, int(target * share))

        limit = target
        while limit > 0:
            high = end = ruler.reach(lead, limit)
            if high > start and (high < len(ruler.text) or not ruler.ended):
                # From ``lead``: where the overlap would tear what fits without it, the answer is not behind ``start``.
                end = splitter.cut(ruler.text, lead, high, fits)
            if end <= start:
                break
            count = ruler.count(lead, end)
            if count <= target:
                return lead, end, count
            limit -= count - target
        if lead < start:
            return self.next(ruler, splitter, start, start, target)
        return self._least(ruler, start, target)

    def _least(self, ruler: TokenIndex, start: int, target: int) -> tuple[int, int, int]:
        """One character, or a ChunkingError: there is a character that needs more tokens than the limit allows."""
        pair = PAIR.match(ruler.text, start) is not None
        end = start + (2 if pair else 1)
        count = ruler.count(start, end)
        if count > target:
            raise ChunkingError(
                f"the character at {ruler.base + start} takes {count} tokens, more than target_tokens={target}",
                offset=ruler.base + start,
                tokens=count,
                target_tokens=target,
            )
        return start, end, count

    def _lead(self, ruler: TokenIndex, splitter: Splitter, previous: int, start: int) -> int:
        """Where the overlap of the chunk at ``start`` begins: inside the chunk before it, at a whole sentence."""
        if not self.overlap_tokens:
            return start
        low = max(previous + 1, ruler.before(start, self.overlap_tokens))
        while low < start:
            lead = max(low, splitter.resume(ruler.text, low, start))
            if lead >= start or ruler.count(lead, start) <= self.overlap_tokens:
                return lead
            low = lead + 1
        return start


def _name(document: TextSource, document_id: str) -> str:
    """What a document is called, where it has a name of its own."""
    return os.fspath(document) if isinstance(document, Path) else document_id


def _kind(splitter: SplitterChoice) -> str:
    return splitter if isinstance(splitter, str) else "custom"


def _check_limits(target_tokens: int | None, overlap_tokens: int) -> None:
    for name, value in (("target_tokens", target_tokens), ("overlap_tokens", overlap_tokens)):
        if value is not None and not _is_int(value):
            raise ChunkingError(f"{name} must be an int, not {type(value).__name__}", **{name: value})
    if target_tokens is not None and target_tokens < 1:
        raise ChunkingError(f"target_tokens must be at least 1, not {target_tokens}", target_tokens=target_tokens)
    if overlap_tokens < 0:
        raise ChunkingError(f"overlap_tokens must not be negative, not {overlap_tokens}", overlap_tokens=overlap_tokens)
    if target_tokens is not None and overlap_tokens >= target_tokens:
        raise ChunkingError(
            f"overlap_tokens={overlap_tokens} leaves no room: it must be less than target_tokens={target_tokens}",
            target_tokens=target_tokens,
            overlap_tokens=overlap_tokens,
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
