"""Chooses the model of each task, by index. The balancer supplies the policy, the engine the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrengine.providers.models.balancer import POLICIES, ModelLoadBalancer

__all__ = ["ModelChoice"]


class ModelChoice:
    """Chooses among the job's ``models``. Where it has none, every task has model 0.

    ``policy``: "round_robin", "least_used", "budget"; anything else is round_robin. ``weights``: how fast each may be
    called. A model that is down gets nothing. A task that has begun a call keeps its model over attempts and runs;
    ``begun`` has those of earlier runs.
    """

    # Its answer may be in the log, under the digest of that model: another one would be paid again.

    def __init__(
        self,
        models: Sequence[str | None],
        policy: str,
        weights: Sequence[float] = (),
        begun: Mapping[int, int] | None = None,
    ) -> None:
        self._names = [model or "" for model in models] or [""]
        self._index = {name: index for index, name in enumerate(self._names)}
        self._balancer = ModelLoadBalancer(
            self._names,
            balance=policy if policy in POLICIES else "round_robin",
            weights=dict(zip(self._names, weights, strict=True)) if len(weights) == len(self._names) else None,
        )
        self._only = len(self._names) == 1
        self._left = set(self._names)
        self._reported: dict[str, int] = {}
        self._begun = {key: model for key, model in (begun or {}).items() if 0 <= model < len(self._names)}

    def choose(self, key: int) -> int:
        """The model for a task; 0 where none is left."""
        if self._only or not self._left:
            return 0
        begun = self._begun.get(key)
        if begun is not None and self._names[begun] in self._left:
            return begun
        return self._index[self._balancer.assign(key)]

    def begin(self, key: int, model: int) -> None:
        """Note that a task is about to call its model."""
        if not self._only:
            self._begun[key] = model

    def end(self, key: int) -> None:
        """Forget a task that has its outcome."""
        self._begun.pop(key, None)

    def given(self, model: int) -> None:
        """Count a task in flight."""
        self._balancer.begin(self._names[model])

    def back(self, model: int) -> None:
        """Count a task that is no longer in flight."""
        self._balancer.leave(self._names[model])

    def waits(self, name: str, wait_ms: float) -> None:
        """Note that a call has to wait for the budget of its model."""
        self._balancer.waits(name, wait_ms / 1e3)

    def down(self, model: int) -> bool:
        """Choose this model no more; True when none is left."""
        self._left.discard(self._names[model])
        self._balancer.remove(self._names[model])
        return not self._left

    def report_load(self, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Note the tasks in flight by model, if they have changed since the last time."""
        now = {name: one.in_flight for name, one in self._balancer.get_usage_stats().items() if name}
        if now != self._reported:
            self._reported = now
            note("models:load", {"in_flight": now})
