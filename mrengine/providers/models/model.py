"""Resolves a name or a spec into a frozen ``Model``, in the host, so that every mistake is found before the work."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mrengine.errors import ConfigError
from mrengine.providers.models import catalog, resolution
from mrengine.providers.models.catalog import Catalog, Entry
from mrengine.records import ModelSpec, Price, RateLimit

__all__ = ["Model", "every_lane", "names_of", "resolve_models"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a job uses.

    ``name``: in limits, results and events; ``wire_name``: at its endpoint. ``kind``: "openai", "anthropic", "http",
    "local", "fake" or "custom"; ``shape``: "openai" or "anthropic". ``identity`` enters call digests, and tells whether
    a job is the same; keys, headers and addresses are no part of it. ``preloads``: for ``connect.preload``. ``lanes``:
    the same model by its other keys, each with a name, and so with limits, of its own. ``None``: unknown.
    """

    index: int
    name: str
    kind: str
    shape: str
    wire_name: str
    identity: str
    spec: ModelSpec = field(repr=False)
    base_url: str | None = None
    key_env: str | None = None
    context_window: int | None = None
    max_output: int | None = None
    price: Price | None = None
    cache_min: int | None = None  # tokens of the shortest prefix that is cached
    limits: RateLimit | None = None
    preloads: tuple[str, ...] = ()
    fallbacks: tuple[Model, ...] = ()
    lanes: tuple[Model, ...] = ()


# Budget, answer and identity of a call depend on these: they are arguments, and no params that bypass all three.
_OURS = frozenset(
    {"model", "messages", "system", "stream", "n", "max_tokens", "max_completion_tokens", "response_format"}
)
_INSTEAD = "answers are never streamed, and the rest is an argument of complete() and map_prompt()"
_FALLBACKS_ON = frozenset({"unavailable", "overflow", "filtered"})
Given = str | ModelSpec | Sequence[str | ModelSpec] | None


def resolve_models(
    models: Given,
    *,
    limits: Mapping[str, RateLimit] | None = None,
    env: Mapping[str, str] = os.environ,
    keys: bool = True,
    prices: catalog.Prices = None,
) -> tuple[Model, ...]:
    """Resolve the user's ``models``. ConfigError names what is missing and the way out; no call is made.

    ``None`` is the default model: OpenAI's if its key is set, else Anthropic's, else the embedded one if it is
    installed. Without ``keys`` a missing key or SDK is no error, as nothing will be called. ``prices``: the caller's
    own, below those of the specs; None: those that MRENGINE_PRICES names.
    """
    if models is None:
        models = _default(env)
    items = [models] if isinstance(models, (str, ModelSpec)) else models
    if not isinstance(items, Sequence):
        raise ConfigError(f"models is a name, a ModelSpec or a list of these, not {_a(models)}", setting="models")
    if not items:
        raise ConfigError("models is empty: name at least one", setting="models")
    table = catalog.catalog(catalog.chosen(prices, env))
    resolved = [_resolve(_spec(item), index, limits or {}, env, keys, table) for index, item in enumerate(items)]
    return tuple(_distinct(resolved))


def _default(env: Mapping[str, str]) -> str:
    if env.get("OPENAI_API_KEY"):
        return catalog.DEFAULTS["openai"]
    if env.get("ANTHROPIC_API_KEY"):
        return catalog.DEFAULTS["anthropic"]
    if importlib.util.find_spec("xllamacpp") is not None:
        return "local"
    raise ConfigError(
        "no model: set OPENAI_API_KEY or ANTHROPIC_API_KEY, run pip install 'mrengine[local]' for the embedded model, "
        "or name one with models=",
        setting="models",
    )


def _spec(item: Any) -> ModelSpec:
    if isinstance(item, ModelSpec):
        return item
    if isinstance(item, str):
        return ModelSpec(item)
    raise ConfigError(f"a model is a name or a ModelSpec, not {_a(item)}", setting="models")


def _a(value: Any) -> str:
    return f"of type {type(value).__name__}"


def _check_spec(spec: ModelSpec) -> None:
    """ConfigError for a field of the wrong type. Its value is not shown: headers may hold keys."""
    for name, what, sound in (
        ("name", "a str", isinstance(spec.name, str)),
        ("base_url", "a str", spec.base_url is None or isinstance(spec.base_url, str)),
        ("headers", "a dict, or a function that returns one", _is_headers(spec.headers)),
        ("params", "a dict", spec.params is None or isinstance(spec.params, Mapping)),
        ("price", "a Price(input, output)", spec.price is None or isinstance(spec.price, Price)),
        ("limits", "a RateLimit", spec.limits is None or isinstance(spec.limits, RateLimit)),
        ("context_window", "a whole number above 0", _is_size(spec.context_window)),
        ("max_output", "a whole number above 0", _is_size(spec.max_output)),
        ("fallbacks", "a list of names or ModelSpecs", isinstance(spec.fallbacks, (list, tuple))),
    ):
        if not sound:
            raise ConfigError(f"ModelSpec.{name} of {spec.name!r} is {what}", setting=name)


def _is_headers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(one, str) for pair in value.items() for one in pair)
    return value is None or callable(value)


def _is_size(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def _resolve(
    spec: ModelSpec, index: int, limits: Mapping[str, RateLimit], env: Mapping[str, str], keys: bool, table: Catalog
) -> Model:
    _check_spec(spec)
    spec = resolution.of_plugin(spec)
    place = resolution.place(spec, env if keys else resolution.AnyKey(env))
    if keys:
        resolution.check_sdk(place)
    if ours := _OURS & (spec.params or {}).keys():
        raise ConfigError(f"params of {place.name} cannot hold {min(ours)}: {_INSTEAD}", setting="params")
    if spec.reasoning not in ("drop", "keep"):
        raise ConfigError(f'reasoning of {place.name} is "drop" or "keep", not {spec.reasoning!r}', setting="reasoning")
    _check_fallbacks(spec)
    if spec.price is not None:
        catalog.check_price(spec.price, spec.name)
    facts = (None if place.kind in ("fake", "local") else table.find(place.wire_name)) or Entry()
    own_price = table.priced(*names_of(spec, place.name), place.wire_name)
    own_limits: RateLimit | None = None
    if place.kind == "local":
        from mrengine.providers.local import embedded

        facts, own_limits = Entry(embedded.CONTEXT_WINDOW, None, Price(0.0, 0.0)), embedded.LIMITS
    model = Model(
        index=index,
        name=place.name,
        kind=place.kind,
        shape=place.shape,
        wire_name=place.wire_name,
        identity=_identity(spec, place),
        spec=spec,
        base_url=place.base_url,
        key_env=place.key_envs[0] if place.key_envs else None,
        context_window=spec.context_window or facts.context_window,
        max_output=spec.max_output or facts.max_output,
        price=spec.price or own_price or facts.price,
        cache_min=facts.cache_min,
        limits=next((limits[name] for name in names_of(spec, place.name) if name in limits), spec.limits or own_limits),
        preloads=place.preloads,
    )
    fallbacks = [_resolve(_spec(item), index, limits, env, keys, table) for item in spec.fallbacks]
    lanes = tuple(_lane(model, variable, limits) for variable in place.key_envs[1:])
    return replace(model, fallbacks=tuple(fallbacks), lanes=lanes)


def _lane(model: Model, variable: str, limits: Mapping[str, RateLimit]) -> Model:
    name = f"{model.name} ({variable})"
    return replace(model, name=name, key_env=variable, limits=limits.get(name) or model.limits)


def every_lane(models: Sequence[Model]) -> list[Model]:
    """All models that a call may go to: the models and their fallbacks, by each of their keys."""
    own = [one for model in models for one in (model, *model.fallbacks)]
    return [lane for model in own for lane in (model, *model.lanes)]


def _check_fallbacks(spec: ModelSpec) -> None:
    on = spec.fallbacks_on
    if isinstance(on, str) or not set(on) <= _FALLBACKS_ON:
        allowed = ", ".join(repr(one) for one in sorted(_FALLBACKS_ON))
        raise ConfigError(f"fallbacks_on={on!r}: a tuple of any of {allowed}", setting="fallbacks_on")


def names_of(spec: ModelSpec, name: str) -> tuple[str, ...]:
    """The names by which ``limits`` and prices may call a model."""
    qualified = (f"{spec.provider}:{spec.name}",) if isinstance(spec.provider, str) else ()
    return (spec.name, name, *qualified)


def _identity(spec: ModelSpec, place: resolution.ResolvedModel) -> str:
    """The identity as canonical JSON, without the address: a server that moved to another port is the same model."""
    facts = {"provider": place.origin, "model": place.wire_name, "params": dict(spec.params or {})}
    if spec.reasoning != "drop":
        facts["reasoning"] = spec.reasoning  # an answer with its thoughts is another text
    try:
        return json.dumps(facts, sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError):
        raise ConfigError(f"params of {place.name} must be what JSON holds", setting="params") from None


def _at_address(model: Model) -> Model:
    name = f"{model.name}@{model.base_url}"
    return replace(model, name=name, lanes=tuple(replace(m, name=f"{name} ({m.key_env})") for m in model.lanes))


def _distinct(models: list[Model]) -> list[Model]:
    """The models with distinct names: if two endpoints serve the same name, their addresses are added to it."""
    names = [model.name for model in models]
    shared = {name for name in names if names.count(name) > 1}
    placed = [_at_address(m) if m.name in shared and m.base_url else m for m in models]
    names = [model.name for model in placed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"models names {twice[0]} twice", setting="models")
    return placed
