"""What the budget is told of a job's log: calls of workers that no replay has seen, at what they can have cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrengine.budget.server import BudgetConfig
from mrengine.job.budget_config import BudgetTerms, budget_config
from mrengine.job.job_store import JobStore
from mrengine.log.format import codec
from mrengine.records import Budget, Price
from tests.log.sample import call, intent


def terms(job: JobStore, budget: Budget | None, since: int = 0, price: Price | None = None) -> BudgetConfig:
    given = BudgetTerms(
        limits={},
        budget=budget,
        prices={"m": price},
        priority="P1_user",
        exact=(),
        shared_dir="/nowhere",
        host="h",
        places={},
        since=since,
    )
    return budget_config(given, job)


@pytest.fixture
def job(tmp_path: Path) -> Any:
    opened = JobStore.open(tmp_path, "job", durability="flush")
    yield opened
    opened.close()


def put(job: JobStore, *records: tuple[int, bytes]) -> int:
    """What workers say goes into the log without passing by the job's state; its end."""
    for kind, payload in records:
        job.log.append(kind, payload)
    return job.log.commit()


def test_a_call_without_an_answer_counts_at_its_upper_bound(job: JobStore) -> None:
    """400 bytes of prompt and 50 of max_tokens, not the 100 tokens that it was estimated at; an answer at its usage."""
    put(job, (codec.INTENT, intent("a")), (codec.INTENT, intent("b")), (codec.CALL, call("a")))
    assert terms(job, Budget(max_tokens=10**6)).spent[0] == 15 + 450
    price = Price(1e6, 2e6)  # and 2e6 for what may be written into a cache for an hour
    assert terms(job, Budget(max_cost_usd=1e6), price=price).spent[1] == 0.5 + 2 * 400 + 2 * 50


def test_what_was_spent_since_the_log_was_opened_counts(job: JobStore) -> None:
    """A manager that is replaced, and that of the next round, start from what the log says by now; each call once."""
    budget = Budget(max_tokens=10**6)
    put(job, (codec.INTENT, intent("a")))
    assert terms(job, budget).spent[0] == 450
    put(job, (codec.CALL, call("a")), (codec.INTENT, intent("b")))
    assert terms(job, budget).spent[0] == terms(job, budget).spent[0] == 15 + 450
    assert len(terms(job, budget).history) == 0  # they are of 1970


def test_a_run_counts_from_where_it_began(job: JobStore, tmp_path: Path) -> None:
    """In all its rounds, and after its supervisor died; earlier runs count for "job" alone."""
    since = put(job, (codec.INTENT, intent("a")), (codec.CALL, call("a")))
    put(job, (codec.INTENT, intent("b")), (codec.CALL, call("b")))
    put(job, (codec.INTENT, intent("c")), (codec.CALL, call("c")))
    job.close()
    again = JobStore.open(tmp_path, "job", durability="flush")
    assert terms(again, Budget(max_tokens=10**6, per="run"), since).spent[0] == 30
    assert terms(again, Budget(max_tokens=10**6), since).spent[0] == 45
    again.close()


def test_without_a_budget_nothing_is_added_up(job: JobStore) -> None:
    """The log need not be read."""
    put(job, (codec.INTENT, intent("a")))
    assert terms(job, None).spent == (0.0, 0.0)
