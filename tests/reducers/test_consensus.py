"""The vote of several models."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.errors import ConfigError
from mrengine.records import ChunkFailure, ChunkResult
from mrengine.reducers import consensus_aggregator


class Results(list[ChunkResult]):
    """As a job gives them: results, and failures beside."""

    def __init__(self, results: list[ChunkResult], failures: tuple[ChunkFailure, ...] = ()) -> None:
        super().__init__(results)
        self.failures = failures


def vote(chunk_id: int, model: str, prediction: Any, confidence: float | None = None) -> ChunkResult:
    value = {"prediction": prediction} | ({} if confidence is None else {"confidence": confidence})
    return ChunkResult(chunk_id, "d", model, 0, value)


def only(results: list[ChunkResult]) -> dict[str, Any]:
    (entry,) = consensus_aggregator(results)["consensus_results"]
    return entry  # type: ignore[no-any-return]


def test_majority_wins() -> None:
    """Two of three: the shape of the contract, and two thirds."""
    answer = consensus_aggregator([vote(0, "a", "flu", 0.2), vote(0, "b", "cold", 0.9), vote(0, "c", "flu", 0.3)])
    assert answer == {
        "consensus_results": [
            {
                "chunk_id": 0,
                "consensus_prediction": "flu",
                "confidence": pytest.approx(2 / 3),
                "votes": {"flu": 2, "cold": 1},
                "models": ["a", "b", "c"],
                "tie": False,
            }
        ],
        "metadata": {"avg_confidence": pytest.approx(2 / 3)},
    }


def test_tie_is_settled_by_confidence_then_by_model_order() -> None:
    """The surer side wins; equally sure, the first model does."""
    assert only([vote(0, "a", "flu", 0.4), vote(0, "b", "cold", 0.6)])["consensus_prediction"] == "cold"
    assert only([vote(0, "a", "flu", 0.5), vote(0, "b", "cold", 0.5)])["consensus_prediction"] == "flu"


def test_a_tie_is_reported() -> None:
    """One against one is no agreement, though one of them has to be taken."""
    assert only([vote(0, "a", "flu"), vote(0, "b", "cold")])["tie"] is True
    assert only([vote(0, "a", "flu"), vote(0, "b", "flu"), vote(0, "c", "cold")])["tie"] is False
    assert only([vote(0, "a", None)])["tie"] is False


def test_below_the_quorum_nothing_is_predicted() -> None:
    """Two votes are needed, whichever models are down."""
    reduce = consensus_aggregator(quorum=2)
    votes = [vote(0, "a", "flu"), vote(0, "b", "cold"), vote(1, "a", "flu"), vote(1, "b", "flu")]
    first, second = reduce(votes)["consensus_results"]
    assert (first["consensus_prediction"], first["quorum"], first["votes"]) == (None, False, {"flu": 1, "cold": 1})
    assert (second["consensus_prediction"], second["quorum"]) == ("flu", True)
    with pytest.raises(ConfigError, match="quorum=0"):
        consensus_aggregator(votes, quorum=0)


def test_missing_vote_counts_against_the_confidence() -> None:
    """One of three models failed, or had nothing to say: two votes that agree are two thirds."""
    failed = ChunkFailure(0, "d", "c", "model", "unavailable")
    votes = [vote(0, "a", "flu"), vote(0, "b", "flu")]
    assert only(Results(votes, (failed,)))["confidence"] == pytest.approx(2 / 3)
    silent = ChunkResult(0, "d", "c", 0, None)
    entry = only([*votes, silent])
    assert entry["confidence"] == pytest.approx(2 / 3)
    assert entry["models"] == ["a", "b"]
    assert only([*votes, vote(0, "c", None)]) == entry


def test_model_that_answered_elsewhere_is_missed_here() -> None:
    """The votes expected are the models of the job, with or without a record of the failure."""
    answer = consensus_aggregator([vote(0, "a", "x"), vote(0, "b", "x"), vote(1, "a", "x")])
    assert [entry["confidence"] for entry in answer["consensus_results"]] == [1.0, 0.5]
    assert answer["metadata"]["avg_confidence"] == pytest.approx(0.75)


def test_chunk_without_votes_is_reported() -> None:
    """All models failed on it: no prediction, no confidence, but an entry."""
    answer = consensus_aggregator(Results([vote(0, "a", "x")], (ChunkFailure(1, "d", "a", "crash", "died"),)))
    assert answer["consensus_results"][1] == {
        "chunk_id": 1, "consensus_prediction": None, "confidence": 0.0, "votes": {}, "models": [], "tie": False,
    }  # fmt: skip


def test_plain_and_structured_values_vote() -> None:
    """A result without "prediction" is the prediction; dicts are compared by value."""
    plain = [ChunkResult(0, "d", m, 0, value) for m, value in (("a", "yes"), ("b", "yes"), ("c", "no"))]
    assert only(plain)["consensus_prediction"] == "yes"
    shaped = [ChunkResult(0, "d", m, 0, value) for m, value in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1}))]
    entry = only(shaped)
    assert (entry["consensus_prediction"], entry["confidence"]) == ({"x": 1, "y": 2}, 1.0)


def test_confidence_that_is_no_number_is_taken_as_none() -> None:
    """A model's "high" or NaN does not end the job, nor win a tie."""
    results = [vote(0, "a", "x", "high"), vote(0, "b", "y", float("nan")), vote(0, "c", "z", 0.1)]  # type: ignore[arg-type]
    assert only(results)["consensus_prediction"] == "z"


def test_wants_every_model_on_every_chunk() -> None:
    """The runner reads it where no balance was given."""
    assert consensus_aggregator.balance == "all"  # type: ignore[attr-defined]


def test_nothing_is_no_error() -> None:
    """And no division by zero."""
    assert consensus_aggregator([]) == {"consensus_results": [], "metadata": {"avg_confidence": 0.0}}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from(["x", "y", None, 1])),
        unique_by=lambda v: v[:2],
    )
)
def test_result_does_not_depend_on_the_order_of_chunks(votes: list[tuple[int, str, Any]]) -> None:
    """Chunks may come in any order; confidence stays within 0 and 1, and counts add up."""
    votes.sort(key=lambda v: v[1])
    results = [vote(*v) for v in votes]
    answer = consensus_aggregator(results)
    assert answer == consensus_aggregator(sorted(results, key=lambda r: r.chunk_id))
    for entry in answer["consensus_results"]:
        assert 0 <= entry["confidence"] <= 1
        assert sum(entry["votes"].values()) == len(entry["models"])
