"""Decides which model a chunk goes to. Returns a name; touches no network, and only the clock that it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mrengine.errors import ConfigError, JobFailed
from mrengine.records import ModelSpec, Usage

__all__ = ["ModelLoadBalancer", "ModelStats"]

NO_USAGE = Usage()
POLICIES = ("round_robin", "least_used", "budget")


@dataclass(frozen=True, slots=True)
class ModelStats:
    """What one model did so far. ``in_flight``: calls or chunks begun and not ended."""

    model: str
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    usage: Usage = NO_USAGE


@dataclass(slots=True)
class _Load:
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    assigned: int = 0
    usage: Usage = NO_USAGE
    waits_until: float = float("-inf")
    out: bool = False


class ModelLoadBalancer:
    """Spreads chunks over ``models``: chunk i of n models goes to model i % n, or by what they have done or have left.

    Whoever sees the outcomes of all workers reports them: ``begin``, ``leave``, ``count``, ``waits``, ``remove``. A
    model that was removed (401, quota) is skipped; JobFailed when none is left. ``weights``: how fast the models may be
    called, in any unit, for "budget". Not thread-safe, except ``get_usage_stats``.
    """

    def __init__(
        self,
        models: Sequence[str | ModelSpec],
        *,
        balance: str = "round_robin",
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not models:
            raise ConfigError("a balancer needs at least one model", setting="models")
        if balance not in POLICIES:
            raise ConfigError(f"unknown balance {balance!r}: use one of {', '.join(POLICIES)}", setting="balance")
        self.models = tuple(dict.fromkeys(model if isinstance(model, str) else model.name for model in models))
        self._balance = balance
        self._clock = clock
        self._next = 0
        self._weights = weights or {}
        self._loads = {model: _Load() for model in self.models}

    def assign(self, chunk_id: int) -> str:
        """The model of a chunk, by the policy."""
        if self._balance == "least_used":
            return self.get_least_used_model()
        if self._balance == "budget":
            return self.get_model_by_budget()
        return self._from(chunk_id)

    def get_next_model(self) -> str:
        """The next model in turn."""
        turn, self._next = self._next, self._next + 1
        return self._from(turn)

    def get_least_used_model(self) -> str:
        """The model with the fewest chunks in flight, then the fewest tokens, then the fewest assigned."""
        return self._least(lambda load, _: (load.in_flight, load.usage.total_tokens, load.assigned))

    def get_model_by_budget(self) -> str:
        """The model that makes a call wait least; of those that make none wait, the one with the fewest chunks in
        flight for its weight.
        """
        now = self._clock()

        def weigh(load: _Load, model: str) -> tuple[float, ...]:
            return max(0.0, load.waits_until - now), (1 + load.in_flight) / self._weights.get(model, 1.0), load.assigned

        return self._least(weigh)

    def begin(self, model: str) -> None:
        """A chunk has been given to the model."""
        load = self._loads[model]
        load.in_flight += 1
        load.assigned += 1

    def leave(self, model: str) -> None:
        """A chunk of the model is not in flight any more, whatever became of it."""
        load = self._loads[model]
        load.in_flight = max(0, load.in_flight - 1)

    def count(self, model: str, usage: Usage | None = None, *, done: int = 0, failed: int = 0) -> None:
        """Add to what the model did. A fallback, which is not among ``models``, is counted too."""
        load = self._loads.setdefault(model, _Load())
        load.done += done
        load.failed += failed
        if usage is not None:
            load.usage = load.usage + usage

    def carries(self, in_flight: Mapping[str, int]) -> None:
        """Set how many chunks of each model are in flight, where another process begins and ends them."""
        for model, number in in_flight.items():
            self._loads.setdefault(model, _Load()).in_flight = number

    def waits(self, model: str, seconds: float) -> None:
        """A call to the model has to wait this long for its budget."""
        if model in self._loads:
            self._loads[model].waits_until = self._clock() + seconds

    def remove(self, model: str) -> None:
        """No call can use this model any more."""
        self._loads[model].out = True

    def get_usage_stats(self) -> dict[str, ModelStats]:
        """What each model did, over all workers."""
        return {
            model: ModelStats(model, load.in_flight, load.done, load.failed, load.usage)
            for model, load in list(self._loads.items())  # a copy, made at once: other threads may ask
        }

    def _from(self, turn: int) -> str:
        """The model whose turn it is, or the next one that is left. The others keep their turns."""
        usable = self._usable()
        order = (self.models[(turn + step) % len(self.models)] for step in range(len(self.models)))
        return next(model for model in order if model in usable)

    def _least(self, weigh: Callable[[_Load, str], tuple[float, ...]]) -> str:
        return min(self._usable(), key=lambda model: weigh(self._loads[model], model))

    def _usable(self) -> list[str]:
        left = [model for model in self.models if not self._loads[model].out]
        if not left:
            raise JobFailed(f"no model is left: {', '.join(self.models)} cannot be used any more")
        return left
