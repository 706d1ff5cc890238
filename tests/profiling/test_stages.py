"""Stages that nest and overlap; durations for people."""

from __future__ import annotations

import threading
import time

import pytest

from mrengine.profiling import (
    ComponentTimer,
    PerformanceCollector,
    format_duration,
)


@pytest.fixture
def collector() -> PerformanceCollector:
    return PerformanceCollector()


def test_stages_nest_and_repeat(collector: PerformanceCollector) -> None:
    timer = ComponentTimer(collector=collector)
    for _ in range(2):
        with timer.stage("prepare"), timer.stage("read"):
            pass
    with timer.stage("read"):
        pass
    assert {total.path: total.count for total in timer.totals()} == {
        ("prepare",): 2,
        ("prepare", "read"): 2,
        ("read",): 1,
    }
    assert collector.names == ["prepare/read", "prepare", "read"]
    assert timer.to_text().splitlines()[1].startswith("  read")


def test_the_wall_time_of_concurrent_stages_counts_once() -> None:
    timer = ComponentTimer()
    meet = threading.Barrier(4)

    def work() -> None:
        with timer.stage("call"):
            meet.wait()
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (total,) = timer.totals()
    assert total.path == ("call",)
    assert total.busy_ms >= 200
    assert total.wall_ms <= total.busy_ms / 2


def test_stages_may_overlap_and_end_elsewhere() -> None:
    timer = ComponentTimer()
    timer.start("a")
    timer.start("b")
    timer.stop("a")
    timer.stop("b")
    assert [total.path for total in timer.totals()] == [("a",), ("b",)]
    with pytest.raises(ValueError, match="'a' was not started"):
        timer.stop("a")


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (0, "0 µs"),
        (0.74, "740 µs"),
        (0.9996, "1 ms"),
        (12.34, "12.3 ms"),
        (999.7, "1 s"),
        (4_560, "4.56 s"),
        (59_999, "1 min 00 s"),
        (185_000, "3 min 05 s"),
        (3_599_900, "1 h 00 min"),
        (7_620_000, "2 h 07 min"),
        (200_000_000, "2 d 7 h"),
        (-1_500, "-1.5 s"),
        (float("inf"), "unknown"),
    ],
)
def test_durations_are_written_for_people(ms: float, told: str) -> None:
    assert format_duration(ms) == told
