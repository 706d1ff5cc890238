"""Which model gets a task."""

from __future__ import annotations

from mrengine.engine.balance import Balance


def test_round_robin_is_by_number_in_every_run() -> None:
    """Task i goes to model i % n, whatever happened before."""
    balance = Balance(3, "round_robin")
    balance.given(0)
    assert [balance.choose(key) for key in (0, 1, 2, 3, 7)] == [0, 1, 2, 0, 1]


def test_a_model_that_is_down_gets_nothing() -> None:
    """Its tasks go to the others; when none is left, that is said."""
    balance = Balance(2, "round_robin")
    assert balance.down(0, "401") is False
    assert {balance.choose(key) for key in range(6)} == {1}
    assert balance.down(1, "401") is True


def test_least_used_goes_where_least_is_in_flight() -> None:
    """And comes back when that has ended."""
    balance = Balance(2, "least_used")
    balance.given(0)
    assert balance.choose(5) == 1
    balance.given(1)
    balance.back(0)
    assert balance.choose(5) == 0


def test_budget_is_in_proportion_to_the_limits() -> None:
    """A model with three times the tokens a minute gets three times the tasks."""
    balance, got = Balance(2, "budget", [30_000, 10_000]), [0, 0]
    for key in range(400):
        model = balance.choose(key)
        balance.given(model)
        got[model] += 1
    assert got == [300, 100]


def test_a_task_whose_call_was_begun_stays_with_its_model() -> None:
    """Another one would be paid again; only when it is down, or the task has its outcome, the choice is free."""
    balance = Balance(2, "least_used", begun={7: 1, 8: 5})
    balance.given(1)
    assert balance.choose(7) == 1
    assert balance.choose(8) == 0  # a model that the job has not any more
    balance.begin(3, 1)
    assert balance.choose(3) == 1
    balance.down(1, "401")
    assert balance.choose(3) == 0
    balance.end(3)
    assert balance.choose(3) == 0
