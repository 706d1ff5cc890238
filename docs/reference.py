"""Write ``docs/reference.md`` from the code: ``python docs/reference.py``. A test fails when the page is stale.

Everything on the page stands in one place of the package: settings in ``mrengine.settings``, events, errors and values
in their modules' docstrings, commands and exit codes in ``mrengine.cli``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import mrengine.errors
from mrengine import cli
from mrengine.events import EVENTS, Event
from mrengine.records import (
    Budget,
    Chunk,
    ChunkFailure,
    ChunkResult,
    Completion,
    Document,
    ModelSpec,
    Price,
    RateLimit,
    Usage,
)
from mrengine.settings import setting_fields
from mrengine.sources.urls import Url
from mrengine.worker.context import Context

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Generated from the code by `python docs/reference.py`; do not edit it here.
"""
VALUES = (ModelSpec, RateLimit, Budget, Price, Usage, Completion, Document, Url, Chunk, ChunkResult, ChunkFailure)
WIDTH = 100


def settings() -> Iterator[str]:
    """A row for each setting."""
    yield "## Settings\n"
    yield "Keyword arguments of `MapReduceRunner`. An argument beats the environment, which beats the default."
    yield "`summarize()` and the command line pass them on.\n"
    yield "| setting | type | default | environment | what it does |"
    yield "| --- | --- | --- | --- | --- |"
    for name, one in setting_fields().items():
        variable = f"`MRENGINE_{name.upper()}`" if one.metadata["env"] else ""
        kind = " | ".join(map(repr, one.metadata["choices"])) or str(one.type)
        yield f"| `{name}` | `{_cell(kind)}` | `{one.default!r}` | {variable} | {_cell(one.metadata['doc'])} |"
    yield ""


def values() -> Iterator[str]:
    """The dataclasses that users make or are given."""
    yield "## Values\n"
    for kind in VALUES:
        yield f"### {kind.__name__}\n"
        yield inspect.cleandoc(kind.__doc__ or "") + "\n"
        yield "| field | type | default |"
        yield "| --- | --- | --- |"
        for one in dataclasses.fields(kind):
            yield f"| `{one.name}` | `{_cell(str(one.type))}` | {_default(one)} |"
        yield ""


def context() -> Iterator[str]:
    """What a map function is given beside its chunk."""
    yield "## The map function's context\n"
    for name, member in inspect.getmembers(Context):
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            yield f"* `context.{name}`: {_line(inspect.getdoc(member))}"
        elif callable(member):
            yield f"* `context.{name}{_parameters(member)}`: {_line(inspect.getdoc(member))}"
    yield ""


def events() -> Iterator[str]:
    """A row for each event."""
    yield "## Events\n"
    yield '`runner.on(name, callback)`, `"*"` for all. Each has `name`, `job_id` and `at` (epoch seconds).\n'
    yield "| event | fields | what it says |"
    yield "| --- | --- | --- |"
    common = {one.name for one in dataclasses.fields(Event)}
    for name, kind in EVENTS.items():
        own = ", ".join(f"`{one.name}`" for one in dataclasses.fields(kind) if one.name not in common)
        yield f"| `{name}` | {own} | {_cell(_line(kind.__doc__))} |"
    yield ""


def errors() -> Iterator[str]:
    """The tree of exceptions, as the module draws it."""
    yield "## Errors\n"
    yield "All of them are in `mrengine.errors`.\n"
    tree = inspect.cleandoc(mrengine.errors.__doc__ or "").partition("::\n")[2]
    lines = [line for line in tree.splitlines() if line.startswith("    ")]
    yield "```text\n" + "\n".join(line[4:] for line in lines) + "\n```\n"


def command_line() -> Iterator[str]:
    """The help of every command; exit codes and the environment stand in the first one."""
    yield "## Command line\n"
    how: Any = {"terminal_width": WIDTH, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
    for name, command in [("mrengine", cli.main), *sorted(cli.main.commands.items())]:
        path = name if name == "mrengine" else f"mrengine {name}"
        shown = click.Context(command, info_name=path, **how)
        yield f"### {path}\n"
        yield "```text\n" + command.get_help(shown) + "\n```\n"


def page() -> str:
    """The whole page."""
    parts = (settings(), context(), values(), events(), errors(), command_line())
    return HEAD + "\n" + "\n".join(line for part in parts for line in part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _line(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split())


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is not dataclasses.MISSING:
        return f"`{one.default!r}`"
    return "" if one.default_factory is dataclasses.MISSING else f"`{one.default_factory()!r}`"


def _parameters(function: Any) -> str:
    shown = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]
    return str(inspect.Signature(shown))


if __name__ == "__main__":
    PAGE.write_text(page())
