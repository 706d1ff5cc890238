"""Bounds what batches may cost, at the batch price, and tells what the job's Budget has left for another one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mrengine.job.budget_config import spent_of
from mrengine.log.view.batch_ledger import BatchLedger, Wanted
from mrengine.log.view.call_totals import CallTotals
from mrengine.providers.models.model import Model
from mrengine.records import Budget, Usage

__all__ = ["Allowance", "bound_of", "reserved"]

Sum = tuple[float, float]  # tokens, USD


def bound_of(wanted: Wanted, models: Mapping[str, Model], *, batch: bool = True) -> Sum:
    """The most that a request can cost, in tokens and USD, in a batch or asked directly."""
    # The whole prompt at the dearest rate: nobody knows before how much of it a cache will read or take.
    usage = Usage(wanted.bound, wanted.max_tokens)
    model = models.get(wanted.model)
    price = None if model is None else model.price
    return float(usage.total_tokens), 0.0 if price is None else price.most(usage, batch=batch)


def reserved(ledger: BatchLedger, models: Mapping[str, Model]) -> Sum:
    """The sum of the bounds of all requests in batches that are under way."""
    sent = ledger.sent()
    return _sum(bound_of(one, models) for digest, one in ledger.wanted.items() if digest in sent)


class Allowance:
    """What a budget has left for batches: each ``take()`` reserves one request, until nothing more fits."""

    def __init__(
        self, budget: Budget | None, ledger: BatchLedger, used: CallTotals, models: Mapping[str, Model]
    ) -> None:
        """``used``: the calls that count against the budget."""
        self._models = models
        limits = (None, None) if budget is None else (budget.max_tokens, budget.max_cost_usd)
        self._limits = tuple(math.inf if limit is None else float(limit) for limit in limits)
        prices = {name: model.price for name, model in models.items()}
        self.spent: Sum = (0.0, 0.0) if budget is None else spent_of(used, prices)
        self._taken = (0.0, 0.0) if budget is None else reserved(ledger, models)
        self.short = False  # whether a request did not fit

    def take(self, wanted: Wanted) -> bool:
        """Reserve the bound of a request; False: it does not fit any more."""
        bound = bound_of(wanted, self._models)
        taken = self._taken[0] + bound[0], self._taken[1] + bound[1]
        for spent, more, limit in zip(self.spent, taken, self._limits, strict=True):
            if spent + more > limit * (1 + 1e-12):  # a sum of floats may exceed its exact value by a rounding error
                self.short = True
                return False
        self._taken = taken
        return True

    def left(self) -> Sum:
        """Tokens and USD that nothing has taken yet."""
        tokens, usd = (
            limit - spent - taken for limit, spent, taken in zip(self._limits, self.spent, self._taken, strict=True)
        )
        return tokens, usd

    def facts(self) -> dict[str, str | float]:
        """Message and attributes of the BudgetExhausted that is raised when nothing fits and nothing is under way."""
        at = 1 if self._limits[1] < math.inf else 0
        unit, spent, limit = ("tokens", "USD")[at], self.spent[at], self._limits[at]
        amount = f"{limit:,.4f} USD" if at else f"{limit:,.0f} tokens"
        message = f"the next batch could exceed the budget of {amount}; {spent:,.4f} {unit} are spent"
        return {"message": message, "spent": spent, "limit": limit, "unit": unit}


def _sum(amounts: Iterable[Sum]) -> Sum:
    tokens = usd = 0.0
    for one in amounts:
        tokens, usd = tokens + one[0], usd + one[1]
    return tokens, usd
