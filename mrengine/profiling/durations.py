"""Collects durations by name, and computes their statistics."""

from __future__ import annotations

import json
import math
import threading
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PerformanceCollector", "Statistics", "collector", "percentile"]

FORMAT = 1
SAMPLES = 100_000  # kept of each name, in 800 kB; counts and sums cover all
NAMES = 10_000  # names that are made from chunk ids must not fill the memory in a long job


@dataclass(frozen=True, slots=True)
class Statistics:
    """Durations of one name, in milliseconds. Percentiles interpolate linearly between the two nearest samples.

    ``count``, ``total_ms``, ``mean_ms``, ``min_ms`` and ``max_ms`` cover every record; the percentiles cover the last
    100,000.
    """

    name: str
    count: int
    total_ms: float
    mean_ms: float
    median_ms: float  # the same as p50_ms
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float


@dataclass(slots=True)
class _Series:
    """The durations of one name: exact sums, and a ring of the last samples."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    samples: array[float] = field(default_factory=lambda: array("d"))

    def add(self, duration_ms: float) -> None:
        if len(self.samples) < SAMPLES:
            self.samples.append(duration_ms)
        else:  # a ring: the oldest sample is replaced
            self.samples[self.count % SAMPLES] = duration_ms
        self.count += 1
        self.total += duration_ms
        self.least = min(self.least, duration_ms)
        self.most = max(self.most, duration_ms)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie, between the two nearest."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class PerformanceCollector:
    """Durations by name. Any thread may record; a disabled collector drops all records.

    ``len(collector)`` is the number of records. A pickled collector, as one in a map function, is loaded as the
    collector of the process that loads it.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}

    def __reduce__(self) -> tuple[object, ...]:
        # A copy's records would be lost in the worker; those of the worker's own collector are sent to the host.
        return _of_this_process, ()

    def enable(self) -> None:
        """Record from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Drop further records; those so far remain."""
        self.enabled = False

    def clear(self) -> None:
        """Forget all records."""
        with self._lock:
            self._series = {}

    def record(self, name: str, duration_ms: float) -> None:
        """Add one duration. ValueError for one that is negative or not finite."""
        if not self.enabled:  # first, and without the lock: profiled functions stay in code that is not measured
            return
        if not 0 <= duration_ms < math.inf:  # it would spoil every statistic
            raise ValueError(f"a duration is a finite number of milliseconds, not {duration_ms!r}")
        with self._lock:
            self._add(name, duration_ms)

    def _add(self, name: str, duration_ms: float) -> None:
        series = self._series.get(name)
        if series is None:
            if len(self._series) >= NAMES:  # the time is counted, though not under its own name
                name = "(other names)"
            series = self._series.setdefault(name, _Series())
        series.add(duration_ms)

    @property
    def names(self) -> list[str]:
        """All names, in the order of their first record."""
        with self._lock:
            return list(self._series)

    def records(self, name: str) -> list[float]:
        """The last durations of a name in milliseconds, up to 100,000; none for an unknown name."""
        with self._lock:
            series = self._series.get(name)
            if series is None:
                return []
            turn = series.count % SAMPLES if series.count > SAMPLES else 0  # where the ring's oldest sample stands
            return [*series.samples[turn:], *series.samples[:turn]]

    def statistics(self, name: str) -> Statistics | None:
        """The statistics of a name; None for one without a record."""
        with self._lock:
            series = self._series.get(name)
            if series is None:
                return None
            ordered = sorted(series.samples)  # a copy, as other threads go on recording
            count, total, least, most = series.count, series.total, series.least, series.most
        p50, p90, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.95, 0.99))
        return Statistics(name, count, total, total / count, p50, p50, p90, p95, p99, least, most)

    def by_name(self) -> dict[str, Statistics]:
        """The statistics of every name."""
        pairs = ((name, self.statistics(name)) for name in self.names)
        return {name: statistics for name, statistics in pairs if statistics is not None}

    def to_json(self) -> dict[str, Any]:
        """``{"format": 1, "unit": "ms", "statistics": {name: {…}}}``."""
        return {
            "format": FORMAT,
            "unit": "ms",
            "statistics": {name: asdict(statistics) for name, statistics in self.by_name().items()},
        }

    def export(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file; OSError if that cannot be done."""
        Path(path).write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def drain(self) -> list[tuple[str, float]]:
        """Remove all records and return them as ``(name, ms)``, up to 100,000 of each name, for another collector."""
        with self._lock:
            taken, self._series = self._series, {}
        return [(name, value) for name, series in taken.items() for value in series.samples]

    def merge(self, records: Iterable[tuple[str, float]]) -> None:
        """Add the records of another collector's :meth:`drain`."""
        if self.enabled:
            with self._lock:
                for name, duration_ms in records:
                    self._add(name, duration_ms)

    def __len__(self) -> int:
        with self._lock:
            return sum(series.count for series in self._series.values())


collector = PerformanceCollector(enabled=False)
"""The collector of this process."""


def _of_this_process() -> PerformanceCollector:
    return collector
