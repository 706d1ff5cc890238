"""Owns what a job would cost, without a call: its chunks are cut and counted, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrengine.budget import estimate_tokens
from mrengine.config import Settings
from mrengine.host.job_identity import chunking_of
from mrengine.providers.models.model import Model
from mrengine.providers.models.resolution import OPENAI
from mrengine.records import Estimate, Usage
from mrengine.sources import documents_of, read_source

__all__ = ["estimate"]

ANSWER_TOKENS = 1024  # max_tokens of a call that says nothing else
FOREIGN_RATIO = 1.3  # another tokenizer's count over ours


def estimate(document: Any, map_fn: Callable[..., Any] | None, settings: Settings, models: Sequence[Model]) -> Estimate:
    """An upper bound for one call a chunk; with ``balance="all"`` one for each model."""
    chunker = chunking_of(settings, models).chunker()
    fields: dict[str, Any] = getattr(map_fn, "prompt_fields", dict)()
    around = estimate_tokens(str(fields.get("template", "")) + str(fields.get("system") or ""))
    answer = int(fields.get("max_tokens") or ANSWER_TOKENS)
    counts = []
    for source in documents_of(document):
        counts += [chunk.tokens for chunk in chunker.chunk(read_source(source.origin), document_id=source.id)]
    chunks, tokens = len(counts), sum(counts) + around * len(counts)
    each = len(models) if settings.balance == "all" else 1
    costs = [_cost(model, tokens, chunks * answer) for model in models]
    cost = None if not costs or None in costs else (sum(costs) if each > 1 else max(costs))  # type: ignore[arg-type, type-var]
    return Estimate(chunks=chunks, calls=chunks * each, input_tokens=tokens * each, cost_usd=cost)


def _cost(model: Model, tokens: int, answers: int) -> float | None:
    ratio = 1.0 if model.base_url == OPENAI else FOREIGN_RATIO
    return None if model.price is None else model.price.cost(Usage(int(tokens * ratio) + 1, answers))
