"""Which model a task is given to, by index."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.engine.model_choice import ModelChoice


def test_round_robin_is_by_number_in_every_run() -> None:
    """Task i goes to model i % n, whatever happened before."""
    balance = ModelChoice("abc", "round_robin")
    balance.given(0)
    assert [balance.choose(key) for key in (0, 1, 2, 3, 7)] == [0, 1, 2, 0, 1]


def test_a_job_without_models_has_one() -> None:
    """Its tasks carry model 0, and nothing is told of it."""
    balance = ModelChoice([], "round_robin")
    balance.given(balance.choose(3))
    balance.report_load(lambda *note: pytest.fail("nothing to tell"))


def test_a_model_that_is_down_gets_nothing() -> None:
    """Its tasks go to the others; when none is left, that is said."""
    balance = ModelChoice("ab", "round_robin")
    assert balance.down(0) is False
    assert {balance.choose(key) for key in range(6)} == {1}
    assert balance.down(1) is True
    assert balance.choose(1) in (0, 1)


def test_least_used_goes_where_least_is_in_flight() -> None:
    """And comes back when that has ended."""
    balance = ModelChoice("ab", "least_used")
    balance.given(0)
    assert balance.choose(5) == 1
    balance.given(1)
    balance.back(0)
    assert balance.choose(5) == 0


def test_budget_is_in_proportion_to_the_limits() -> None:
    """A model with three times the tokens a minute gets three times the tasks, while neither makes calls wait."""
    balance, got = ModelChoice("ab", "budget", [30_000, 10_000]), [0, 0]
    for key in range(400):
        model = balance.choose(key)
        balance.given(model)
        got[model] += 1
    assert got == [300, 100]


def test_a_task_whose_call_was_begun_stays_with_its_model() -> None:
    """Another one would be paid again; only when it is down, or the task has its outcome, the choice is free."""
    balance = ModelChoice("ab", "least_used", begun={7: 1, 8: 5})
    balance.given(1)
    assert balance.choose(7) == 1
    assert balance.choose(8) == 0  # a model that the job has not any more
    balance.begin(3, 1)
    assert balance.choose(3) == 1
    balance.down(1)
    assert balance.choose(3) == 0
    balance.end(3)
    assert balance.choose(3) == 0


def test_budget_goes_where_calls_wait_least() -> None:
    """What calls have shown of a budget counts more than what its limit promised."""
    balance = ModelChoice("ab", "budget", [30_000, 10_000])
    balance.waits("a", 60_000.0)
    assert balance.choose(0) == 1
    balance.waits("b", 120_000.0)
    assert balance.choose(0) == 0


def test_the_load_is_reported_when_it_has_changed() -> None:
    """By name, and once."""
    balance = ModelChoice("ab", "round_robin")
    balance.given(1)
    told: list[Any] = []
    for _ in range(2):
        balance.report_load(lambda *note: told.append(note))
    assert told == [("models:load", {"in_flight": {"a": 0, "b": 1}})]
    balance.back(1)
    balance.report_load(lambda *note: told.append(note))
    assert told[1][1] == {"in_flight": {"a": 0, "b": 0}}
