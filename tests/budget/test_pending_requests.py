"""Tickets in, messages out, replies back to those who wait."""

from __future__ import annotations

import threading

import pytest

from mrengine.budget.pending_requests import Lease, PendingRequests, wait
from mrengine.errors import BudgetExhausted, ConfigError, ModelRefused, Stopped
from mrengine.records import Observed, Usage


def ask(pending, model="m"):
    return pending.add(model, 100, 20, priority="P1_user", bound_tokens=None, estimated=True)


def wait_for(request, *, stopping=None, on_wait=None):
    wait(request, stopping, on_wait)


def test_a_message_holds_all_that_waits_until_it_is_answered():
    """Told again and again: a lost message loses nothing."""
    pending = PendingRequests()
    first, second = ask(pending), ask(pending)
    assert [one[0] for one in pending.message()[0]] == [1, 2]
    pending.take(([1], [], [(2, 0.5, 1)], []), 0)
    assert first.granted
    assert not second.granted
    assert [one[0] for one in pending.message()[0]] == [2]
    assert pending.held() == [(1, "m", 100, 20)]


def test_a_report_is_repeated_until_a_reply_covers_it():
    """Only what the answered message held is forgotten."""
    pending = PendingRequests()
    requests = [ask(pending), ask(pending)]
    pending.take(([1, 2], [], [], []), 0)
    Lease(requests[0], pending.settle).settle(Usage(90, 5, 1), Observed(limit_tokens=7))
    (report,) = pending.message()[1]
    assert report[:6] == (1, "m", 100, 20, (90, 5, 1, 0, 0, 0, False), True)
    assert 7 in report[6]
    Lease(requests[1], pending.settle).settle(made=False)
    pending.take(([], [], [], []), 1)
    assert [(one[0], one[5]) for one in pending.message()[1]] == [(2, False)]
    assert pending.held() == []


def test_calls_are_told_to_be_settled_when_the_manager_knows_it():
    """Not when they end: a worker that dies in between had paid for them. Those that were never sent do not count."""
    settled = []
    pending = PendingRequests(settled.append)
    requests = [ask(pending) for _ in range(3)]
    pending.take(([1, 2, 3], [], [], []), 0)
    Lease(requests[0], pending.settle).settle(Usage(90, 5, 1))
    Lease(requests[1], pending.settle).settle(made=False)
    Lease(requests[2], pending.settle).settle(None, Observed(limit_tokens=7), made=False)
    assert sum(settled) == 0
    pending.take(([], [], [], []), 2)
    assert sum(settled) == 1
    pending.take(([], [], [], []), 1)
    assert sum(settled) == 2


def test_a_lease_is_settled_once():
    """The first report counts."""
    pending = PendingRequests()
    request = ask(pending)
    pending.take(([1], [], [], []), 0)
    lease = Lease(request, pending.settle)
    lease.settle(Usage(1, 1))
    lease.settle(made=False)
    assert len(pending.message()[1]) == 1


def test_a_grant_that_nobody_waits_for_any_more_is_given_back():
    """Whether the waiter left before or after it came."""
    pending = PendingRequests()
    early, late = ask(pending), ask(pending)
    pending.give_up(early)
    pending.take(([1, 2], [], [], []), 0)
    pending.give_up(late)
    assert [(one[0], one[5]) for one in pending.message()[1]] == [(1, False), (2, False)]
    assert pending.held() == []


def test_a_waiter_gets_the_length_of_its_wait_once():
    """on_wait hears the first wait only, and nothing where there is none."""
    pending, waits = PendingRequests(), []
    request = ask(pending)

    def answer():
        pending.take(([], [], [(1, 1.5, 3)], []), 0)
        pending.take(([], [], [(1, 1.0, 2)], []), 0)
        granting.wait(5)
        pending.take(([1], [], [], []), 0)

    granting = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()

    def on_wait(model, wait_ms):
        waits.append((model, wait_ms))
        granting.set()

    wait_for(request, on_wait=on_wait)
    thread.join()
    assert waits == [("m", 1500.0)]


def test_what_refuses_a_call_is_raised_as_what_it_is():
    """Each with its facts, none with a prompt."""
    pending = PendingRequests()
    requests = [ask(pending) for _ in range(3)]
    facts = ("tokens", 900.0, 1000.0)
    refused = [(1, "exhausted", "120 tokens", facts), (2, "config", "too large", ("tokens", 0.0, 0.0))]
    pending.take(([], [*refused, (3, "config", "no price", ("USD", 0.0, 0.0))], [], []), 0)
    with pytest.raises(BudgetExhausted, match="900 of 1000 tokens") as exhausted:
        wait_for(requests[0])
    assert (exhausted.value.spent, exhausted.value.limit, exhausted.value.unit) == (900.0, 1000.0, "tokens")
    with pytest.raises(ModelRefused, match="too large") as refusal:
        wait_for(requests[1])
    assert refusal.value.scope == "chunk"
    with pytest.raises(ConfigError, match="no price"):
        wait_for(requests[2])


def test_a_stop_ends_a_wait():
    """The error names the model that is not called."""
    with pytest.raises(Stopped, match="'m' is not called"):
        wait_for(ask(PendingRequests()), stopping=lambda: True)


def test_an_unknown_priority_never_reaches_the_manager():
    """ConfigError at once."""
    with pytest.raises(ConfigError):
        PendingRequests().add("m", 1, 1, priority="urgent", bound_tokens=None, estimated=True)
