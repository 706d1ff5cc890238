"""Exact counts of long texts, including runs so long that tiktoken's regular expression fails on them."""

from __future__ import annotations

from mrengine.chunking.tokens.safe_cuts import safe_cuts
from mrengine.chunking.tokens.tokenizer import LONG, Tokenizer

__all__ = ["count_in_parts"]

# Up to here tiktoken handles any run of one character; it fails at about a million, and is slow well before.
_WHOLE = 300_000


def count_in_parts(tokens: Tokenizer, text: str) -> int:
    """Count the tokens of a text of any length, part by part, each ending at a safe cut."""
    cuts = safe_cuts(tokens.name)
    total = position = 0
    while len(text) - position > LONG:
        cut = cuts.last(text, position + 1, position + LONG)
        if cut is None:
            cut = cuts.first(text, position + LONG, len(text))
        cut = len(text) if cut is None else cut
        total += _count_part(tokens, text[position:cut])
        position = cut
    return total + _count_part(tokens, text[position:])


def _count_part(tokens: Tokenizer, text: str) -> int:
    if len(text) <= _WHOLE:
        return len(tokens.encoding._core_bpe.encode_ordinary(text))
    return _count_pieces(tokens, text)


def _count_pieces(tokens: Tokenizer, text: str) -> int:
    """Split by the ``regex`` module, a dependency of tiktoken that does not fail on long runs; count each piece."""
    import regex

    merge = tokens.encoding._core_bpe.encode_single_piece
    pieces = regex.finditer(tokens.encoding._pat_str, text)
    return sum(len(merge(piece.group().encode())) for piece in pieces)
