"""Guilt: an innocent task is never charged, and a guilty one is found in few deaths."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mrengine.engine.crash_attribution import AttemptCounter, CrashBisection


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))), st.integers(1, 5))
def test_one_guilty_task_is_found_in_logarithmically_many_deaths(place: tuple[int, int], max_attempts: int) -> None:
    """Whoever runs beside the guilty one is freed; only the guilty one is charged."""
    n, guilty = place
    attempts, cells, done, deaths = AttemptCounter(max_attempts), CrashBisection(), set[int](), 0
    running, given_up = list(range(n)), False
    while running or cells:
        if not running:
            running = cells.next()
        if guilty not in running:
            done.update(running)
            running = []
            continue
        deaths += 1
        if running == [guilty]:
            given_up = attempts.charge(guilty)
            if given_up:
                running = []
            else:
                cells.hold(guilty)
                running = []
        else:
            cells.accuse(running)
            running = []
    assert given_up
    assert done == set(range(n)) - {guilty}
    assert deaths <= math.ceil(math.log2(n)) + max_attempts
    assert all(attempts.charges(key) == 0 for key in done)


def test_attempt_numbers_count_starts() -> None:
    """1 at first, one more after each start that came to nothing, 1 again for a task that is closed."""
    attempts = AttemptCounter(3)
    assert attempts.attempt(7) == 1
    attempts.started(7)
    assert attempts.attempt(7) == 2
    attempts.close(7)
    assert attempts.attempt(7) == 1


def test_what_a_cell_had_not_started_stays_in_one() -> None:
    """It runs next, by itself."""
    cells = CrashBisection()
    cells.accuse([1, 2, 3, 4])
    first = cells.next()
    cells.resume(first[1:])
    assert cells.next() == first[1:]
    assert cells.next() == [3, 4]
    assert not cells
