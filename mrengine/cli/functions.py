"""Resolves the functions that a command names: a map function from a prompt or an import, and a reduce function."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import mrengine
from mrengine.errors import ConfigError
from mrengine.host.stored import import_function

__all__ = ["REDUCERS", "imported", "map_function", "map_option", "reduce_function", "reduce_option"]

REDUCERS = ("collect", "concatenate", "medical_report_aggregator", "consensus_aggregator")

map_option = click.option(
    "--map", "map_name", default=None, metavar="MODULE:FUNCTION", help="A map function (chunk, context)."
)
reduce_option = click.option(
    "--reduce", "reduce_name", default=None, metavar="NAME", help=f"{', '.join(REDUCERS)}, or MODULE:FUNCTION."
)


def imported(name: str) -> Callable[..., Any]:
    """Import the function "module:function"."""
    # An installed script has no current folder in its path; users expect that of ``python -m``.
    if "" not in sys.path:
        sys.path.insert(0, "")
    return import_function(name)


def map_function(
    prompt: str | None,
    prompt_file: Path | None,
    map_name: str | None,
    *,
    schema: Path | None,
    system: str | None,
    max_tokens: int,
) -> Callable[..., Any]:
    """The map function of --prompt, --prompt-file or --map. Raises UsageError, ConfigError, SourceError."""
    if sum(way is not None for way in (prompt, prompt_file, map_name)) != 1:
        raise click.UsageError("give one of --prompt, --prompt-file, --map")
    if map_name is not None:
        if schema is not None or system is not None:  # ignored, they would seem to work
            raise click.UsageError("--schema and --system belong to a prompt: with --map, the function says them")
        return imported(map_name)
    template = prompt if prompt_file is None else _text(prompt_file)
    return mrengine.map_prompt(template, system=system, max_tokens=max_tokens, response_model=_schema(schema))


def reduce_function(name: str | None) -> Callable[[Any], Any] | None:
    """The reducer of this name, or the function "module:function". Raises BadParameter, ConfigError."""
    if name is None:
        return None
    if ":" in name:
        return imported(name)
    if name not in REDUCERS:
        raise click.BadParameter(f"{name!r} is none of {', '.join(REDUCERS)}", param_hint="--reduce")
    reducer: Callable[[Any], Any] = getattr(mrengine, name)
    return reducer


def _schema(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise ConfigError(f"--schema {path} is not JSON: {error}", setting="schema") from None


def _text(path: Path) -> str:
    # read_source keeps the byte order mark of UTF-8, as it is part of a document; here it would break the JSON.
    return "".join(mrengine.read_source(path)).removeprefix("\ufeff")
