"""Windows, output limits and prices of models, from ``prices.json`` and, over it, the caller's own prices."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mrengine.errors import ConfigError
from mrengine.records import Price

__all__ = ["DEFAULTS", "Catalog", "Entry", "Prices", "catalog", "check_price", "date", "names"]

DEFAULTS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
"""The models that are used if none is named: cheap ones, which answer without reasoning first."""

Prices = str | os.PathLike[str] | Mapping[str, Price] | None
"""A file of the form of ``prices.json``, or prices by the names of models."""

_FILE = Path(__file__).with_name("prices.json")
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_FIELDS = tuple(one.name for one in fields(Price))
_RATES = tuple(name for name in _FIELDS if not name.startswith("long"))
_SIZES = ("context_window", "max_output", "cache_min")


@dataclass(frozen=True, slots=True)
class Entry:
    """The facts of a model, in tokens, and USD per million tokens. ``None``: unknown.

    ``cache_min``: tokens of the shortest prefix that its provider caches.
    """

    context_window: int | None = None
    max_output: int | None = None
    price: Price | None = None
    cache_min: int | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The facts of models, by their names. ``date``: of the figures, as YYYY-MM-DD, or "". ``own``: the models that the
    caller priced, in ``source``.
    """

    date: str
    sources: tuple[str, ...]
    models: Mapping[str, Entry]
    own: frozenset[str] = frozenset()
    source: str = ""

    def find(self, name: str) -> Entry | None:
        """A model by its name or its dated snapshot's; never by likeness: ``gpt-4o-audio`` is not ``gpt-4o``."""
        return self.models.get(name) or self.models.get(_DATED.sub("", name))

    def priced(self, *known_as: str) -> Price | None:
        """The caller's own price for a model, by any of its names."""
        return next((self.models[name].price for name in known_as if name in self.own), None)


@lru_cache(maxsize=1)
def _packaged() -> Catalog:
    return _read(_FILE)


def chosen(prices: Prices, env: Mapping[str, str] = os.environ) -> Prices:
    """The caller's prices, else the file that MRENGINE_PRICES names."""
    return prices if prices is not None else env.get("MRENGINE_PRICES") or None


def catalog(prices: Prices = None) -> Catalog:
    """The package's table, with the caller's prices over it. ConfigError for a wrong file or price."""
    base = _packaged()
    if prices is None:
        return base
    if isinstance(prices, Mapping):
        entries = {name: Entry(price=check_price(price, name)) for name, price in prices.items()}
        return _over(base, Catalog("", (), entries), "prices=")
    if not isinstance(prices, (str, os.PathLike)):
        raise _wrong(f"a file's name or {{name: Price(input, output)}}, not of type {type(prices).__name__}")
    path = Path(os.path.expanduser(prices))
    return _over(base, _read(path), str(path))


def _over(base: Catalog, own: Catalog, source: str) -> Catalog:
    models = dict(base.models)
    for name, entry in own.models.items():
        known = {one: getattr(entry, one) for one in Entry.__dataclass_fields__ if getattr(entry, one) is not None}
        models[name] = replace(models.get(name, Entry()), **known)
    priced = frozenset(name for name, entry in own.models.items() if entry.price is not None)
    return Catalog(own.date or base.date, own.sources or base.sources, models, priced, source)


def names() -> list[str]:
    """All models of the package's table."""
    return sorted(_packaged().models)


def date() -> str:
    """The date of the package's table."""
    return _packaged().date


def _read(path: Path) -> Catalog:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise _wrong(f"{path} cannot be read: {why}") from error
    rows = table.get("models") if isinstance(table, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        form = '{"date": "2026-11-22", "sources": ["…"], "models": {"name": {"price": [input, output]}}}'
        raise _wrong(f"{path} is not of the form {form}")
    factor = table.get("batch_factor", Price.__dataclass_fields__["batch_factor"].default)
    sources = table.get("sources") or ()
    origins = (sources,) if isinstance(sources, str) else tuple(map(str, sources))
    return Catalog(
        str(table.get("date") or ""), origins, {name: _entry(name, row, factor) for name, row in rows.items()}
    )


def _entry(name: str, row: Mapping[str, Any], factor: Any) -> Entry:
    sizes = {one: row.get(one) for one in _SIZES}
    if wrong := [one for one, size in sizes.items() if size is not None and (type(size) is not int or size < 1)]:
        raise _wrong(f"{wrong[0]} of {name} is a whole number above 0")
    price = row.get("price")
    if price is None:
        return Entry(**sizes)
    found = _price(name, price, factor)
    if (long := row.get("long_price")) is not None:
        found = replace(found, long_above=row.get("long_above"), long=_price(name, long, factor))
    return Entry(price=check_price(found, name), **sizes)


def _price(name: str, rates: Any, factor: Any) -> Price:
    """A price from [input, output, cache read, cache write, cache write for 1 h], or from the fields of a Price."""
    if isinstance(rates, Mapping) and set(rates) <= set(_RATES) and {"input", "output"} <= set(rates):
        return check_price(Price(**{"batch_factor": factor, **rates}), name)
    listed = isinstance(rates, Sequence) and not isinstance(rates, str) and 2 <= len(rates) < len(_RATES)
    if not listed:
        raise _wrong(f"the price of {name} is [input, output, …] or an object of {', '.join(_RATES)}")
    return check_price(replace(Price(*rates), batch_factor=factor), name)


def check_price(price: Any, name: str) -> Price:
    """The same price. ConfigError: it is none, or one of its rates is no number of at least 0."""
    if not isinstance(price, Price):
        raise _wrong(f"the price of {name} is a Price(input, output), not of type {type(price).__name__}")
    if (price.long is None) is not (price.long_above is None):
        raise _wrong(f"the price of {name} has long_above and long both, or neither")
    if price.long is not None:
        if type(price.long_above) is not int or price.long_above < 1:
            raise _wrong(f"long_above of the price of {name} is a whole number of tokens above 0")
        if getattr(price.long, "long", None) is not None:
            raise _wrong(f"the price of {name} has one price for long prompts, not two")
        check_price(price.long, name)
    for one in _RATES:
        value = getattr(price, one)
        if value is None and one not in ("input", "output", "batch_factor"):
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and value >= 0):
            raise _wrong(f"{one} of the price of {name} is {value!r}: it is a number of US dollars, at least 0")
    return price


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"prices: {problem}", setting="prices")
