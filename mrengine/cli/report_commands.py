"""The commands that show a run from its log: report, trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mrengine.cli.job_ids import find_job, job_argument
from mrengine.cli.options import state_option
from mrengine.cli.output import say
from mrengine.errors import ConfigError

__all__ = ["COMMANDS"]


def _output(default: str) -> Callable[[Any], Any]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("-o", "--output", type=path, default=default, show_default=True, help="The file to write.")


@click.command()
@job_argument
@_output("report.html")
@click.option("--against", metavar="JOB", help="Another job, to compare with.")
@state_option
def report(job_id: str, output: Path, against: str | None, state_dir: str | None) -> None:
    """Write a page that shows a run: tasks over time, waits, latencies, failures, cost. One file, no network."""
    from mrengine.report import write_report

    job = find_job(job_id, state_dir)
    other = find_job(against, state_dir).folder if against else None
    _write(output, lambda: write_report(job.folder, output, state=job.status().state, against=other))


@click.command()
@job_argument
@_output("trace.json")
@state_option
def trace(job_id: str, output: Path, state_dir: str | None) -> None:
    """Write a run as a trace, for ui.perfetto.dev or chrome://tracing."""
    from mrengine.report import write_trace

    job = find_job(job_id, state_dir)
    _write(output, lambda: write_trace(job.folder, output))


def _write(output: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror or error}", setting="--output") from error
    say(f"wrote {output}")


COMMANDS = (report, trace)
