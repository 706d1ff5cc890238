"""A run that profiles: its stages, and what functions under @profile take in the workers."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, profiling
from mrengine.errors import ConfigError
from mrengine.profiling import PerformanceCollector, profile

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
