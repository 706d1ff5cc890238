"""Decides which of several models gets a call: the first whose breaker allows it, then the next when it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mrengine.errors import ModelError
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.models.model import Model
from mrengine.records import Completion, Request

__all__ = ["ask_any", "choose", "fitted"]

Attempt = Callable[[Model, Breaker, bool], Completion]


def choose(models: Sequence[Model], breakers: Mapping[str, Breaker]) -> Model:
    """The first model that may be called now; if none may, the one that may be called soonest."""
    for model in models:
        if breakers[model.name].allow():
            return model
    return min(models, key=lambda model: breakers[model.name].wait_s())


def ask_any(
    models: Sequence[Model], breakers: Mapping[str, Breaker], attempt: Attempt, on: Sequence[str]
) -> Completion:
    """Ask models in order until one answers.

    ``attempt(model, breaker, alternatives)`` makes the call with its retries. ``alternatives``: another model is left,
    so it should give up when the breaker opens instead of trying until the deadline. ``on``: the failures after which
    another model is asked, see ``ModelSpec.fallbacks_on``. Raises the first error after which none is asked, or the
    last one.
    """
    left = list(models)
    while True:
        model = choose(left, breakers)
        left.remove(model)
        try:
            return attempt(model, breakers[model.name], bool(left))
        except ModelError as error:
            left = _others(error, model, left, on)
            if not left:
                raise


def fitted(request: Request, model: Model) -> Request:
    """The request within the model's own output limit, as a fallback may have a smaller one than the first model."""
    most = model.max_output
    return request if most is None or request.max_tokens <= most else replace(request, max_tokens=most)


def _others(error: ModelError, model: Model, left: Sequence[Model], on: Sequence[str]) -> list[Model]:
    """The models that may be asked after a failure. Those of the same identity are this model by its other keys."""
    others = [other for other in left if other.identity != model.identity]
    if error.reason in ("overflow", "too_large"):
        return [other for other in others if "overflow" in on and _holds_more(other, model, error)]
    if error.reason == "filtered":
        return others if "filtered" in on else []
    if (error.scope == "model" or error.transient) and "unavailable" in on:
        return list(left)
    # Another key is no other model: it is tried whatever ``on`` says, if this key is to blame.
    return [other for other in left if other not in others] if error.scope == "model" else []


def _holds_more(other: Model, model: Model, error: ModelError) -> bool:
    if error.reason == "too_large":  # too large for a rate limit, and each model has its own
        return True
    window = getattr(error, "context_window", 0) or model.context_window
    return other.context_window is None or window is None or other.context_window > window
