"""The hard stop: what a job may still spend, in tokens and in USD."""

from __future__ import annotations

from collections.abc import Mapping

from mrengine.errors import ConfigError
from mrengine.records import Budget, Price, Usage

__all__ = ["SpendLimit", "Sum"]

Sum = tuple[float, float]  # tokens, USD


class SpendLimit:
    """Reserves an upper bound before each call, so that spending never exceeds the ``Budget``.

    ``spent``, from the log: the usage of every answer, and the upper bound of every call without one.
    """

    def __init__(
        self, budget: Budget | None, *, prices: Mapping[str, Price | None] | None = None, spent: Sum = (0.0, 0.0)
    ) -> None:
        budget = budget or Budget()
        self._limits = (_limit(budget.max_tokens), _limit(budget.max_cost_usd))
        self._prices = prices or {}
        self.spent: Sum = spent
        self.reserved: Sum = (0.0, 0.0)
        if budget.max_cost_usd is not None:
            for model in self._prices:
                self._price(model)

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return self._limits != (float("inf"), float("inf"))

    def cost(self, model: str, usage: Usage) -> Sum:
        """Tokens and USD of a usage; ConfigError if a cost is limited and the model's price is unknown."""
        price = self._price(model)
        return (float(usage.total_tokens), 0.0 if price is None else price.cost(usage))

    def bound(self, model: str, usage: Usage) -> Sum:
        """The upper bound of a call, in tokens and USD; ConfigError as for ``cost``."""
        price = self._price(model)
        return (float(usage.total_tokens), 0.0 if price is None else price.most(usage))

    def _price(self, model: str) -> Price | None:
        """The price of a model; None if no cost is limited."""
        if self._limits[1] == float("inf"):
            return None
        price = self._prices.get(model)
        if price is None:
            raise ConfigError(
                f"max_cost_usd needs the price of every model, and that of {model!r} is unknown: "
                "give it as ModelSpec(price=Price(...)), or limit max_tokens instead",
                setting="budget",
            )
        return price

    def reserve(self, amount: Sum) -> bool:
        """Reserve an upper bound. False: it does not fit while other calls are open, or ever (see ``exhausted``)."""
        if any(self._over(amount, self.reserved)):
            return False
        self.force_reserve(amount)
        return True

    def force_reserve(self, amount: Sum) -> None:
        """Reserve the bound of a call that is already under way, whether it fits or not."""
        self.reserved = _add(self.reserved, amount)

    def exhausted(self, amount: Sum) -> tuple[str, float, float] | None:
        """(unit, spent, limit) if the amount would not fit even after every reservation was returned; else None."""
        for i, over in enumerate(self._over(amount, (0.0, 0.0))):
            if over:
                return ("tokens", "USD")[i], self.spent[i], self._limits[i]
        return None

    def settle(self, reserved: Sum, used: Sum) -> None:
        """Replace a reservation by what the call really used."""
        self.reserved = _add(self.reserved, (-reserved[0], -reserved[1]))
        self.spent = _add(self.spent, used)

    def _over(self, amount: Sum, reserved: Sum) -> list[bool]:
        # With a margin for rounding: sums of floats may exceed the limit that they exactly reach.
        return [self.spent[i] + reserved[i] + amount[i] > self._limits[i] * (1 + 1e-12) for i in (0, 1)]


def _limit(maximum: float | None) -> float:
    return float("inf") if maximum is None else float(maximum)


def _add(one: Sum, other: Sum) -> Sum:
    return (one[0] + other[0], one[1] + other[1])
