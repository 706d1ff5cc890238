"""Waiting tasks: each is given out once, at home, or to whoever is idle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrengine.engine.queues import MOST, PrefetchWindow, TaskQueues


@given(st.sets(st.integers(0, 500)), st.integers(1, 7), st.integers(1, 3), st.booleans(), st.data())
def test_every_task_is_given_out_once(
    chunks: set[int], workers: int, per_chunk: int, steal: bool, data: st.DataObject
) -> None:
    """Whatever the order in which workers ask, and whatever is put back."""
    queues = TaskQueues(sorted(chunks), workers=workers, per_chunk=per_chunk, steal=steal)
    given_out: list[int] = []
    for _ in range(4 * len(chunks) + workers):
        worker = data.draw(st.integers(0, workers - 1))
        taken = queues.take(worker, data.draw(st.integers(1, 5)), spare=2)
        if taken and data.draw(st.booleans()):
            queues.put_back(taken.pop())
        given_out += taken
        if not steal:
            assert all(key // per_chunk % workers == worker for key in taken)
    for worker in range(workers):
        given_out += queues.take(worker, len(chunks) + 1)
    assert sorted(given_out) == sorted(chunks)
    assert len(queues) == 0


def test_an_idle_worker_takes_from_the_longest_tail() -> None:
    """Where stealing is asked for; and only as many as it has slots idle."""
    queues = TaskQueues([0, 2, 4, 6, 1], workers=2, steal=True)
    assert queues.take(1, 1, spare=1) == [1]
    assert queues.take(1, 5, spare=1) == [6]
    assert queues.take(0, 9, spare=1) == [0, 2, 4]


def test_what_comes_back_is_first() -> None:
    """A task that was given out and not started does not go to the end of the line."""
    queues = TaskQueues([0, 1, 2], workers=1)
    first, second = queues.take(0, 2)
    queues.put_back(second)
    queues.put_back(first)
    assert queues.take(0, 3) == [0, 1, 2]


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
