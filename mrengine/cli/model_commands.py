"""The command models: what can be named, what is set up, and the embedded model."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from dataclasses import replace
from typing import Any

import click

from mrengine.cli.output import echo, print_json, say
from mrengine.errors import ConfigError
from mrengine.providers.local.model_file import ensure, find
from mrengine.providers.models import catalog
from mrengine.providers.models.model import resolve_models
from mrengine.providers.models.resolution import SDKS, custom_class, plugins
from mrengine.records import Price
from mrengine.settings import Settings

__all__ = ["models"]

ROWS = (
    ("gpt-*, o1*, o3*, o4*, chatgpt-*", "OpenAI", "OPENAI_API_KEY"),
    ("claude-*", "Anthropic", "ANTHROPIC_API_KEY"),
    ("gemini-*", "Google", "GEMINI_API_KEY"),
    ("http(s)://host:port/v1#name", "any endpoint of OpenAI's shape", None),
    ("fake", "deterministic, for tests", None),
)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each row.")
@click.option(
    "--price-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Prices of your own, as JSON."
)
@click.pass_context
def models(context: click.Context, as_json: bool, price_file: str | None) -> None:
    """Say which models can be named, what each needs, which is used where none is named, and what is known of each:
    window, longest answer, prices.
    """
    if context.invoked_subcommand is not None:
        return  # click calls the group's function before that of "models fetch"
    rows = [(names, what, "" if key is None else _set_or_not(key)) for names, what, key in ROWS]
    rows.append(("local, local:/path/to/model.gguf", "embedded, SmolLM2 135M", _embedded()))
    rows += [(f"{name}, {name}:MODEL", _package(point), _loads(name)) for name, point in sorted(plugins().items())]
    for names, what, state in rows:
        if as_json:
            print_json({"names": names, "provider": what, "state": state or "no key needed"})
        else:
            echo(f"{names:<34}{what:<32}{state}".rstrip())
    prices = catalog.catalog(catalog.chosen(price_file))
    if as_json:
        for name in sorted(prices.models):
            print_json(_facts(prices, name))
    else:
        _print_prices(prices)
    say(f"where none is named: {_default()}")


def _facts(prices: catalog.Catalog, name: str) -> dict[str, Any]:
    state = f"prices of {prices.source}" if name in prices.own else f"prices of {catalog.date()}"
    return {"names": name, "provider": "known", "state": state, **dataclasses.asdict(prices.models[name])}


_COLUMNS = ("window", "answer", "input", "output", "read", "write", "write 1h", "batch")


def _print_prices(prices: catalog.Catalog) -> None:
    """Print window, longest answer and prices of each model; "-" where one is unknown."""
    echo(f"\n{'tokens; US dollars of a million of them':<42}" + "".join(f"{name:>9}" for name in _COLUMNS))
    for name in sorted(prices.models):
        entry = prices.models[name]
        price = entry.price
        _print_row(name + (" *" if name in prices.own else ""), price, entry.context_window, entry.max_output)
        if price is not None and price.long is not None:
            long = replace(price.long, batch_factor=price.batch_factor)  # batches have one factor for both
            _print_row(f"  prompts above {price.long_above:,} tokens", long)
    echo(f"\nprices of {prices.date or 'an unknown day'}, from:")
    for source in prices.sources:
        echo(f"  {source}")
    if prices.own:
        echo(f"* from {prices.source}, over the package's table of {catalog.date()}")


def _print_row(name: str, price: Price | None, window: int | None = None, answer: int | None = None) -> None:
    rates = (None,) * 6 if price is None else (price.input, price.output, *price.cache_rates, price.batch_factor)
    cells = ("-" if figure is None else f"{figure:.9g}" for figure in (window, answer, *rates))
    echo(f"{name:<42}" + "".join(f"{cell:>9}" for cell in cells))


def _set_or_not(key: str) -> str:
    """Whether a vendor's key is set, and its SDK installed."""
    state = f"{key} is {'set' if os.environ.get(key) else 'not set'}"
    sdk = key.removesuffix("_API_KEY").lower()
    if sdk not in SDKS:
        return f"{state}, without an SDK"
    # find_spec does not import: that takes an SDK long, and says nothing more.
    if importlib.util.find_spec(sdk) is None:
        return f"{state}; pip install {sdk}"
    return f"{state}, through {sdk}"


def _embedded() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "pip install 'mrengine[local]'"
    return "ready" if find() is not None else "fetched when first used: mrengine models fetch local"


def _package(point: Any) -> str:
    return f"plugin {point.dist.name} {point.dist.version}" if point.dist is not None else "plugin"


def _loads(name: str) -> str:
    try:
        custom_class(name)  # the only way to know whether a plugin works
    except ConfigError as error:
        return str(error)
    return "ready"


def _default() -> str:
    try:
        return ", ".join(model.name for model in resolve_models(Settings.of({}).models))
    except ConfigError as error:
        return f"none; {error}"


@models.command()
@click.argument("name", type=click.Choice(["local"]))
def fetch(name: str) -> None:
    """Download the embedded model (98 MB) and check it."""
    say(f"{name} is at {ensure(name)}")
