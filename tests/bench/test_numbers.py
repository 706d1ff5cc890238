"""The arithmetic of the benchmarks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.numbers import fit, latencies, percentile, ratios, spread

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def test_percentiles_lie_between_the_nearest_samples() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile(list(range(101)), 95) == 95
    assert percentile([10, 20], 95) == pytest.approx(19.5)
    assert (percentile([1, 2, 3], 0), percentile([1, 2, 3], 100)) == (1, 3)


def test_one_sample_is_every_percentile_and_none_has_none() -> None:
    assert [percentile([7.0], p) for p in (0, 50, 95, 99, 100)] == [7.0] * 5
    assert percentile([], 99) is None


@pytest.mark.parametrize("p", [-1, 101, math.nan])
def test_a_percentile_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], p)


@given(SAMPLES)
def test_percentiles_are_in_order_and_within_the_samples(samples: list[float]) -> None:
    found = [percentile(samples, p) for p in (0, 50, 95, 99, 100)]
    assert found == sorted(found, key=lambda value: value or 0.0)
    assert (found[0], found[-1]) == (min(samples), max(samples))


def test_a_load_with_one_success_and_failures() -> None:
    """The failures count as requests, and not as latencies."""
    told = latencies([120.0], failed=9, wall_s=2.0)
    assert (told["requests"], told["succeeded"], told["failed"]) == (10, 1, 9)
    assert {told[name] for name in ("min", "mean", "median", "p95", "p99", "max")} == {120.0}
    assert (told["per_s"], told["attempts_per_s"]) == (0.5, 5.0)


def test_a_load_without_a_success_has_no_latencies() -> None:
    told = latencies([], failed=5, wall_s=1.0)
    assert {told[name] for name in ("min", "mean", "median", "p95", "p99", "max")} == {None}
    assert (told["per_s"], told["attempts_per_s"]) == (0.0, 5.0)
    assert latencies([1.0], failed=0, wall_s=0.0)["per_s"] is None


def test_ratios_are_taken_within_a_turn() -> None:
    """The second turn had a busy machine: both were four times slower, and the ratio is the same."""
    found = ratios({"ours": [1.0, 4.0, 1.0], "peer": [2.0, 8.0, 2.0], "cut short": [3.0]}, "peer")
    assert found == {"ours": 0.5, "peer": 1.0, "cut short": 1.5}
    assert ratios({"a": [1.0], "b": [0.0]}, "b") == {}


def test_a_power_law_is_found_again() -> None:
    sizes = [1000, 4000, 16_000, 64_000]
    found = fit(sizes, [0.002 * size**1.5 for size in sizes])
    assert (found["exponent"], found["r2"]) == (1.5, 1.0)
    assert found["factor"] == pytest.approx(0.002)
    assert fit([1, 10, 100], [5, 5, 5]) == {"exponent": 0.0, "factor": 5.0, "r2": 1.0}
    assert fit([1, 2, 4, 8], [1.0, 2.4, 3.6, 8.8])["r2"] < 1


@pytest.mark.parametrize(
    ("sizes", "costs"), [([1], [1]), ([2, 2], [1, 1]), ([1, 2], [0, 1]), ([1, 2], [1]), ([-1, 2], [1, 1])]
)
def test_points_that_say_nothing_are_refused(sizes: list[float], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        fit(sizes, costs)


def test_a_spread_keeps_every_sample() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "samples": [3.0, 1.0, 2.0]}
    assert spread([123456.0, 0.000123456])["samples"] == [123500.0, 0.0001235]
