"""Owns the options that several commands share, and what they mean to the library."""

from __future__ import annotations

import functools
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from mrengine.cli.exits import Terminated
from mrengine.errors import ConfigError, JobCancelled, SourceError
from mrengine.records import Budget, Document, RateLimit

__all__ = ["job_options", "open_sources", "runner_settings", "state_option", "stopped_by_sigterm"]

Command = TypeVar("Command", bound=Callable[..., Any])

state_option = click.option(
    "--state-dir", type=click.Path(file_okay=False), default=None, help="Where jobs are kept (MRENGINE_STATE_DIR)."
)
_OPTIONS = [
    click.option("--job-id", default="auto", show_default="a digest of the inputs", help="Names the job."),
    click.option("--model", "models", multiple=True, help="A model's name; several take turns. See 'mrengine models'."),
    click.option("--workers", type=click.IntRange(1, 1024), default=None, help="Worker processes.  [default: 5]"),
    click.option("--slots", type=click.IntRange(1, 4096), default=None, help="Concurrent tasks in each.  [default: 1]"),
    click.option("--priority", type=click.Choice(["P0", "P1", "P2"]), default=None, help="At a shared limit."),
    click.option(
        "--target-tokens", default=None, help="Tokens of a chunk: a number, 'auto', or 'none' for no cutting."
    ),
    click.option("--overlap-tokens", type=click.IntRange(0), default=None, help="Tokens of a chunk's lead-in."),
    click.option("--limits", multiple=True, metavar="MODEL:tpm=N,rpm=N", help="A model's limits per minute."),
    click.option("--max-tokens-total", type=click.IntRange(1), default=None, help="Stop before more tokens are used."),
    click.option("--max-cost", type=float, default=None, help="Stop before more US dollars are spent."),
    click.option("--max-failed", type=click.IntRange(0), default=0, show_default=True, help="Failed chunks to accept."),
    click.option("--timeout", type=float, default=None, metavar="S", help="Stop after so many seconds."),
    click.option(
        "--on-mismatch",
        type=click.Choice(["error", "extend", "recompute", "restart"]),
        default="error",
        help="When a job of this id had other inputs.",
    ),
    state_option,
    click.option("--json", "as_json", is_flag=True, help="A line of JSON for each source or record."),
    click.option("--quiet", is_flag=True, help="No progress, no notes."),
    click.option("--dry-run", is_flag=True, help="Count chunks, tokens and cost; call nothing."),
]


def job_options(command: Command) -> Command:
    """All options of a command that runs a job."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), command)


def runner_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a MapReduceRunner; an option that was not given is left to the environment."""
    settings: dict[str, Any] = {
        "on_mismatch": given["on_mismatch"],
        "limits": dict(_limit(text) for text in given["limits"]) or None,
        "budget": _budget(given["max_tokens_total"], given["max_cost"]),
        "progress": False if given["quiet"] else None,
        "keep": "always",
    }
    if given["models"]:
        settings["models"] = list(given["models"])
    if given["target_tokens"] is not None:
        settings["target_tokens"] = _target(given["target_tokens"])
    for name in ("workers", "slots", "priority", "overlap_tokens", "state_dir"):
        if given[name] is not None:
            settings[name] = given[name]
    return settings


def _target(text: str) -> int | str | None:
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is no number of tokens, nor 'auto' or 'none'", param_hint="--target-tokens")
    return int(text)


def _limit(text: str) -> tuple[str, RateLimit]:
    model, _, rest = text.rpartition(":")
    fields: dict[str, Any] = {}
    for part in rest.split(","):
        match = re.fullmatch(r"(tpm|rpm|input_tpm|output_tpm|concurrent|burst_s|shared)=(.+)", part)
        if not model or match is None:
            raise click.BadParameter(f"{text!r}: write MODEL:tpm=60000,rpm=500", param_hint="--limits")
        name, value = match.groups()
        try:
            fields[name] = value if name == "shared" else float(value) if name == "burst_s" else int(value)
        except ValueError:
            raise click.BadParameter(f"{text!r}: {value!r} is no number", param_hint="--limits") from None
    return model, RateLimit(**fields)


def _budget(tokens: int | None, cost: float | None) -> Budget | None:
    return None if tokens is None and cost is None else Budget(max_tokens=tokens, max_cost_usd=cost)


def open_sources(sources: tuple[str, ...], *, each_line: bool = False) -> list[Document]:
    """Documents of paths and "-" (stdin), each named by its path. With ``each_line`` every line is one."""
    documents = []
    for source in sources:
        if re.match(r"[a-z][a-z0-9+.-]*://", source):
            raise ConfigError(f"{source}: URLs are not fetched yet; save the page and give its path", setting="SOURCE")
        if source == "-":
            document = Document("stdin", sys.stdin.buffer.read())
        else:
            path = Path(source)
            if path.is_dir():
                raise SourceError(f"{source} is a folder: name the files in it", source=source)
            if not path.exists():
                raise SourceError(f"{source}: there is no such file", source=source)
            document = Document(source, path)
        documents += list(_lines(document)) if each_line else [document]
    return documents


def _lines(document: Document) -> Iterator[Document]:
    from mrengine.sources import read_source

    text = "".join(read_source(document.source, name=document.id))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield Document(f"{document.id}:{number}", line)


@contextmanager
def stopped_by_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGTERM stops the job gracefully; then ``Terminated`` is raised."""
    came = False

    def handler(_signum: int, _frame: Any) -> None:
        nonlocal came
        came = True
        stop()

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    except JobCancelled:
        if came:
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if came:
        raise Terminated
