"""The hard stop: what is spent never exceeds the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.budget.spend_limit import SpendLimit
from mrengine.errors import ConfigError
from mrengine.records import Budget, Price, Usage


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0.0, 1.0), st.integers(0, 3)), max_size=80))
def test_the_cap_is_never_exceeded(calls):
    """Whatever is reserved and used, in any order: spent plus reserved stays within the cap."""
    spend_limit, open_calls = SpendLimit(Budget(max_tokens=1000)), []
    for bound, used, settle in calls:
        if spend_limit.reserve((float(bound), 0.0)):
            open_calls.append((bound, int(bound * used)))
        for _ in range(min(settle, len(open_calls))):
            reserved, real = open_calls.pop(0)
            spend_limit.settle((float(reserved), 0.0), (float(real), 0.0))
        assert spend_limit.spent[0] + spend_limit.reserved[0] <= 1000


def test_a_call_waits_while_others_may_give_back_and_is_refused_when_none_can():
    """Not fitting beside open calls is a wait; not fitting into what is left at all is the end."""
    spend_limit = SpendLimit(Budget(max_tokens=1000), spent=(300.0, 0.0))
    assert spend_limit.reserve((600.0, 0.0))
    assert not spend_limit.reserve((500.0, 0.0))
    assert spend_limit.exhausted((500.0, 0.0)) is None
    spend_limit.settle((600.0, 0.0), (600.0, 0.0))
    assert spend_limit.exhausted((500.0, 0.0)) == ("tokens", 900.0, 1000.0)


def test_a_cost_is_limited_in_usd():
    """Input, cached and output tokens have their own price."""
    prices = {"m": Price(input=2.0, output=8.0, cached=1.0)}
    spend_limit = SpendLimit(Budget(max_cost_usd=1.0), prices=prices)
    assert spend_limit.cost("m", Usage(500_000, 0, 500_000)) == (500_000, 0.5)
    assert not spend_limit.reserve(spend_limit.cost("m", Usage(0, 125_001)))
    assert spend_limit.reserve(spend_limit.cost("m", Usage(0, 125_000)))


def test_an_unknown_price_cannot_be_limited():
    """The error says what to do; without a cost limit no price is needed."""
    with pytest.raises(ConfigError, match="Price"):
        SpendLimit(Budget(max_cost_usd=1.0), prices={"m": None})
    with pytest.raises(ConfigError, match="unknown"):
        SpendLimit(Budget(max_cost_usd=1.0)).cost("m", Usage(1, 1))
    assert SpendLimit(Budget(max_tokens=5), prices={"m": None}).cost("m", Usage(1, 1)) == (2.0, 0.0)


def test_without_a_budget_there_is_nothing_to_watch():
    """No limit: everything fits."""
    spend_limit = SpendLimit(None)
    assert not spend_limit.limited
    assert spend_limit.reserve((1e18, 1e18))
