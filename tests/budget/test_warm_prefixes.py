"""One call goes first, and nobody waits for a dead one."""

from __future__ import annotations

from mrengine.budget.warm_prefixes import LEAD_S, MOST, WARM_S, WarmPrefixes

A, B, C = ("w0", 1), ("w1", 1), ("w2", 1)


def test_one_goes_first_and_the_rest_when_it_was_answered() -> None:
    """For each model and prefix, again and again while it asks; and anew once the cache has expired."""
    warm = WarmPrefixes()
    assert warm.may_go("m", "p", A, 0.0)
    assert warm.may_go("m", "p", A, 0.1)
    assert not warm.may_go("m", "p", B, 0.2)
    assert warm.may_go("m", "other", B, 0.2)
    assert warm.may_go("n", "p", C, 0.2)
    warm.ended(A, answered=True, now=1.0)
    assert warm.may_go("m", "p", C, 1.0)
    assert warm.may_go("m", "p", ("w2", 2), 1.0 + WARM_S - 1)
    assert warm.may_go("m", "p", ("w2", 3), 1.0 + 2 * WARM_S - 3)
    late = 5.0 + 4 * WARM_S
    assert warm.may_go("m", "p", ("w2", 4), late)
    assert not warm.may_go("m", "p", ("w2", 5), late)


def test_the_next_goes_first_where_the_first_came_to_nothing() -> None:
    """It failed, was given up, or nothing was heard of it for too long."""
    warm = WarmPrefixes()
    assert warm.may_go("m", "p", A, 0.0)
    warm.ended(A, answered=False, now=1.0)
    assert warm.may_go("m", "p", B, 1.0)
    warm.keep("w1", (), 2.0)
    assert warm.may_go("m", "p", C, 2.0)
    warm.keep("w2", (1,), 3.0)
    assert not warm.may_go("m", "p", A, 3.0)
    assert warm.may_go("m", "p", A, 2.1 + LEAD_S)
    warm.ended(C, answered=True, now=70.0)  # late, and told no more
    assert not warm.may_go("m", "p", B, 70.0)


def test_its_memory_is_bounded() -> None:
    """However many prefixes a map function makes."""
    warm = WarmPrefixes()
    for number in range(3 * MOST):
        assert warm.may_go("m", str(number), ("w", number), 0.0)
    assert len(warm._prefixes) <= MOST
    assert len(warm._leads) <= MOST
