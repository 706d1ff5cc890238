"""From a sample of chunks to the whole job: intervals for sums of skewed values, which small samples underrate."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from mrengine.records import Interval

__all__ = ["makespan", "spread", "total"]

LEVEL = 0.99  # of each of two intervals, whose union is taken: of 200 jobs at most a few are outside
UNSEEN = 24.0  # upper end: as if one chunk more had been tried, and had cost so many times the mean
_Z = 2.5758
_ROUNDS = 2000
_TINY = 1e-300


def spread(count: int, n: int, seed: int) -> list[int]:
    """``n`` of ``count`` places, one at random in each of ``n`` equal parts."""
    rng = random.Random(seed)
    n = min(n, count)
    return [rng.randrange(part * count // n, (part + 1) * count // n) for part in range(n)]


def total(values: Sequence[float], sizes: Sequence[float], rest: float, left: int) -> Interval:
    """The sum of a value over all chunks. ``values`` and ``sizes``: of those that were tried; ``rest``: the sum of the
    sizes of the ``left`` others.

    The ratio of value to size, by the bootstrap's t, with the correction for a finite population; and, as that still
    underrates a long tail of which the sample has seen little, as the mean of a lognormal ratio (Cox's interval). Its
    upper end also has room for dear chunks of a kind that is too rare for the sample: ``UNSEEN``.
    """
    known = float(sum(values))
    if left <= 0 or rest <= 0:
        return Interval(known, known, known)
    if len(values) < 2 or not sum(sizes):
        ratio = known / sum(sizes) if sum(sizes) else 0.0
        return Interval(known, known + ratio * rest, math.inf if known else 0.0)
    import numpy

    x, t = numpy.asarray(values, float), numpy.asarray(sizes, float)
    ratio = float(x.sum() / t.sum())
    low, high = _bootstrap(x, t, left / (left + len(values)), numpy.random.default_rng(1))
    if x.min() > 0:
        cox = _lognormal(numpy.log(x / t))
        low, high = min(low, cox[0]), max(high, cox[1])
    if high > ratio:  # a kind of chunk that the sample has not shown, or once too rarely
        high = max(high + UNSEEN / 2 * ratio / len(values), ratio * (1 + UNSEEN / len(values)))
    return Interval(known + max(0.0, low) * rest, known + ratio * rest, known + high * rest)


def _bootstrap(x: Any, t: Any, free: float, rng: Any) -> tuple[float, float]:
    """The interval of the ratio. ``free``: the part of the population that was not tried."""
    import numpy

    n, ratio = len(x), x.sum() / t.sum()
    error = math.sqrt(free * ((x - ratio * t) ** 2).sum() / (n - 1) / n) / t.mean()
    if error <= _TINY:
        return float(ratio), float(ratio)
    picks = rng.integers(0, n, (_ROUNDS, n))
    xs, ts = x[picks], t[picks]
    ratios = xs.sum(1) / ts.sum(1)
    errors = numpy.sqrt(free * ((xs - ratios[:, None] * ts) ** 2).sum(1) / (n - 1) / n) / ts.mean(1)
    sound = errors > error * 1e-3  # a sample of one value, again and again, has none
    far = numpy.quantile((ratios[sound] - ratio) / errors[sound], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    wide = _t(n - 1)
    return float(ratio - max(far[1], wide) * error), float(ratio - min(far[0], -wide) * error)


def _lognormal(logs: Any) -> tuple[float, float]:
    """Of the mean of a lognormal variable."""
    n, mean, above = len(logs), float(logs.mean()), logs[logs >= logs.mean()] - logs.mean()
    # From what is above the mean: tiny values, whose logarithms are far below, say nothing of the long tail.
    spread_ = min(float(logs.var(ddof=1)), float((above**2).mean()) * n / (n - 1))
    half = _t(n - 1) * math.sqrt(spread_ / n + spread_ * spread_ / (2 * (n - 1)))
    centre = mean + spread_ / 2
    return math.exp(min(centre - half, 700.0)), math.exp(min(centre + half, 700.0))


def _t(degrees: int) -> float:
    """The quantile of Student's t at 99.5% (Cornish and Fisher's expansion; exact enough from 3 on)."""
    if degrees < 3:
        return 63.657 if degrees == 1 else 9.925
    z, d = _Z, float(degrees)
    return z + (z**3 + z) / (4 * d) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d * d)


def makespan(
    work: Interval, seconds: Sequence[float], left: int, *, workers: int, slots: int, stealing: bool
) -> Interval:
    """How long so much work takes on ``workers × slots`` lanes: none is idle at best; at worst the longest chunk comes
    last and, where chunks have their workers, one worker has more than its share.
    """
    lanes = workers * slots
    longest = max(seconds, default=0.0)
    mean = sum(seconds) / len(seconds) if seconds else 0.0
    deviation = math.sqrt(sum((one - mean) ** 2 for one in seconds) / max(1, len(seconds) - 1))
    uneven = 0.0 if stealing or workers == 1 else 3.0 * deviation * math.sqrt(left / workers) / slots
    tail = 0.0 if lanes == 1 else longest + deviation
    return Interval(
        max(work.low / lanes, longest),
        max(work.estimate / lanes, longest) + tail / 2,
        work.high / lanes + uneven + 2 * tail,
    )
