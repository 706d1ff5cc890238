"""The order in which a limit serves, and what a class leaves for higher priorities."""

from __future__ import annotations

import pytest

from mrengine.budget.wait_queue import KEPT_S, PASSED_OVER_S, RELEASE_S, QueuedRequest, WaitQueue, rank_of
from mrengine.errors import ConfigError


def ask(number, rank, since=0.0, expires=1e9):
    return QueuedRequest(("w", number), rank, (1.0, 1.0, 0.0, 1.0), since, expires)


def order(line, now=0.0):
    return [one.key[1] for one, _ in line.in_order(now)]


def test_better_classes_first_and_first_come_first_served_within_one():
    """By rank, then by arrival, whatever the order of joining."""
    line = WaitQueue(0.0)
    for number, rank in ((1, 2), (2, 0), (3, 1), (4, 0), (5, 2)):
        line.join(ask(number, rank))
    assert order(line) == [2, 4, 3, 1, 5]


def test_who_joins_twice_keeps_its_place_and_its_news():
    """An ask that is told again is the same ask, with what it needs now."""
    line = WaitQueue(0.0)
    line.join(ask(1, 1))
    line.join(ask(2, 1))
    line.join(QueuedRequest(("w", 1), 1, (9.0, 9.0, 0.0, 1.0), 5.0, 7.0))
    assert order(line) == [1, 2]
    first = next(line.in_order(0.0))[0]
    assert (first.need[0], first.since, first.expires) == (9.0, 0.0, 7.0)


def test_the_expired_and_the_withdrawn_are_gone():
    """Neither is served nor counted."""
    line = WaitQueue(0.0)
    line.join(ask(1, 1, expires=5.0))
    line.join(ask(2, 1))
    line.join(ask(3, 1))
    assert line.leave(("w", 3)) is not None
    assert line.leave(("w", 3)) is None
    assert order(line, now=6.0) == [2]
    assert len(line) == 1


def test_the_head_of_a_starved_class_goes_first_once_in_a_while():
    """After a minute one of them is served first; the next has to wait as long."""
    line = WaitQueue(0.0)
    for number in (1, 2):
        line.join(ask(number, 2))
    line.join(ask(3, 0))
    assert order(line, PASSED_OVER_S - 1) == [3, 1, 2]
    (first, starved), *_ = line.in_order(PASSED_OVER_S)
    assert (first.key[1], starved) == (1, True)
    line.serve(first, PASSED_OVER_S)
    assert order(line, PASSED_OVER_S + 1) == [3, 2]
    assert order(line, 2 * PASSED_OVER_S) == [2, 3]


def test_a_reserve_is_given_up_with_the_silence_of_those_it_is_for():
    """30% and 60% at first; nothing, or half a second of the rate, after a third of a refill period."""
    line = WaitQueue(0.0)
    assert line.reserve(0, 1000.0, 10.0, 0.0).floor == 0.0
    assert line.reserve(1, 1000.0, 10.0, 0.0).floor == 300.0
    assert line.reserve(2, 1000.0, 10.0, 0.0).floor == 600.0
    assert line.reserve(2, 1000.0, 10.0, RELEASE_S / 2).floor == pytest.approx(300.0)
    assert line.reserve(1, 1000.0, 10.0, RELEASE_S).floor == 0.0
    assert line.reserve(2, 1000.0, 10.0, RELEASE_S).floor == KEPT_S * 10.0


def test_a_better_class_that_waits_is_not_silent():
    """As long as it stands in the line, and from its last word on."""
    line = WaitQueue(0.0)
    line.join(ask(1, 0, since=100.0))
    assert line.silence_s(1, 200.0) == 0.0
    list(line.in_order(200.0))
    line.leave(("w", 1))
    assert line.silence_s(1, 210.0) == 10.0
    assert line.silence_s(0, 210.0) == float("inf")


def test_nothing_is_kept_for_classes_that_cannot_come():
    """In a process of one priority there is no reserve at all."""
    line = WaitQueue(0.0, idle=(0, 1))
    assert line.reserve(2, 1000.0, 10.0, 0.0).floor == 0.0
    assert line.reserve(2, 1000.0, 10.0, 5.0).falling == 0.0


def test_a_line_survives_dump_and_load():
    """Order, needs, silence: all of it."""
    line = WaitQueue(0.0, idle=(0,))
    for number, rank in ((1, 2), (2, 1), (3, 2)):
        line.join(ask(number, rank))
    again = WaitQueue.load(line.dump())
    assert again.dump() == line.dump()
    assert order(again) == [2, 1, 3]


def test_an_unknown_priority_is_named():
    """With the names that exist."""
    assert [rank_of(name) for name in ("P0", "P1_user", "P2_batch")] == [0, 1, 2]
    with pytest.raises(ConfigError, match="P2_batch"):
        rank_of("urgent")
