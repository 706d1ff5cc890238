"""The budget of work in one process."""

from __future__ import annotations

import threading
import time

import pytest

from mrengine.budget.in_process import LocalBudget
from mrengine.budget.server import BudgetConfig, make_service
from mrengine.errors import BudgetExhausted, ModelRefused, Stopped
from mrengine.records import Budget, RateLimit, Usage


def after(seconds):
    """What stops a wait that takes longer than this."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def local(**terms):
    return LocalBudget(make_service(BudgetConfig(priority="P1_user", **terms)))


def test_a_call_waits_for_its_tokens():
    """The second waits as long as the first is worth, and hears of it."""
    budget, waits = local(limits={"m": RateLimit(tpm=60_000)}), []
    budget.acquire("m", 59_400, 0, estimated=False).settle(Usage(59_400))
    start = time.monotonic()
    budget.acquire("m", 200, 0, estimated=False, on_wait=lambda model, wait_ms: waits.append(wait_ms))
    assert time.monotonic() - start >= 0.15
    assert len(waits) == 1
    assert 100 < waits[0] <= 200


def test_threads_share_it():
    """Each of twenty threads gets its grant; slots are never exceeded."""
    budget = local(limits={"m": RateLimit(concurrent=3)})
    running, most, lock = [0], [0], threading.Lock()

    def work():
        lease = budget.acquire("m", 10, 10, stopping=after(30.0))
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1
        lease.settle(Usage(10, 10))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most[0] <= 3
    assert not any(thread.is_alive() for thread in threads)


def test_what_ends_a_wait_is_clear():
    """A stop, at once or later, a call above the limit, a spent budget."""
    budget = local(limits={"m": RateLimit(tpm=600)}, budget=Budget(max_tokens=700))
    budget.acquire("m", 590, 0, estimated=False).settle(Usage(590))
    with pytest.raises(Stopped):
        budget.acquire("m", 100, 0, estimated=False, stopping=after(0.05))
    with pytest.raises(Stopped):
        budget.acquire("m", 100, 0, estimated=False, stopping=lambda: True)
    with pytest.raises(ModelRefused, match="601 tokens"):
        budget.acquire("m", 601, 0, estimated=False, bound_tokens=1)
    with pytest.raises(BudgetExhausted):
        budget.acquire("m", 100, 100, estimated=False)


def test_who_gave_up_is_in_nobodys_way():
    """After a stop the next one stands first."""
    budget = local(limits={"m": RateLimit(tpm=60_000)})
    budget.acquire("m", 59_400, 0, estimated=False)
    with pytest.raises(Stopped):
        budget.acquire("m", 50_000, 0, estimated=False, stopping=after(0.02))
    budget.acquire("m", 100, 0, estimated=False, stopping=after(5.0))
