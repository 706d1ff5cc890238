"""Durations by name: nothing is lost, sums are exact, memory is bounded."""

from __future__ import annotations

import json
import random
import statistics
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mrengine.profiling import (
    PerformanceCollector,
)

collector_module = sys.modules[PerformanceCollector.__module__]


@pytest.fixture
def collector() -> PerformanceCollector:
    return PerformanceCollector()


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999])
def test_the_statistics_of_a_name_are_those_of_numpy(collector: PerformanceCollector, count: int) -> None:
    values = [random.expovariate(0.01) for _ in range(count)]
    for value in values:
        collector.record("call", value)
    found = collector.statistics("call")
    assert found is not None
    assert (found.count, found.min_ms, found.max_ms) == (count, min(values), max(values))
    assert found.mean_ms == pytest.approx(statistics.fmean(values))
    assert found.median_ms == found.p50_ms == pytest.approx(statistics.median(values))
    for share, told in ((90, found.p90_ms), (95, found.p95_ms), (99, found.p99_ms)):
        assert told == pytest.approx(np.percentile(values, share))


def test_a_name_without_a_record_has_no_statistics(collector: PerformanceCollector) -> None:
    assert collector.statistics("nothing") is None
    assert collector.records("nothing") == []
    assert collector.by_name() == {}


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_refused(collector: PerformanceCollector, wrong: float) -> None:
    with pytest.raises(ValueError, match="finite number of milliseconds"):
        collector.record("call", wrong)
    assert len(collector) == 0


def test_a_disabled_collector_drops_records_and_keeps_what_it_has(collector: PerformanceCollector) -> None:
    collector.record("call", 1)
    collector.disable()
    collector.record("call", 2)
    collector.enable()
    collector.record("call", 3)
    assert collector.records("call") == [1, 3]
    collector.clear()
    assert len(collector) == 0


def test_no_record_of_eight_threads_is_lost(collector: PerformanceCollector) -> None:
    def work(number: int) -> None:
        for value in range(2_000):
            collector.record(f"name {number % 3}", value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collector) == 16_000
    assert sum(found.count for found in collector.by_name().values()) == 16_000


def test_memory_is_bounded_and_sums_stay_exact(
    collector: PerformanceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "SAMPLES", 100)
    monkeypatch.setattr(collector_module, "NAMES", 5)
    for value in range(1_050):
        collector.record("call", value)
    found = collector.statistics("call")
    assert found is not None
    assert (found.count, found.min_ms, found.total_ms) == (1_050, 0, sum(range(1_050)))
    assert collector.records("call") == list(range(950, 1_050))
    for number in range(100):
        collector.record(f"name {number}", 1)
    assert len(collector.names) == 6
    assert collector.by_name()["(other names)"].count == 96


def test_the_export_is_json_with_a_format(collector: PerformanceCollector, tmp_path: Path) -> None:
    collector.record("prüfen", 2.0)
    collector.export(tmp_path / "out.json")
    told = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (told["format"], told["unit"]) == (1, "ms")
    assert told["statistics"]["prüfen"]["count"] == 1
    assert told["statistics"]["prüfen"]["p99_ms"] == 2.0


def test_what_one_collector_drains_another_merges(collector: PerformanceCollector) -> None:
    collector.record("a", 1)
    collector.record("b", 2)
    other = PerformanceCollector()
    other.record("a", 3)
    other.merge(collector.drain())
    assert len(collector) == 0
    assert other.records("a") == [3, 1]
    assert other.records("b") == [2]
