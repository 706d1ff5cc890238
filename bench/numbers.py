"""The arithmetic of the benchmarks: percentiles, ratios, and how cost grows. Plain functions over samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["fit", "latencies", "percentile", "ratios", "spread"]


def percentile(samples: Sequence[float], p: float) -> float | None:
    """The value below which ``p`` percent lie, between the two nearest samples; None of nothing."""
    if not 0 <= p <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {p}")
    if not samples:
        return None
    ordered = sorted(samples)
    place = (len(ordered) - 1) * p / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latencies(succeeded: Sequence[float], *, failed: int, wall_s: float) -> dict[str, Any]:
    """What a load test says. Latencies are those of successes: a refusal comes fast, and would flatter them.

    ``per_s`` counts successes, ``attempts_per_s`` all. Without a success every latency is None, never 0.
    """
    total = len(succeeded) + failed
    return {
        "requests": total,
        "succeeded": len(succeeded),
        "failed": failed,
        "min": min(succeeded, default=None),
        "mean": statistics.fmean(succeeded) if succeeded else None,
        "median": percentile(succeeded, 50),
        "p95": percentile(succeeded, 95),
        "p99": percentile(succeeded, 99),
        "max": max(succeeded, default=None),
        "per_s": len(succeeded) / wall_s if wall_s > 0 else None,
        "attempts_per_s": total / wall_s if wall_s > 0 else None,
    }


def spread(samples: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """Median, least and most of a measurement that was repeated, and the samples themselves."""
    return {
        "median": _significant(statistics.median(samples), digits),
        "min": _significant(min(samples), digits),
        "max": _significant(max(samples), digits),
        "samples": [_significant(sample, digits) for sample in samples],
    }


def ratios(samples: Mapping[str, Sequence[float]], base: str) -> dict[str, float]:
    """Each contestant over ``base``: the median of the ratios *within* a turn, for the machine's load changes between.

    A contestant or a base with fewer turns is compared over the turns that both have.
    """
    of_base = samples[base]
    found = {}
    for name, values in samples.items():
        pairs = [mine / other for mine, other in zip(values, of_base, strict=False) if other]
        if pairs:
            found[name] = _significant(statistics.median(pairs), 3)
    return found


def fit(sizes: Sequence[float], costs: Sequence[float]) -> dict[str, float]:
    """The power law ``cost = factor × size ** exponent`` that fits best in logarithms, with its R².

    An exponent of 1 is linear growth. Points of which either number is not positive say nothing and are refused.
    """
    if len(sizes) != len(costs) or len(set(sizes)) < 2:
        raise ValueError("a fit takes at least two different sizes, and a cost for each")
    if min(*sizes, *costs) <= 0:
        raise ValueError("sizes and costs are positive")
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    exponent, intercept = statistics.linear_regression(x, y)
    mean = statistics.fmean(y)
    whole = sum((value - mean) ** 2 for value in y)
    rest = sum((value - intercept - exponent * at) ** 2 for at, value in zip(x, y, strict=True))
    return {
        "exponent": round(exponent, 3),
        "factor": _significant(math.exp(intercept), 4),
        "r2": round(1 - rest / whole, 4) if whole else 1.0,
    }


def _significant(value: float, digits: int) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
