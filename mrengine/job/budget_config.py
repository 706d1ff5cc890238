"""Configures the budget of a job: the limits come from the host, what has been used already from the log."""

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
    """The host's part of a ``BudgetConfig``.

    ``since``: where this run begins in the log. ``reserved``: tokens and USD that batches under way may cost.
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
        """The reverse of ``dataclasses.asdict``, after msgpack has turned tuples into lists."""
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
    """Tokens and USD: answers at what they cost, calls without an answer at the most that they can have cost."""
    tokens = cost = 0.0
    for model, spent in used.spent().items():
        price = prices.get(model)
        tokens += spent.usage.total_tokens + spent.bound.total_tokens
        cost += spent.cost_usd or 0.0
        if price is not None:
            # A provider may have billed a call whose answer was lost with its process: a hard stop counts it in full.
            cost += price.most(spent.bound, longest=spent.longest)
            if spent.cost_usd is None:  # the price was not known when the calls were made
                cost += price.cost(spent.usage, longest=spent.longest)
    return tokens, cost


def budget_config(terms: BudgetTerms, job: JobStore) -> BudgetConfig:
    """The whole ``BudgetConfig``, with what the log says was used in the last minute and spent so far."""
    tokens, cost = terms.reserved
    if terms.budget is not None:
        spent = spent_of(job.used(None if terms.budget.per == "job" else terms.since), terms.prices)
        tokens, cost = tokens + spent[0], cost + spent[1]
    return BudgetConfig(
        limits=terms.limits,
        budget=terms.budget,
        prices=terms.prices,
        spent=(tokens, cost),
        # A provider's own window did not restart with the job: buckets begin at the level that the last minute implies.
        history=job.recent_calls(),
        priority=terms.priority,
        exact=terms.exact,
        shared_dir=terms.shared_dir,
        host=terms.host,
        places=terms.places,
    )
