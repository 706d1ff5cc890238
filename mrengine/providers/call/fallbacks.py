"""Which of several models gets a call: the first that is well; the next when it fails. Decides only."""

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
    """The first model that may be called now; where none may, the one that may soonest."""
    for model in models:
        if breakers[model.name].allow():
            return model
    return min(models, key=lambda model: breakers[model.name].wait_s())


def ask_any(
    models: Sequence[Model],
    breakers: Mapping[str, Breaker],
    attempt: Attempt,
    on: Sequence[str] = ("unavailable", "overflow"),
) -> Completion:
    """Ask models in order until one answers.

    ``attempt(model, breaker, alternatives)`` makes the call with its retries; ``alternatives`` says whether another
    model is left, so that it gives up when the breaker opens instead of trying until the deadline. ``on``: after which
    failures another is asked, see ``ModelSpec.fallbacks_on``. Raises the last error, and at once one after which
    none is.
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
    """No model is asked for more than it can say: a fallback's limit may be smaller than the first one's."""
    most = model.max_output
    return request if most is None or request.max_tokens <= most else replace(request, max_tokens=most)


def _others(error: ModelError, model: Model, left: Sequence[Model], on: Sequence[str]) -> list[Model]:
    """Who may be asked after a failure: for a text that was too long only a model that holds more, or may do."""
    keys = [other for other in left if other.identity == model.identity and error.scope == "model"]
    if error.reason in ("overflow", "too_large"):
        same = model.identity
        return [o for o in left if "overflow" in on and o.identity != same and _holds_more(o, model, error)]
    if error.reason == "filtered":
        return [other for other in left if "filtered" in on and other.identity != model.identity]
    elsewhere = error.scope == "model" or error.transient
    return list(left) if elsewhere and "unavailable" in on else keys


def _holds_more(other: Model, model: Model, error: ModelError) -> bool:
    if error.reason == "too_large":  # for a limit, which is each model's own
        return True
    window = getattr(error, "context_window", 0) or model.context_window
    return other.context_window is None or window is None or other.context_window > window
