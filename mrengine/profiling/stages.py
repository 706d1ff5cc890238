"""Times named stages that nest, overlap and run in several threads; writes durations for people."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mrengine.profiling.durations import PerformanceCollector

__all__ = ["ComponentTimer", "StageTotal", "format_duration"]


@dataclass(frozen=True, slots=True)
class StageTotal:
    """A stage of a :class:`ComponentTimer`. ``path``: the stages around it and itself, outermost first.

    ``busy_ms`` sums all passages; ``wall_ms`` counts the time once while several threads are in the stage.
    """

    path: tuple[str, ...]
    count: int
    busy_ms: float
    wall_ms: float


@dataclass(slots=True)
class _Stage:
    count: int = 0
    busy: int = 0  # nanoseconds, as all below
    wall: int = 0
    inside: int = 0  # how many passages are going on
    since: int = 0  # when the first of these began


class ComponentTimer:
    """Named stages of a piece of work. Stages nest, overlap, and run in several threads at once.

    ``with timer.stage("read"): …`` follows the thread's nesting; ``start`` and ``stop`` are for stages that begin and
    end in different places, and are nested in no other.
    """

    def __init__(self, *, collector: PerformanceCollector | None = None) -> None:
        self._collector = collector
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, ...], _Stage] = {}
        self._open: dict[str, list[int]] = {}
        self._thread = threading.local()  # the path of the stages that this thread is in

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block as a stage within this thread's current one."""
        outer: tuple[str, ...] = getattr(self._thread, "path", ())
        path = (*outer, name)
        self._thread.path = path
        began = self._enter(path)
        try:
            yield
        finally:
            self._leave(path, began)
            self._thread.path = outer

    def start(self, name: str) -> None:
        """Begin a stage; it may be begun again before it ends."""
        began = self._enter((name,))
        with self._lock:
            self._open.setdefault(name, []).append(began)

    def stop(self, name: str) -> float:
        """End the stage of this name that began last, and return its milliseconds. ValueError if there is none."""
        with self._lock:
            begun = self._open.get(name)
            if not begun:
                raise ValueError(f"stage {name!r} was not started")
            began = begun.pop()
        return self._leave((name,), began)

    def _enter(self, path: tuple[str, ...]) -> int:
        with self._lock:
            stage = self._stages.setdefault(path, _Stage())
            now = time.perf_counter_ns()  # under the lock, so that no thread's start is before ``since``
            if not stage.inside:
                stage.since = now
            stage.inside += 1
        return now

    def _leave(self, path: tuple[str, ...], began: int) -> float:
        with self._lock:
            now = time.perf_counter_ns()
            stage = self._stages[path]
            stage.inside -= 1
            stage.count += 1
            stage.busy += now - began
            if not stage.inside:  # the last to leave counts the time once for all that were inside
                stage.wall += now - stage.since
        if self._collector is not None:
            self._collector.record("/".join(path), (now - began) / 1e6)
        return (now - began) / 1e6

    def totals(self) -> list[StageTotal]:
        """The stages that have ended at least once, in the order in which they first began."""
        with self._lock:
            return [
                StageTotal(path, stage.count, stage.busy / 1e6, stage.wall / 1e6)
                for path, stage in self._stages.items()
                if stage.count
            ]

    def to_text(self) -> str:
        """The stages as lines, indented by depth, with their share of the outermost stages' time."""
        totals = self.totals()
        whole = sum(total.wall_ms for total in totals if len(total.path) == 1) or 1.0
        width = max((2 * len(total.path) + len(total.path[-1]) for total in totals), default=0)
        return "\n".join(
            f"{'  ' * (len(total.path) - 1) + total.path[-1]:<{width}} {format_duration(total.wall_ms):>10} "
            f"{total.wall_ms / whole:6.1%} {total.count:>8,} ×"
            for total in totals
        )


def format_duration(ms: float) -> str:
    """A duration for people, from milliseconds: ``"740 µs"``, ``"12.3 ms"``, ``"4.56 s"``, ``"2 h 07 min"``."""
    if not math.isfinite(ms):
        return "unknown"
    if ms < 0:
        return "-" + format_duration(-ms)
    # The limits lie where rounding would write 1000 of a unit, or 60 s.
    if ms < 0.9995:
        return f"{ms * 1000:.0f} µs"
    if ms < 999.5:
        return f"{ms:.3g} ms"
    if ms < 59_995:
        return f"{ms / 1000:.3g} s"
    seconds = round(ms / 1000)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
