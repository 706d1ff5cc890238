"""Chooses what a question is about, without a model: BM25 over words of any script. Needs the extra ``select``."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import regex

from mrengine.errors import ConfigError

__all__ = ["scores", "select_top_k", "words_of"]

T = TypeVar("T")
_RUN = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc々]+")
_EMPTY = "\u0000"  # stands for a text without a word


def words_of(text: str) -> list[str]:
    """The words of a text, in one form. Where a script has no spaces between words: each pair of characters.

    Case, width and composition make no difference; nor does the "s" of an English plural.
    """
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        at = 0
        for part in _UNSPACED.finditer(run):
            found += _word(run[at : part.start()])
            found += _pairs(part.group())
            at = part.end()
        found += _word(run[at:])
    return found


def _word(word: str) -> list[str]:
    if not word:
        return []
    plural = len(word) > 3 and word.isascii() and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return [word[:-1] if plural else word]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] if len(run) > 1 else [run]


def scores(texts: Sequence[str], query: str) -> list[float]:
    """How much each text has to do with the query; 0: no word of it. ConfigError: the extra is not installed."""
    try:
        import bm25s
    except ImportError:
        raise ConfigError(
            "choosing chunks or sentences needs BM25: run pip install 'mrengine[select]'", setting="top_k"
        ) from None
    asked = list(dict.fromkeys(words_of(query)))
    corpus = [words_of(text) or [_EMPTY] for text in texts]
    known = {word for words in corpus for word in words}
    asked = [word for word in asked if word in known]
    if not corpus or not asked:
        return [0.0] * len(texts)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it says on stderr that it builds its index
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return [float(score) for score in index.get_scores(asked)]


def select_top_k(
    chunks: Iterable[T],
    query: str,
    k: int | None = 10,
    token_budget: int | None = None,
    min_score: float | None = None,
) -> list[T]:
    """The ``k`` chunks that have most to do with the query, in their own order. ``chunks``: Chunks, or texts.

    ``token_budget``: of all that are taken, by tiktoken's count; the best come first, and one that does not fit is
    passed over. ``min_score``: what scores less is never taken. Equal scores: the earlier one. ConfigError: the extra
    ``select`` is not installed, or a number that cannot be.
    """
    if k is not None and (type(k) is not int or k < 1):
        raise ConfigError(f"k={k!r}: a whole number, 1 or more", setting="top_k")
    if token_budget is not None and (type(token_budget) is not int or token_budget < 1):
        raise ConfigError(f"token_budget={token_budget!r}: a whole number, 1 or more", setting="token_budget")
    items = list(chunks)
    ranks = scores([text_of(item) for item in items], query)
    taken = best(ranks, k=k, budget=token_budget, size=lambda at: size_of(items[at]), min_score=min_score)
    return [items[at] for at in taken]


def best(
    ranks: Sequence[float],
    *,
    k: int | None,
    budget: int | None,
    size: Callable[[int], int],
    min_score: float | None = None,
) -> list[int]:
    """The places of the highest ranks, in order of place: at most ``k``, of at most ``budget`` in ``size``."""
    taken: list[int] = []
    left = budget
    for at in sorted(range(len(ranks)), key=lambda at: (-ranks[at], at)):
        if (k is not None and len(taken) == k) or (min_score is not None and ranks[at] < min_score):
            break
        if left is not None:
            needed = size(at)
            if needed > left:
                continue
            left -= needed
        taken.append(at)
    return sorted(taken)


def text_of(item: Any) -> str:
    """A chunk's text below its headings, or the text itself."""
    if isinstance(item, str):
        return item
    return " ".join((*getattr(item, "headings", ()), item.text))


def size_of(item: Any) -> int:
    """Tokens, as the chunk has them, or counted."""
    if not isinstance(item, str) and isinstance(getattr(item, "tokens", None), int):
        return int(item.tokens)
    from mrengine.chunking.tokens import tokenizer

    return tokenizer.count(text_of(item))
