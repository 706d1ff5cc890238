"""Which of several models gets a call: the first that is well; the next when it fails. Decides only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mrengine.errors import ModelError
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.models.model import Model
from mrengine.records import Completion

__all__ = ["ask_any", "choose"]

Attempt = Callable[[Model, Breaker, bool], Completion]


def choose(models: Sequence[Model], breakers: Mapping[str, Breaker]) -> Model:
    """The first model that may be called now; where none may, the one that may soonest."""
    for model in models:
        if breakers[model.name].allow():
            return model
    return min(models, key=lambda model: breakers[model.name].wait_s())


def ask_any(models: Sequence[Model], breakers: Mapping[str, Breaker], attempt: Attempt) -> Completion:
    """Ask models in order until one answers.

    ``attempt(model, breaker, alternatives)`` makes the call with its retries; ``alternatives`` says whether another
    model is left, so that it gives up when the breaker opens instead of trying until the deadline. Raises the last
    error, and at once one that is final for the chunk: another model would be asked the same.
    """
    left = list(models)
    while True:
        model = choose(left, breakers)
        left.remove(model)
        try:
            return attempt(model, breakers[model.name], bool(left))
        except ModelError as error:
            if not left or (error.scope != "model" and not error.transient):
                raise
