"""Owns which model a task is given to. Decides only; what a model is, others know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["Balance"]


class Balance:
    """Chooses among ``n`` models.

    "round_robin": task i goes to model i % n, the same in every run; "least_used": to the one with the fewest tasks in
    flight; "budget": the same in proportion to ``weights`` (tokens per minute). A model that is down gets nothing.
    A task whose call was begun stays with its model, over attempts and runs (``begun``: of earlier ones): its answer
    may be in the log, and another model would be paid again.
    """

    def __init__(
        self, n: int, strategy: str, weights: Sequence[float] = (), begun: Mapping[int, int] | None = None
    ) -> None:
        self._n, self._strategy = n, strategy
        equal = strategy != "budget" or len(weights) != n
        self._weights = [1.0] * n if equal else [max(weight, 1e-9) for weight in weights]
        self._load = [0] * max(1, n)
        self._down: dict[int, str] = {}
        self._begun = {key: model for key, model in (begun or {}).items() if 0 <= model < n}

    def choose(self, key: int) -> int:
        """The model for a task."""
        if self._n <= 1:
            return 0
        begun = self._begun.get(key)
        if begun is not None and begun not in self._down:
            return begun
        alive = [i for i in range(self._n) if i not in self._down] or list(range(self._n))
        if self._strategy == "round_robin":
            return key % self._n if key % self._n in alive else alive[key % len(alive)]
        return min(alive, key=lambda i: (self._load[i] + 1) / self._weights[i])

    def begin(self, key: int, model: int) -> None:
        """A task is about to call its model."""
        if self._n > 1:
            self._begun[key] = model

    def end(self, key: int) -> None:
        """A task has its outcome."""
        self._begun.pop(key, None)

    def given(self, model: int) -> None:
        """A task is in flight."""
        self._load[model] += 1

    def back(self, model: int) -> None:
        """It is not any more."""
        self._load[model] -= 1

    def down(self, model: int, cause: str) -> bool:
        """No call can use this model any more; True when none is left."""
        self._down.setdefault(model, cause)
        return len(self._down) >= self._n
