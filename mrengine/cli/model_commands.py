"""The command models: what can be named, what is set up, and the embedded model."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from typing import Any

import click

from mrengine.cli.output import echo, print_json
from mrengine.cli.stderr import say
from mrengine.errors import ConfigError
from mrengine.providers.local.model_file import ensure, find
from mrengine.providers.models import catalog
from mrengine.providers.models.model import resolve_models
from mrengine.providers.models.resolution import SDKS, custom_class, plugins
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
        return
    rows = [(names, what, "" if key is None else _set_or_not(key)) for names, what, key in ROWS]
    rows.append(("local, local:/path/to/model.gguf", "embedded, SmolLM2 135M", _embedded()))
    rows += [(f"{name}, {name}:MODEL", _package(point), _loads(name)) for name, point in sorted(plugins().items())]
    for names, what, state in rows:
        if as_json:
            print_json({"names": names, "provider": what, "state": state or "no key needed"})
        else:
            echo(f"{names:<34}{what:<32}{state}".rstrip())
    known = catalog.catalog(catalog.chosen(price_file))
    if as_json:
        for name in sorted(known.models):
            print_json(_facts(known, name))
    else:
        _print_prices(known)
    say(f"where none is named: {_default()}")


def _facts(known: catalog.Catalog, name: str) -> dict[str, Any]:
    entry = known.models[name]
    state = f"prices of {known.source}" if name in known.own else f"prices of {catalog.date()}"
    return {"names": name, "provider": "known", "state": state, **dataclasses.asdict(entry)}


_COLUMNS = ("window", "answer", "input", "output", "read", "write", "write 1h", "batch")


def _print_prices(known: catalog.Catalog) -> None:
    """What is known of each model; "-" is what is not."""
    echo(f"\n{'tokens; US dollars of a million of them':<42}" + "".join(f"{name:>9}" for name in _COLUMNS))
    for name in sorted(known.models):
        entry = known.models[name]
        price = entry.price
        reads = (None, None, None) if price is None else price.cache_rates
        costs = (None, None) if price is None else (price.input, price.output)
        factor = None if price is None else price.batch_factor
        figures = (entry.context_window, entry.max_output, *costs, *reads, factor)
        shown = name + (" *" if name in known.own else "")
        echo(f"{shown:<42}" + "".join(f"{_figure(one):>9}" for one in figures))
        if price is not None and price.long is not None:
            long = price.long
            figures = (None, None, long.input, long.output, *long.cache_rates, factor)
            shown = f"  prompts above {price.long_above:,} tokens"
            echo(f"{shown:<42}" + "".join(f"{_figure(one):>9}" for one in figures))
    echo(f"\nprices of {known.date or 'an unknown day'}, from:")
    for source in known.sources:
        echo(f"  {source}")
    if known.own:
        echo(f"* from {known.source}, over the package's table of {catalog.date()}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"


def _set_or_not(key: str) -> str:
    """Also through which SDK its vendor is asked, and whether that is there."""
    state = f"{key} is {'set' if os.environ.get(key) else 'not set'}"
    sdk = key.removesuffix("_API_KEY").lower()
    if sdk not in SDKS:
        return f"{state}, without an SDK"
    if importlib.util.find_spec(sdk) is None:
        return f"{state}; pip install {sdk}"
    return f"{state}, through {sdk}"


def _embedded() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "pip install 'mrengine[local]'"
    return "ready" if find() is not None else "fetched when first used: mrengine models fetch local"


def _package(point: Any) -> str:
    """The package that brings a provider."""
    return f"plugin {point.dist.name} {point.dist.version}" if point.dist is not None else "plugin"


def _loads(name: str) -> str:
    try:
        custom_class(name)
    except ConfigError as error:
        return str(error)
    return "ready"


def _default() -> str:
    try:
        given = Settings.of({}).models
        return ", ".join(model.name for model in resolve_models(given))
    except ConfigError as error:
        return f"none; {error}"


@models.command()
@click.argument("name", type=click.Choice(["local"]))
def fetch(name: str) -> None:
    """Download the embedded model (98 MB) and check it."""
    say(f"{name} is at {ensure(name)}")
