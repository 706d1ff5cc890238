"""Summaries without a model: the sentences that fit the query best or, without one, the text's main subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mrengine.errors import ConfigError
from mrengine.selection import best, scores, words_of
from mrengine.summaries.quotes import page_of
from mrengine.summaries.sentence_spans import sentences
from mrengine.summaries.summary import Claim

__all__ = ["EXTRACT_TOKENS", "ExtractMap", "extracted", "select_sentences"]

EXTRACT_TOKENS = 400  # of a summary without max_tokens
_THEMES = 30  # words that stand for the subjects of a text
_LEAST_WORDS = 3


def select_sentences(text: str, query: str | None, token_budget: int) -> list[str]:
    """The sentences of ``text`` that have most to do with the query, verbatim and in order.

    ``token_budget``: of all together, by tiktoken's count. ``query`` None: those about the text's main subjects.
    ConfigError: the extra ``select`` is not installed.
    """
    if type(token_budget) is not int or token_budget < 1:
        raise ConfigError(f"token_budget={token_budget!r}: a whole number, 1 or more", setting="token_budget")
    return [text[start:end] for start, end in _selected(text, query, token_budget)]


def _selected(text: str, query: str | None, budget: int) -> list[tuple[int, int]]:
    spans = [span for span in sentences(text, wrapped=True) if _says_something(text[slice(*span)])]
    return [spans[at] for at in _chosen([text[slice(*span)] for span in spans], query, budget)]


def _chosen(texts: Sequence[str], query: str | None, budget: int) -> list[int]:
    from mrengine.chunking.tokens import tokenizer  # it loads a vocabulary, which only this method needs

    ranks = scores(texts, query if query is not None and query.strip() else _themes(texts))
    least = None if not query else 1e-9  # a sentence without a word of the query says nothing about it
    return best(ranks, k=None, budget=budget, size=lambda at: tokenizer.count(texts[at]), min_score=least)


def _themes(texts: Sequence[str]) -> str:
    """The words that stand in most texts, but in no more than a third of them."""
    counts = Counter(word for text in texts for word in set(words_of(text)))
    most = max(2, len(texts) // 3)  # more frequent words hold sentences together in any language, and name nothing
    named = [(count, word) for word, count in counts.items() if count <= most]
    return " ".join(word for _, word in sorted(named, key=lambda one: (-one[0], one[1]))[:_THEMES])


def _says_something(sentence: str) -> bool:
    return not sentence.lstrip().startswith("#") and len(words_of(sentence)) >= _LEAST_WORDS


@dataclass(frozen=True)
class ExtractMap:
    """The map function: the best sentences of a chunk, as claims that quote themselves."""

    query: str | None
    token_budget: int

    def __call__(self, chunk: Any, context: Any) -> dict[str, Any]:
        """As ``ClaimMap``; sentences in the overlap are left to the chunk before."""
        base = chunk.start - chunk.overlap
        claims = [
            {
                "text": " ".join(chunk.text[start:end].split()),
                "quote": chunk.text[start:end],
                "start": base + start,
                "end": base + end,
                "page": page_of(chunk, base + start),
                "verified": True,
            }
            for start, end in _selected(chunk.text, self.query, self.token_budget)
            if start >= chunk.overlap or chunk.overlap == 0
        ]
        return {"claims": claims}

    @property
    def map_version(self) -> str:
        """A digest of all that decides which sentences are taken."""
        packed = repr((1, self.query, self.token_budget)).encode("utf-8", "surrogatepass")
        return "extract-" + blake2b(packed, digest_size=8).hexdigest()

    @property
    def preloads(self) -> tuple[str, ...]:
        """See PromptMap."""
        return ("bm25s",)


def extracted(claims: Sequence[Claim], query: str | None, token_budget: int) -> list[int]:
    """The indexes of the claims that are in the summary, in order."""
    return _chosen([claim.quote for claim in claims], query, token_budget)
