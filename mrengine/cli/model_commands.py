"""The command models: what can be named, what is set up, and the embedded model."""

from __future__ import annotations

import importlib.util
import os

import click

from mrengine.cli.exits import say

__all__ = ["models"]

ROWS = (
    ("gpt-*, o1*, o3*, o4*, chatgpt-*", "OpenAI", "OPENAI_API_KEY"),
    ("claude-*", "Anthropic", "ANTHROPIC_API_KEY"),
    ("gemini-*", "Google", "GEMINI_API_KEY"),
    ("http(s)://host:port/v1#name", "any endpoint of OpenAI's shape", None),
    ("fake", "deterministic, for tests", None),
)


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Say which models can be named, and what each needs."""
    if context.invoked_subcommand is not None:
        return
    for names, what, key in ROWS:
        state = "" if key is None else f"{key} is {'set' if os.environ.get(key) else 'not set'}"
        click.echo(f"{names:<34}{what:<32}{state}".rstrip())
    click.echo(f"{'local, local:/path/to/model.gguf':<34}{'embedded, SmolLM2 135M':<32}{_embedded()}")


def _embedded() -> str:
    from mrengine.providers.local_model import find

    if importlib.util.find_spec("xllamacpp") is None:
        return "pip install 'mrengine[local]'"
    return "ready" if find() is not None else "fetched when first used: mrengine models fetch local"


@models.command()
@click.argument("name", type=click.Choice(["local"]))
def fetch(name: str) -> None:
    """Download the embedded model (98 MB) and check it."""
    from mrengine.providers.local_model import ensure

    path = ensure(name)
    say(f"{name} is at {path}")
