"""Configures the budget for a job: limits from the host, and from the log what has been used already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrengine.budget.server import BudgetConfig
from mrengine.job.job_store import JobStore
from mrengine.log.view.call_totals import CallTotals
from mrengine.records import Budget, Price, Priority, RateLimit

__all__ = ["BudgetTerms", "budget_config", "spent_of"]


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """The host's part of a ``BudgetConfig``. ``since``: where this run begins in the log. ``reserved``: tokens and USD
    that batches under way may cost.
    """

    limits: Mapping[str, RateLimit]
    budget: Budget | None
    prices: Mapping[str, Price | None]
    priority: Priority
    exact: tuple[str, ...]
    shared_dir: str
    host: str
    places: Mapping[str, str]
    since: int
    reserved: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> BudgetTerms:
        """From what ``dataclasses.asdict`` has made of one, after it has travelled."""
        budget, prices = plain["budget"], plain["prices"]
        values = {
            "limits": {model: RateLimit(**limit) for model, limit in plain["limits"].items()},
            "budget": None if budget is None else Budget(**budget),
            "prices": {model: None if price is None else Price.of(price) for model, price in prices.items()},
            "exact": tuple(plain["exact"]),
            "reserved": tuple(plain["reserved"]),
        }
        return cls(**{**plain, **values})


def spent_of(used: CallTotals, prices: Mapping[str, Price | None]) -> tuple[float, float]:
    """Tokens and USD: answers at what they cost, calls without an answer at the most they can have cost."""
    tokens = cost = 0.0
    for model, one in used.spent().items():
        price = prices.get(model)
        tokens += one.usage.total_tokens + one.bound.total_tokens
        if price is not None:
            known = price.cost(one.usage, longest=one.longest) if one.cost_usd is None else one.cost_usd
            cost += price.most(one.bound, longest=one.longest) + known
        else:
            cost += one.cost_usd or 0.0
    return tokens, cost


def budget_config(terms: BudgetTerms, job: JobStore) -> BudgetConfig:
    """With the log's part: what was used in the last minute, and what was spent so far."""
    spent = (0.0, 0.0)
    if terms.budget is not None:
        spent = spent_of(job.used(None if terms.budget.per == "job" else terms.since), terms.prices)
    return BudgetConfig(
        limits=terms.limits,
        budget=terms.budget,
        prices=terms.prices,
        spent=(spent[0] + terms.reserved[0], spent[1] + terms.reserved[1]),
        history=job.recent_calls(),
        priority=terms.priority,
        exact=terms.exact,
        shared_dir=terms.shared_dir,
        host=terms.host,
        places=terms.places,
    )
