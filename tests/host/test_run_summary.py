"""The arithmetic of a run's summary."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, profiling
from mrengine.errors import ConfigError
from mrengine.host.run_summary import MOST_MESSAGES, SummaryBuilder
from mrengine.profiling import PerformanceCollector, profile
from mrengine.records import Usage


def test_a_call_of_unknown_cost_makes_the_sum_unknown() -> None:
    """Tokens are counted all the same, for each model."""
    counts = SummaryBuilder("j")
    counts.call("a", Usage(10, 5), 0.25)
    assert counts.summary(1000).cost_usd == 0.25
    counts.call("b", Usage(1, 1, estimated=True), None)
    counts.call("a", Usage(10, 5), 0.25)
    found = counts.summary(1000)
    assert found.cost_usd is None
    assert found.usage["a"].total_tokens == 30
    assert found.warnings == ("b did not tell all of what was used: tokens and cost are estimates",)
    assert found.throughput.tokens_per_second == pytest.approx(32)


def test_equal_failures_are_reported_once_with_their_number() -> None:
    """The most frequent first; no more than so many kinds are held, and all are counted."""
    counts = SummaryBuilder("j")
    for n in range(MOST_MESSAGES + 5):
        counts.failure(f"error {n}")
    for _ in range(3):
        counts.failure("error 1")
    found = counts.summary(0.0)
    assert found.errors[0] == "error 1 (4 chunks)"
    assert len(found.errors) == MOST_MESSAGES
    assert found.failed_chunks == MOST_MESSAGES + 8


def test_only_the_first_of_equal_retries_is_news() -> None:
    counts = SummaryBuilder("j")
    assert counts.call_retry("HTTP 503", limited=False)
    assert not counts.call_retry("HTTP 503", limited=True)
    assert (counts.retries, counts.rate_limited, counts.trouble) == (2, 1, "HTTP 503")


def test_progress_grows_with_outcomes_and_answers() -> None:
    """Supervisors that die without it are not replaced for ever."""
    counts = SummaryBuilder("j")
    counts.resumed = 4
    before = counts.progress
    counts.call("a", Usage(1, 1), 0.0)
    counts.processed += 1
    counts.failure("x")
    assert (counts.progress, counts.done) == (before + 3, 6)


STAGES = {"read", "cut", "call", "map function", "commit", "reduce"}


@profile(name="own stage")
def stage_of_mine(text: str) -> str:
    return text.upper()


def map_fn(chunk: Any, context: Any) -> str:
    return stage_of_mine(context.complete(chunk.text).text)


@pytest.mark.parametrize("strategy", ["parallel", "sequential"])
def test_a_collector_is_filled_with_stages_and_the_workers_records(strategy: Any) -> None:
    collector = PerformanceCollector()
    with MapReduceRunner(models="fake", workers=2, strategy=strategy, collector=collector) as runner:
        result = runner.run([Document("a", "one"), Document("b", "two"), Document("c", "three")], map_fn, len)
    assert result[0] == 3
    found = {name: statistics.count for name, statistics in collector.by_name().items()}
    assert set(found) >= STAGES
    assert (found["own stage"], found["call"], found["map function"], found["reduce"]) == (3, 3, 3, 1)
    assert found["commit"] >= 1
    assert not profiling.collector.enabled
    assert len(profiling.collector) == 0


def test_a_run_without_a_collector_measures_nothing() -> None:
    with MapReduceRunner(models="fake", workers=1) as runner:
        runner.run([Document("a", "one")], map_fn)
    assert len(profiling.collector) == 0


def test_what_is_no_collector_is_refused() -> None:
    with pytest.raises(ConfigError, match="a PerformanceCollector"):
        MapReduceRunner(collector={})  # type: ignore[arg-type]
