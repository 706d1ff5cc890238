"""A vote among the answers of several models to the same chunk."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mrengine.errors import ConfigError
from mrengine.log.format.values import normalise
from mrengine.records import ChunkResult
from mrengine.reducers.texts import failures_of, in_order, label_of

__all__ = ["consensus_aggregator"]


@dataclass(frozen=True, slots=True)
class _Vote:
    label: str
    prediction: Any
    confidence: float
    model: str | None
    rank: int  # of the model among the job's models


def consensus_aggregator(results: Sequence[ChunkResult] | None = None, *, quorum: int | None = None) -> Any:
    """The answer of most models to each chunk. ``consensus_aggregator(quorum=2)`` is a reduce function with a quorum.

    The vote of a result is its ``"prediction"`` if it is a dict with one, else the result itself; its ``"confidence"``
    is 0 if it has no number of that name. None is no vote.

    Returns ``{"consensus_results": [{"chunk_id": int, "consensus_prediction": the value most models gave,
    "confidence": float, "votes": {prediction: count}, "models": [str, …], "tie": bool}, …], "metadata":
    {"avg_confidence": float}}`` with an entry for each chunk, in order. ``confidence`` is the winner's votes divided by
    the number of the job's models, so that a missing vote counts against it. ``tie``: another prediction has as many
    votes; the sum of the voters' confidence decides, then the order of the models. ``quorum``: the number of votes that
    the winner needs, else the prediction is None; each entry then has ``"quorum": bool``. A chunk without a vote has
    the prediction None and the confidence 0. Keys of ``votes`` are the predictions, as JSON unless they are strings;
    ``models`` are those that voted. ConfigError: a quorum below 1.
    """
    if quorum is not None and (type(quorum) is not int or quorum < 1):
        raise ConfigError(f"quorum={quorum!r}: a number of votes, at least 1", setting="quorum")
    if results is None:
        return partial(consensus_aggregator, quorum=quorum)
    ordered, failures = in_order(results), failures_of(results)
    answered = [(item.chunk_id, item.model) for item in ordered] + [(f.chunk_id, f.model) for f in failures]
    # Models in order of appearance, those of failures too: a model that has answered elsewhere is missed here.
    ranks = {model: rank for rank, model in enumerate(dict.fromkeys(model for _, model in answered))}
    outcomes = Counter(chunk for chunk, _ in answered)
    votes: dict[int, list[_Vote]] = defaultdict(list)
    for item in ordered:
        vote = _vote(item, ranks[item.model])
        if vote.prediction is not None:
            votes[item.chunk_id].append(vote)
    # Results without a model's name have one rank between them: there each outcome of the chunk is a voter.
    entries = [_entry(chunk, votes[chunk], max(outcomes[chunk], len(ranks)), quorum) for chunk in sorted(outcomes)]
    confidences = [entry["confidence"] for entry in entries]
    average = math.fsum(confidences) / len(confidences) if confidences else 0.0
    return {"consensus_results": entries, "metadata": {"avg_confidence": average}}


# Read by the runner: every model on every chunk, unless the job says otherwise.
consensus_aggregator.balance = "all"  # type: ignore[attr-defined]


def _vote(item: ChunkResult, rank: int) -> _Vote:
    value: Any = normalise(item.result)  # results with a type are instances
    confidence: Any = None
    if isinstance(value, Mapping) and "prediction" in value:
        value, confidence = value["prediction"], value.get("confidence")
    # True and NaN are no confidence: one is an int, the other would make every comparison of sums false.
    number = isinstance(confidence, (int, float)) and not isinstance(confidence, bool) and math.isfinite(confidence)
    return _Vote(label_of(value), value, float(confidence) if number else 0.0, item.model, rank)


def _entry(chunk_id: int, votes: Sequence[_Vote], expected: int, quorum: int | None) -> dict[str, Any]:
    votes = sorted(votes, key=lambda vote: vote.rank)
    groups: dict[str, list[_Vote]] = defaultdict(list)
    for vote in votes:
        groups[vote.label].append(vote)
    winner = max(groups.values(), key=_weight, default=[])
    reached = len(winner) >= (quorum or 1)
    entry = {
        "chunk_id": chunk_id,
        "consensus_prediction": winner[0].prediction if reached else None,
        "confidence": len(winner) / expected,
        "votes": {label: len(group) for label, group in groups.items()},
        "models": [vote.model for vote in votes if vote.model is not None],
        "tie": sum(len(group) == len(winner) for group in groups.values()) > 1,
    }
    return entry if quorum is None else entry | {"quorum": reached}


def _weight(group: Sequence[_Vote]) -> tuple[int, float, int]:
    """The order of predictions: by votes, then by the voters' confidence, then by the first model."""
    # fsum is exact: which prediction wins must not depend on the order of the results.
    return len(group), math.fsum(vote.confidence for vote in group), -group[0].rank
