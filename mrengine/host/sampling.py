"""Predicts the whole job from a sample of chunks: intervals for sums of skewed values, which samples underrate."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from mrengine.records import Interval

__all__ = ["makespan", "spread", "total"]

LEVEL = 0.98  # the probability of the interval, cautious at both ends: of 200 jobs at most a few are outside
# An imagined chunk joins the sample, for kinds that it has not shown. At the lower end of an interval it costs nothing;
# at the upper end UNSEEN times the mean, or the dearest times 1 + BEYOND · the index of the tail, if that is more.
UNSEEN, BEYOND = 12.0, 2.0
POWER = 13.0  # under a power law of the tail, the longest chunk is that of so many times the chunks
ERROR = 0.5  # how many standard errors are added to an index, and half as many to a deviation
SKEWED = 0.5  # skewness of the logarithms above which a power law may hold for all chunks: a lognormal variable has 0
_DRAWS = 1000
_TINY = 1e-9


def spread(count: int, n: int, seed: int) -> list[int]:
    """``n`` of ``count`` places, one at random in each of ``n`` equal parts."""
    rng = random.Random(seed)
    n = min(n, count)
    return [rng.randrange(part * count // n, (part + 1) * count // n) for part in range(n)]


def total(values: Sequence[float], sizes: Sequence[float], rest: Sequence[float]) -> Interval:
    """The sum of a value over all chunks. ``values`` and ``sizes``: of the chunks that were tried; ``rest``: the sizes
    of the others.
    """
    # A value grows with a power of the size between 0 (not at all) and 1. The sample shows it within an error, so
    # three powers are tried. For each, the sums of the others are drawn by Pólya's urn (Lo 1988, the Bayesian bootstrap
    # of a finite population), with one chunk more than the sample (UNSEEN). The mean is taken in two ways: the ratio of
    # the sums holds whatever the law is, the mean of the chunks' ratios shows a long tail that stands at a small chunk.
    known = float(sum(values))
    if not len(rest) or known <= 0:
        return Interval(known, known, known)
    import numpy

    x = numpy.asarray(values, float)
    t, others = numpy.maximum(numpy.asarray(sizes, float), 1.0), numpy.maximum(numpy.asarray(rest, float), 1.0)
    if len(x) < 2:
        return Interval(known, known + known / float(t[0]) * float(others.sum()), math.inf)
    rng = numpy.random.default_rng(1)
    weights = rng.standard_exponential((_DRAWS, len(x) + 1))
    urn = rng.multinomial(len(others), weights / weights.sum(1, keepdims=True))
    power, error = _power(x, t)
    lows, highs = [], []
    for tried in (power, power - error, power + error):
        scale, whole = t ** min(1.0, max(0.0, tried)), (others ** min(1.0, max(0.0, tried))).sum()
        for low, high in (_sums(urn, x, scale), _sums(urn, x / scale, numpy.ones(len(x)))):
            lows.append(float(low * whole))
            highs.append(float(high * whole))
    scale, whole = t ** min(1.0, max(0.0, power)), (others ** min(1.0, max(0.0, power))).sum()
    estimate = known + float(x.sum() / scale.sum() * whole)
    return Interval(known + min(lows), estimate, max(known + max(highs), estimate))


def _power(x: Any, t: Any) -> tuple[float, float]:
    """The power of the size with which a value grows, and its standard error, by a line through the logarithms."""
    import numpy

    logs = numpy.log(numpy.maximum(x, x.mean() / 100))  # a few tiny values say nothing of what the large ones follow
    away = numpy.log(t) - numpy.log(t).mean()
    square = float((away * away).sum())
    if square < _TINY:
        return 0.0, 0.0
    slope = float((away * logs).sum()) / square
    off = logs - logs.mean() - slope * away
    return slope, math.sqrt(float((off * off).sum()) / max(1, len(x) - 2) / square)


def _sums(urn: Any, x: Any, scale: Any) -> tuple[float, float]:
    """Both ends of the ratio of two sums over the chunks that were drawn; the last one in the urn is the unseen one."""
    import numpy

    most = max(UNSEEN * x.sum() / scale.sum() * scale.mean(), (1 + BEYOND * _tail(x)) * x.max())
    drawn = numpy.maximum(urn @ numpy.append(scale, scale.mean()), _TINY)
    low = numpy.quantile(urn @ numpy.append(x, 0.0) / drawn, (1 - LEVEL) / 2)
    return low, numpy.quantile(urn @ numpy.append(x, most) / drawn, (1 + LEVEL) / 2)


def _tail(x: Any) -> float:
    """How heavy the tail is: Hill's estimator of its index, 0 for none; a variable above 0.5 has no variance."""
    import numpy

    top = numpy.sort(x)[-max(4, len(x) // 8) - 1 :]
    return float(numpy.log(top[1:] / top[0]).mean()) if len(top) > 1 and top[0] > 0 else 0.0


def makespan(
    work: Interval, seconds: Sequence[float], left: int, *, workers: int, slots: int, stealing: bool
) -> Interval:
    """How long so much work takes on ``workers × slots`` lanes. At best no lane is idle; at worst the longest chunk
    comes last, and one worker has more than its share if chunks are bound to workers (not ``stealing``).
    """
    lanes, longest = workers * slots, max(seconds, default=0.0)
    if lanes == 1 or not longest:
        return Interval(work.low / lanes, work.estimate / lanes, work.high / lanes)
    mean = sum(seconds) / len(seconds)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in seconds) / max(1, len(seconds) - 1))
    uneven = 0.0 if stealing or workers == 1 else 3.0 * deviation * math.sqrt(left / workers) / slots
    return Interval(
        max(work.low / lanes, longest),
        max(work.estimate / lanes, longest) + longest / 2,
        work.high / lanes + uneven + _longest(seconds, left),
    )


def _longest(seconds: Sequence[float], left: int) -> float:
    """An upper bound, in all likelihood, of the longest chunk: the worst that any of four laws allows."""
    # A dear kind that was not seen; a lognormal law; a power law of the tail, under which one chunk may take most of
    # the time; and Pareto's law for all chunks, if the logarithms are as skewed as it makes them.
    import numpy

    x = numpy.asarray(seconds, float)
    if not left:
        return float(x.max())
    logs = numpy.log(numpy.maximum(x, x.mean() / 100))
    above = logs[logs >= logs.mean()] - logs.mean()
    error = ERROR / math.sqrt(len(x))
    deviation = math.sqrt(min(float((above**2).mean()), float(logs.var()))) * (1 + error / 2)
    far = NormalDist().inv_cdf(LEVEL ** (1 / left))
    lognormal = math.exp(min(700.0, float(logs.mean()) + deviation * far))
    power = float(x.max()) * (1 + POWER * left / len(x)) ** min(1.0, _tail(x))
    width = float(logs.std())
    whole = 0.0
    if width > _TINY and float(((logs - logs.mean()) ** 3).mean()) > SKEWED * width**3:
        index = float((logs - logs.min()).mean()) * len(x) / (len(x) - 1) * (1 + error)
        whole = float(numpy.exp(logs.min())) * (left / (1 - LEVEL)) ** min(1.0, index)
    return float(max(UNSEEN * float(x.mean()), lognormal, power, whole))
