"""Tickets in, messages out, replies back to those who wait."""

from __future__ import annotations

import threading

import pytest

from mrengine.budget.pending_requests import Lease, PendingRequests, Stopped, wait
from mrengine.errors import BudgetExhausted, ConfigError, ModelRefused, ModelUnavailable
from mrengine.records import Observed, Usage


def ask(desk, model="m"):
    return desk.ask(model, 100, 20, priority="P1_user", bound_tokens=None, estimated=True)


def wait_for(ticket, *, deadline=None, stopping=None, on_wait=None):
    wait(ticket, deadline=deadline, stopping=stopping, on_wait=on_wait, why=lambda: "of nothing")


def test_a_message_holds_all_that_waits_until_it_is_answered():
    """Told again and again: a lost message loses nothing."""
    desk = PendingRequests()
    first, second = ask(desk), ask(desk)
    assert [one[0] for one in desk.message()[0]] == [1, 2]
    desk.take(([1], [], [(2, 0.5, 1)], []), 0)
    assert first.granted
    assert not second.granted
    assert [one[0] for one in desk.message()[0]] == [2]
    assert desk.held() == [(1, "m", 100, 20)]


def test_what_is_done_is_told_until_it_is_answered():
    """Only what the answered message held is forgotten."""
    desk = PendingRequests()
    tickets = [ask(desk), ask(desk)]
    desk.take(([1, 2], [], [], []), 0)
    Lease(tickets[0], desk.settle).settle(Usage(90, 5, 1), Observed(limit_tokens=7))
    (told,) = desk.message()[1]
    assert told[:6] == (1, "m", 100, 20, (90, 5, 1, 0, 0, 0, False), True)
    assert 7 in told[6]
    Lease(tickets[1], desk.settle).settle(made=False)
    desk.take(([], [], [], []), 1)
    assert [(one[0], one[5]) for one in desk.message()[1]] == [(2, False)]
    assert desk.held() == []


def test_a_lease_is_settled_once():
    """The first report counts."""
    desk = PendingRequests()
    ticket = ask(desk)
    desk.take(([1], [], [], []), 0)
    lease = Lease(ticket, desk.settle)
    assert lease.number == 1
    lease.settle(Usage(1, 1))
    lease.settle(made=False)
    assert len(desk.message()[1]) == 1


def test_a_grant_that_nobody_waits_for_any_more_is_given_back():
    """Whether the waiter left before or after it came."""
    desk = PendingRequests()
    early, late = ask(desk), ask(desk)
    desk.give_up(early)
    desk.take(([1, 2], [], [], []), 0)
    desk.give_up(late)
    assert [(one[0], one[5]) for one in desk.message()[1]] == [(1, False), (2, False)]
    assert desk.held() == []


def test_one_who_waits_is_told_once_for_how_long():
    """on_wait hears the first wait only, and nothing where there is none."""
    desk, heard = PendingRequests(), []
    ticket = ask(desk)

    def answer():
        desk.take(([], [], [(1, 1.5, 3)], []), 0)
        desk.take(([], [], [(1, 1.0, 2)], []), 0)
        granting.wait(5)
        desk.take(([1], [], [], []), 0)

    granting = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()

    def on_wait(model, wait_ms):
        heard.append((model, wait_ms))
        granting.set()

    wait_for(ticket, on_wait=on_wait)
    thread.join()
    assert heard == [("m", 1500.0)]


def test_what_refuses_a_call_is_raised_as_what_it_is():
    """Each with its facts, none with a prompt."""
    desk = PendingRequests()
    tickets = [ask(desk) for _ in range(3)]
    facts = ("tokens", 900.0, 1000.0)
    refused = [(1, "exhausted", "120 tokens", facts), (2, "config", "too large", ("tokens", 0.0, 0.0))]
    desk.take(([], [*refused, (3, "config", "no price", ("USD", 0.0, 0.0))], [], []), 0)
    with pytest.raises(BudgetExhausted, match="900 of 1000 tokens") as exhausted:
        wait_for(tickets[0])
    assert (exhausted.value.spent, exhausted.value.limit, exhausted.value.unit) == (900.0, 1000.0, "tokens")
    with pytest.raises(ModelRefused, match="too large") as refusal:
        wait_for(tickets[1])
    assert refusal.value.scope == "chunk"
    with pytest.raises(ConfigError, match="no price"):
        wait_for(tickets[2])


def test_stopping_and_the_deadline_end_a_wait():
    """Nothing waits for ever, and the error says what it waited for."""
    desk = PendingRequests()
    with pytest.raises(Stopped):
        wait_for(ask(desk), stopping=lambda: True)
    with pytest.raises(ModelUnavailable, match="'m' could not be called before the deadline: of nothing"):
        wait_for(ask(desk), deadline=0.0)


def test_an_unknown_priority_never_reaches_the_manager():
    """ConfigError at once."""
    with pytest.raises(ConfigError):
        PendingRequests().ask("m", 1, 1, priority="urgent", bound_tokens=None, estimated=True)
