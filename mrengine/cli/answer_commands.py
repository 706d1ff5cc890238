"""The command answers: what the file of shared answers holds, and making it smaller."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from mrengine.cli.options import json_option, state_option
from mrengine.cli.output import echo, print_json, say
from mrengine.config import answers_file
from mrengine.errors import ConfigError
from mrengine.log import shared_answers

__all__ = ["answers"]

_T = TypeVar("_T")
DAY_S = 86_400.0
_file = click.option("--file", "file", type=click.Path(dir_okay=False), default=None, help="Another file of answers.")


@click.group()
def answers() -> None:
    """Look after the answers that jobs share (answers="shared")."""


@answers.command()
@state_option
@_file
@json_option
def stats(state_dir: str | None, file: str | None, as_json: bool) -> None:
    """Say how many answers there are, their size, and when they were last used."""
    store = _read(_path(file, state_dir), shared_answers.stats)
    if as_json:
        print_json(dataclasses.asdict(store))
        return
    echo(f"file:        {store.path}")
    echo(f"answers:     {store.answers}")
    # SQLite keeps the pages of removed answers for later ones: the file is larger than what is in it.
    echo(f"size:        {store.bytes / 1e6:.1f} MB, the file {store.file_bytes / 1e6:.1f} MB")
    for name, at in (("oldest use", store.oldest_use), ("newest use", store.newest_use)):
        if at is not None:
            echo(f"{name}:  {time.strftime('%Y-%m-%d %H:%M', time.localtime(at))}")


@answers.command()
@state_option
@_file
@click.option("--older-than", "days", type=click.FloatRange(0), default=None, help="Not used for so many days.")
@click.option("--max-mb", type=click.FloatRange(0), default=None, help="Keep at most so many megabytes.")
@click.option("--all", "everything", is_flag=True, help="Remove all.")
def prune(state_dir: str | None, file: str | None, days: float | None, max_mb: float | None, everything: bool) -> None:
    """Remove answers that have not been used for 30 days, then the oldest beyond 1 GB; options change both."""
    size = 0.0 if everything else shared_answers.MAX_BYTES if max_mb is None else max_mb * 1e6
    age_s = shared_answers.MAX_AGE_S if days is None else days * DAY_S
    path = _path(file, state_dir)
    removed = _read(path, lambda one: shared_answers.prune(one, max_bytes=size, max_age_s=age_s))
    say(f"removed {removed} answers from {path}")


def _path(file: str | None, state_dir: str | None) -> Path:
    path = answers_file("shared" if file is None else Path(file), state_dir)
    assert path is not None  # only the setting "job" means no file
    return path


def _read(path: Path, do: Callable[[Path], _T]) -> _T:
    try:
        return do(path)
    except (sqlite3.Error, OSError) as error:
        message = f"{path} cannot be read: {error}; it can be deleted, and costs calls that are made again"
        raise ConfigError(message, setting="answers") from error
