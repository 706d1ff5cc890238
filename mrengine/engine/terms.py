"""Owns what the budget is told of a job: its limits as the host gave them, and what its log says was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrengine.budget.server import Terms
from mrengine.engine.job import OpenJob
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
) -> dict[str, Any]:
    """The host's part, as plain values."""
    return {
        "limits": {model: _fields(limit) for model, limit in limits.items()},
        "budget": None if budget is None else _fields(budget),
        "prices": {model: None if price is None else _fields(price) for model, price in prices.items()},
        "priority": priority,
        "exact": list(exact),
        "shared_dir": shared_dir,
        "host": host,
    }


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def terms_of(order: Mapping[str, Any], job: OpenJob) -> Terms:
    """With the log's part: what was used in the last minute, and what was spent so far."""
    budget = None if order["budget"] is None else Budget(**order["budget"])
    prices = {model: None if price is None else Price(**price) for model, price in order["prices"].items()}
    spent = (0.0, 0.0)
    if budget is not None and budget.per == "job":
        for model, used in job.state.ledger.spent().items():
            price = prices.get(model)
            cost = used.cost_usd if used.cost_usd is not None else price.cost(used.usage) if price else 0.0
            spent = (spent[0] + used.usage.total_tokens, spent[1] + cost)
    return Terms(
        limits={model: RateLimit(**limit) for model, limit in order["limits"].items()},
        budget=budget,
        prices=prices,
        spent=spent,
        history=job.recent_calls(),
        priority=order["priority"],
        exact=tuple(order["exact"]),
        shared_dir=order["shared_dir"],
        host=order["host"],
    )
