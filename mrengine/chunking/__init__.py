"""Documents → chunks: exact, lossless, faster than a tokenizer alone. Start reading at ``chunker``."""

from __future__ import annotations

from collections.abc import Iterator

from mrengine.chunking.chunker import Chunker
from mrengine.chunking.detect import SplitterChoice
from mrengine.records import Chunk
from mrengine.sources.opening import TextSource

__all__ = ["Chunker", "safe_chunk"]


def safe_chunk(
    document: TextSource,
    *,
    target_tokens: int | None = 6000,
    overlap_tokens: int = 350,
    encoding: str = "o200k_base",
    splitter: SplitterChoice = "auto",
    document_id: str = "document",
    first_id: int = 0,
) -> Iterator[Chunk]:
    """Cut a document into chunks of at most ``target_tokens`` tokens by tiktoken's own count; no character is lost.

    ``document``: a str (always text), Path, bytes (UTF-8), text or binary file object, or an iterable of the pieces of
    one text. ``splitter``: "auto", a kind of text, or a callable(text) → preferred cut offsets (ints from 0 to
    ``len(text)``, in any order). ``start:end`` of the chunks tile the document; ``text`` is
    ``document[start - overlap : end]``.

    Raises ChunkingError at once for limits, encodings and splitters that cannot work. While iterated: SourceError for
    documents that cannot be read or decoded, ChunkingError for offsets that are none, and what the callable raises.
    """
    chunker = Chunker(target_tokens=target_tokens, overlap_tokens=overlap_tokens, encoding=encoding, splitter=splitter)
    chunker.prepare()
    return chunker.chunk(document, document_id=document_id, first_id=first_id)
