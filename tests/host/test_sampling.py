"""What a few chunks say of the whole: an interval that holds the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest

from mrengine.host.sampling import makespan, spread, total
from mrengine.records import Interval

RNG = numpy.random.default_rng(11)
N = 300


def lengths(sigma: float) -> Any:
    return RNG.lognormal(7, sigma, N)


JOBS = {
    "by length": lambda: (tokens := lengths(0.5), 3 * tokens + 15 * RNG.lognormal(5, 0.6, N)),
    "answers of any length": lambda: (RNG.integers(4000, 6000, N).astype(float), RNG.lognormal(0, 1.0, N)),
    "both skewed": lambda: (tokens := lengths(0.9), tokens * RNG.lognormal(0, 0.8, N)),
    "nearly the same": lambda: (RNG.integers(5000, 6000, N).astype(float), RNG.normal(10, 0.5, N)),
    "exponential": lambda: (lengths(0.3), RNG.exponential(2.0, N)),
    "last one short": lambda: (numpy.append(numpy.full(N - 1, 6000.0), 20.0), RNG.lognormal(1, 0.7, N)),
}


@pytest.mark.parametrize("n", [10, pytest.param(20, marks=pytest.mark.system), 50])
@pytest.mark.parametrize("name", JOBS)
def test_the_interval_holds_the_truth(name: str, n: int) -> None:
    """In at least 95% of 200 simulated jobs, and it is no interval that holds everything."""
    held, widths = 0, []
    for job in range(200):
        tokens, values = JOBS[name]()
        tried = spread(N, n, job)
        rest = tokens.sum() - tokens[tried].sum()
        found = total(values[tried].tolist(), tokens[tried].tolist(), rest, N - n)
        held += values.sum() in found
        widths.append((found.high - found.low) / values.sum())
    assert held >= 190
    assert numpy.median(widths) < {10: 8.0, 20: 3.0, 50: 1.6}[n]


@pytest.mark.parametrize(("part", "times"), [(0.02, 10), (0.05, 10), (0.1, 10), (0.05, 4), (0.1, 4), (0.2, 10)])
def test_rare_and_dear_kinds_are_within_the_interval(part: float, times: float) -> None:
    """Though a sample of 20 shows none of them in a third of the jobs, or more."""
    rng, held = numpy.random.default_rng(3), 0
    for job in range(200):
        tokens = rng.lognormal(7, 0.5, N)
        values = tokens * rng.lognormal(0, 0.4, N) * numpy.where(rng.random(N) < part, times, 1)
        tried = spread(N, 20, job)
        rest = tokens.sum() - tokens[tried].sum()
        held += values.sum() in total(values[tried].tolist(), tokens[tried].tolist(), rest, N - 20)
    assert held >= 190


@pytest.mark.parametrize("stealing", [False, True])
@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (5, 1), (4, 4), (16, 2)])
def test_the_interval_holds_the_duration(workers: int, slots: int, stealing: bool) -> None:
    """Of jobs whose chunks go to the next lane that is free, or to their own worker's."""
    held = 0
    for job in range(200):
        seconds = RNG.lognormal(0.5, 0.8, N)
        tried = spread(N, 20, job)
        work = total(seconds[tried].tolist(), [1] * 20, N - 20, N - 20)
        found = makespan(work, seconds[tried].tolist(), N - 20, workers=workers, slots=slots, stealing=stealing)
        groups = [seconds] if stealing else [seconds[n::workers] for n in range(workers)]
        held += max(_played(group, workers * slots if stealing else slots) for group in groups) in found
    assert held >= 190


def _played(seconds: Any, lanes: int) -> float:
    free = [0.0] * lanes
    for one in seconds:
        at = free.index(min(free))
        free[at] += one
    return max(free)


def test_small_samples_and_small_jobs() -> None:
    """All that is known is exact; of one chunk nothing is known but itself."""
    assert total([1.0, 2.0], [1, 1], 0, 0) == Interval(3.0, 3.0, 3.0)
    assert total([0.0] * 5, [1] * 5, 100, 100) == Interval(0.0, 0.0, 0.0)
    one = total([2.0], [4], 8, 2)
    assert (one.low, one.estimate, one.high) == (2.0, 6.0, math.inf)
    assert spread(3, 20, 1) == [0, 1, 2]
    found = spread(1000, 20, 7)
    assert all(n * 50 <= place < (n + 1) * 50 for n, place in enumerate(found))
    assert total([1.0] * 10, [1] * 10, 90, 90) == Interval(100.0, 100.0, 100.0)
