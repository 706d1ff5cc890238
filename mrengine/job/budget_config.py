"""Owns what the budget is told of a job: its limits as the host gave them, and what its log says was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrengine.budget.server import BudgetConfig
from mrengine.job.job_store import JobStore
from mrengine.log.view.call_totals import CallTotals
from mrengine.records import Budget, Price, RateLimit

__all__ = ["pack_terms", "terms_of"]


def pack_terms(
    *,
    limits: Mapping[str, RateLimit],
    budget: Budget | None,
    prices: Mapping[str, Price | None],
    priority: str,
    exact: tuple[str, ...],
    shared_dir: str,
    host: str,
    places: Mapping[str, str],
    since: int,
) -> dict[str, Any]:
    """The host's part, as plain values. ``since``: where this run begins in the log."""
    return {
        "limits": {model: _fields(limit) for model, limit in limits.items()},
        "budget": None if budget is None else _fields(budget),
        "prices": {model: None if price is None else _fields(price) for model, price in prices.items()},
        "priority": priority,
        "exact": list(exact),
        "shared_dir": shared_dir,
        "host": host,
        "places": dict(places),
        "since": since,
    }


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _spent(used: CallTotals, prices: Mapping[str, Price | None]) -> tuple[float, float]:
    """Tokens and USD: answers at what they cost, calls without an answer at the most they can have cost."""
    tokens = cost = 0.0
    for model, one in used.spent().items():
        price = prices.get(model)
        tokens += one.usage.total_tokens + one.bound.total_tokens
        if price is not None:
            cost += price.most(one.bound) + (price.cost(one.usage) if one.cost_usd is None else one.cost_usd)
        else:
            cost += one.cost_usd or 0.0
    return tokens, cost


def terms_of(order: Mapping[str, Any], job: JobStore) -> BudgetConfig:
    """With the log's part: what was used in the last minute, and what was spent so far."""
    budget = None if order["budget"] is None else Budget(**order["budget"])
    prices = {model: None if price is None else Price(**price) for model, price in order["prices"].items()}
    return BudgetConfig(
        limits={model: RateLimit(**limit) for model, limit in order["limits"].items()},
        budget=budget,
        prices=prices,
        spent=(0.0, 0.0)
        if budget is None
        else _spent(job.used() if budget.per == "job" else job.used(order["since"]), prices),
        history=job.recent_calls(),
        priority=order["priority"],
        exact=tuple(order["exact"]),
        shared_dir=order["shared_dir"],
        host=order["host"],
        places=order["places"],
    )
