"""collect, concatenate and the medical report."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.records import ChunkFailure, ChunkResult, Usage
from mrengine.reducers import collect, concatenate, medical_report_aggregator


class Results(list[ChunkResult]):
    """As a job gives them: results, and failures beside."""

    def __init__(self, results: list[ChunkResult], failures: tuple[ChunkFailure, ...] = ()) -> None:
        super().__init__(results)
        self.failures = failures


def result(chunk_id: int, value: Any, *, model: str | None = "m", tokens: int = 0) -> ChunkResult:
    return ChunkResult(chunk_id, "d", model, 0, value, Usage(7, tokens))


def failure(chunk_id: int, *, model: str | None = "m") -> ChunkFailure:
    return ChunkFailure(chunk_id, "d", model, "model", "unavailable")


def test_collect_gives_values_in_chunk_order() -> None:
    """Whatever order they came in."""
    assert collect([result(2, "c"), result(0, {"a": 1}), result(1, None)]) == [{"a": 1}, None, "c"]


def test_concatenate_joins_strings_and_texts() -> None:
    """A dict's text counts as the result; None adds nothing."""
    assert concatenate([result(1, {"text": "two"}), result(0, "one"), result(2, None)]) == "one\n\ntwo"


def test_value_without_text_is_refused_without_showing_it() -> None:
    """The error names the chunk and the type, never the value."""
    with pytest.raises(TypeError, match=r"chunk 3: .*not dict") as caught:
        concatenate([result(3, {"patient": "secret"})])
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="not int"):
        medical_report_aggregator([result(0, 5)])


def test_medical_report_joins_sections_and_counts() -> None:
    """The shape of the contract, sections in chunk order, tokens of every result."""
    report = medical_report_aggregator(
        Results(
            [result(1, {"text": "Lungs clear."}, model="b", tokens=5), result(0, "Heart fine.", model="a", tokens=3)],
        )
    )
    assert report == {
        "full_report": "Heart fine.\n\n---\n\nLungs clear.",
        "metadata": {"total_sections": 2, "models": ["a", "b"], "total_output_tokens": 8, "missing": []},
    }


def test_medical_report_names_missing_sections() -> None:
    """Chunks that failed, and chunks whose result is None; not one that another model answered."""
    report = medical_report_aggregator(
        Results([result(0, "a"), result(2, None), result(4, "e", model="n")], (failure(3), failure(4), failure(1)))
    )
    assert report["metadata"]["missing"] == [1, 2, 3]
    assert report["metadata"]["total_sections"] == 2


def test_nothing_gives_an_empty_report() -> None:
    """No results are no error: the engine speaks before a reducer does."""
    assert medical_report_aggregator([])["full_report"] == ""
    assert concatenate([]) == ""
    assert collect([]) == []
