"""The arithmetic of one bucket, on a clock of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.budget.bucket import STEPS, Bucket, burst, implied_level

amounts = st.floats(0.0, 2000.0)
pauses = st.floats(0.0, 5.0)


def worst_excess(grants: list[tuple[float, float]], capacity: float, rate: float) -> float:
    """The most by which any window of (time, amount) grants exceeds capacity + rate × width."""
    worst = float("-inf")
    for first in range(len(grants)):
        total = 0.0
        for at, amount in grants[first:]:
            total += amount
            worst = max(worst, total - capacity - rate * (at - grants[first][0]))
    return worst


def test_burst_is_a_minute_less_headroom():
    """60,000 a minute may start with 59,400; burst_s lowers that; nothing at 0; no more than a minute ever."""
    assert burst(60_000) == pytest.approx(59_400)
    assert burst(60_000, 10) == pytest.approx(9_400)
    assert burst(60_000, 0) == 0.0
    assert burst(60_000, 600) == burst(60_000)


@given(st.lists(st.tuples(pauses, amounts), max_size=60))
def test_grants_in_any_window_stay_below_burst_and_rate(steps):
    """Whatever is asked whenever: no window of grants exceeds capacity + rate × width."""
    bucket, now, grants = Bucket(2000.0, 100.0, 0.0), 0.0, []
    for pause, amount in steps:
        now += pause
        bucket.refill(now)
        if bucket.wait_s(amount) == 0.0:
            bucket.take(amount)
            grants.append((now, amount))
    assert worst_excess(grants, 2000.0, 100.0) <= 1e-3


@given(st.lists(st.tuples(pauses, amounts, st.floats(0.0, 1.0), st.integers(0, 5)), max_size=60))
def test_settled_grants_in_any_window_stay_below_burst_and_rate(steps):
    """Giving back what was not used, at any later time, never lets the real use of a window exceed the rule."""
    bucket, now, grants, open_marks = Bucket(2000.0, 100.0, 0.0), 0.0, [], []
    for pause, amount, used, settle in steps:
        now += pause
        bucket.refill(now)
        if bucket.wait_s(amount) == 0.0:
            open_marks.append((bucket.take(amount), amount, amount * used))
            grants.append((now, amount * used))
        for _ in range(min(settle, len(open_marks))):
            mark, taken, real = open_marks.pop(settle % len(open_marks))
            bucket.give_back(taken - real, mark)
        assert bucket.level <= bucket.capacity + 1e-6
    assert worst_excess(grants, 2000.0, 100.0) <= 1e-3


def test_what_a_full_bucket_would_have_spilled_does_not_come_back():
    """A grant given back after the bucket was full again is lost: the provider's bucket was full, too."""
    bucket = Bucket(1000.0, 100.0, 0.0)
    old = bucket.take(500.0)
    bucket.refill(10.0)
    bucket.take(1000.0)
    bucket.give_back(500.0, old)
    assert bucket.level == 0.0


def test_all_that_was_not_used_comes_back_while_the_bucket_is_not_full():
    """Nothing is lost by reserving too much, as long as the bucket did not fill up meanwhile."""
    bucket = Bucket(1000.0, 100.0, 0.0)
    mark = bucket.take(800.0)
    bucket.refill(1.0)
    bucket.take(100.0)
    bucket.give_back(700.0, mark)
    assert bucket.level == pytest.approx(900.0)


def test_using_more_than_was_reserved_is_a_debt():
    """A negative amount lowers the level, below zero if need be."""
    bucket = Bucket(1000.0, 100.0, 0.0)
    mark = bucket.take(900.0)
    bucket.give_back(-300.0, mark)
    assert bucket.level == -200.0
    assert bucket.wait_s(100.0) == pytest.approx(3.0)


def test_without_a_burst_grants_are_spaced_evenly():
    """With capacity 0 each grant waits for the time that the one before it is worth."""
    bucket, now, times = Bucket(0.0, 100.0, 0.0), 0.0, []
    for _ in range(4):
        now += bucket.wait_s(50.0)
        bucket.refill(now)
        bucket.take(50.0)
        times.append(now)
    assert times == pytest.approx([0.0, 0.5, 1.0, 1.5])


def test_a_clock_that_goes_back_adds_nothing():
    """Only time that passes refills."""
    bucket = Bucket(1000.0, 100.0, 50.0, level=0.0)
    bucket.refill(40.0)
    assert bucket.level == 0.0
    bucket.refill(51.0)
    assert bucket.level == 100.0


def test_the_marks_of_a_bucket_stay_few():
    """A burst of ten thousand grants keeps a bounded number of marks, and no more than a step of it is lost."""
    bucket = Bucket(1e6, 1.0, 0.0)
    marks = [bucket.take(100.0) for _ in range(10_000)]
    assert len(bucket.lows) <= STEPS + 1
    for mark in marks:
        bucket.give_back(60.0, mark)
    assert 1e6 * (0.6 - 2 / STEPS) <= bucket.level <= 1e6 * 0.6


def test_a_bucket_survives_dump_and_load():
    """The dumped state is all of it."""
    bucket = Bucket(1000.0, 100.0, 0.0)
    marks = [bucket.take(100.0) for _ in range(3)]
    again = Bucket.load(bucket.dump())
    for one in (bucket, again):
        one.refill(2.5)
        one.give_back(60.0, marks[1])
    assert again.dump() == bucket.dump()


@given(st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(1.0, 1500.0)), max_size=120), st.floats(0.0, 2000.0))
def test_the_level_the_log_implies_is_never_too_high(steps, start):
    """Of any history of real grants, the last minute implies a level at or below the true one."""
    bucket, now, grants = Bucket(2000.0, 40.0, 0.0, start), 0.0, []
    for pause, amount in steps:
        now += pause
        bucket.refill(now)
        if bucket.wait_s(amount) == 0.0:
            bucket.take(amount)
            grants.append((now, amount))
    implied = implied_level(2000.0, 40.0, [(now - at, amount) for at, amount in grants])
    assert implied <= bucket.level + 1e-3 or now < 60.0


def test_a_silent_minute_implies_a_full_bucket_and_a_saturated_one_an_empty_one():
    """Nothing is withheld after a rest, nothing is given twice after a run at full rate."""
    assert implied_level(59_400, 1000, []) == 59_400
    saturated = [(ago / 10, 100.0) for ago in range(600)]
    assert implied_level(59_400, 1000, saturated) <= 200
    assert implied_level(59_400, 1000, [(30.0, 59_400.0)]) == pytest.approx(30_000)
