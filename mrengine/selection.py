"""Chooses the texts that a question is about, without a model: BM25 over words of any script (extra ``select``)."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeVar

import regex

from mrengine.errors import ConfigError
from mrengine.setting_checks import check_count

__all__ = ["TopKMap", "best", "is_left_out", "scores", "select_top_k", "text_of", "words_of"]

T = TypeVar("T")
_RUN = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# Scripts whose writers put no blanks between words; the last two are a long vowel and a repetition of Japanese.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc々]+")
_EMPTY = "\u0000"  # the word of a text without words: bm25s takes no empty list


def words_of(text: str) -> list[str]:
    """The words of a text in a normal form: without case, width, composition, and the "s" of an English plural.

    A script without spaces between words gives each pair of characters: most of its words have two.
    """
    words: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        at = 0
        for part in _UNSPACED.finditer(run):
            words += _word(run[at : part.start()])
            words += _pairs(part.group())
            at = part.end()
        words += _word(run[at:])
    return words


def _word(word: str) -> list[str]:
    if not word:
        return []
    # BM25 counts equal words alone: "dose" in the query must find "doses" in a text.
    plural = len(word) > 3 and word.isascii() and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return [word[:-1] if plural else word]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] if len(run) > 1 else [run]


def scores(texts: Sequence[str], query: str) -> list[float]:
    """The BM25 score of each text; 0: it has no word of the query. ConfigError: the extra is not installed."""
    try:
        import bm25s
    except ImportError:
        message = "choosing chunks or sentences needs BM25: run pip install 'mrengine[select]'"
        raise ConfigError(message, setting="top_k") from None
    corpus = [words_of(text) or [_EMPTY] for text in texts]
    vocabulary = {word for words in corpus for word in words}
    query_words = [word for word in dict.fromkeys(words_of(query)) if word in vocabulary]
    if not query_words:
        return [0.0] * len(texts)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs that it builds its index
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return [float(score) for score in index.get_scores(query_words)]


def select_top_k(
    chunks: Iterable[T],
    query: str,
    k: int | None = 10,
    token_budget: int | None = None,
    min_score: float | None = None,
) -> list[T]:
    """The ``k`` chunks that have most to do with the query, in their own order. ``chunks``: Chunks, or texts.

    ``token_budget``: of all chunks together, by tiktoken's count; they are taken by score, and one that does not fit
    is passed over. ``min_score``: chunks with less are not taken. Of equal scores the earlier chunk wins. ConfigError:
    the extra ``select`` is not installed, or a number is out of range.
    """
    check_count("k", k, setting="top_k")
    check_count("token_budget", token_budget)
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
    """The indexes of the highest ranks, in order: at most ``k``, whose sizes sum to at most ``budget``."""
    taken: list[int] = []
    left = budget
    for at in sorted(range(len(ranks)), key=lambda at: (-ranks[at], at)):
        if (k is not None and len(taken) == k) or (min_score is not None and ranks[at] < min_score):
            break
        if left is not None:
            needed = size(at)
            if needed > left:
                continue  # a smaller one may still fit
            left -= needed
        taken.append(at)
    return sorted(taken)


def text_of(item: Any) -> str:
    """A chunk's headings and text, or the text itself."""
    if isinstance(item, str):
        return item
    return " ".join((*getattr(item, "headings", ()), item.text))


def size_of(item: Any) -> int:
    """The tokens of a chunk, as it has them, or of a text, counted."""
    if not isinstance(item, str) and isinstance(getattr(item, "tokens", None), int):
        return int(item.tokens)
    from mrengine.chunking.tokens import tokenizer

    return tokenizer.count(text_of(item))


@dataclass(frozen=True)
class TopKMap:
    """A map function: ``inner`` for the chunks that are closest to the query, ``{"left_out": True}`` for all others."""

    inner: Callable[[Any, Any], Any]
    query: str = field(repr=False)
    k: int
    chosen: frozenset[int] | None = field(default=None, repr=False)

    def prepared(self, chunks: Iterable[Any], room_tokens: int) -> TopKMap:
        """A copy that has chosen among these chunks: at most ``k``, with as many tokens as one call has room for."""
        ids, texts, sizes = [], [], []
        for chunk in chunks:  # in one pass: their texts are read from the spool as they come
            ids.append(chunk.id)
            texts.append(text_of(chunk))
            sizes.append(chunk.tokens)
        ranks = scores(texts, self.query)
        # At least the largest chunk: with a budget below it, the best one might be passed over.
        taken = best(ranks, k=self.k, budget=max([room_tokens, *sizes]), size=sizes.__getitem__)
        return replace(self, chosen=frozenset(ids[at] for at in taken))

    def __call__(self, chunk: Any, context: Any) -> Any:
        """The result of ``inner`` for a chosen chunk."""
        if self.chosen is not None and chunk.id not in self.chosen:
            return {"left_out": True}
        return self.inner(chunk, context)

    @property
    def map_version(self) -> str:
        """The version of ``inner``, and a digest of what decides the choice."""
        # Without ``chosen``, which follows from the documents.
        packed = repr((1, self.query, self.k)).encode("utf-8", "surrogatepass")
        inner: Any = self.inner
        return f"top-{blake2b(packed, digest_size=8).hexdigest()}-{inner.map_version}"

    @property
    def preloads(self) -> tuple[str, ...]:
        """See PromptMap."""
        return tuple(getattr(self.inner, "preloads", ()))


def is_left_out(result: Any) -> bool:
    """Whether this is the result of a chunk that was not chosen."""
    return isinstance(result, Mapping) and dict(result) == {"left_out": True}
