"""The window of a worker follows its speed."""

from __future__ import annotations

from mrengine.engine.prefetch import MOST, PrefetchWindow


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_slow_tasks_leave_the_window_at_the_slots() -> None:
    """Nothing waits at a worker that another could take."""
    clock = Clock()
    pace = PrefetchWindow(4, clock)
    for _ in range(40):
        clock.now += 0.25
        pace.finished()
    assert pace.window == 4


def test_quick_tasks_open_it_and_slow_ones_close_it_again() -> None:
    """So that a worker does not stand still while the log is synced; never without bound."""
    clock = Clock()
    pace = PrefetchWindow(1, clock)
    for _ in range(20_000):
        clock.now += 20e-6
        pace.finished()
    assert 500 < pace.window <= 1 + MOST
    for _ in range(5):
        clock.now += 1.0
        pace.finished()
    assert pace.window == 1
