"""The map function of a ``top_k`` summary: it asks only about the chunks that are closest to the query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from mrengine.selection import best, scores, text_of

__all__ = ["TopKMap", "is_left_out"]


@dataclass(frozen=True)
class TopKMap:
    """``inner`` for the chosen chunks, and ``{"left_out": True}`` for all others, without a call."""

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
