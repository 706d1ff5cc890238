"""The commands that look after jobs, and that show a run from its log (report, trace)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from mrengine.cli.exits import DONE, FAILED
from mrengine.cli.job_ids import find_job, job_argument, jobs_argument
from mrengine.cli.job_views import Following, page, table
from mrengine.cli.options import json_option, seconds_of, state_option
from mrengine.cli.outcomes import print_failures
from mrengine.cli.output import echo, print_json, record_of, rounded, say
from mrengine.config import jobs_folder
from mrengine.errors import ConfigError, JobBusy, JobError, JobNotFound, LogError
from mrengine.jobs import Job, list_jobs, merge_results
from mrengine.log.view.verify import Verification
from mrengine.log.view.verify import verify as check
from mrengine.records import JobStatus

__all__ = ["COMMANDS"]

FOLLOW_S = 0.5
FOLLOW_LINES_S = 2.0  # lines are read by people

table_option = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write a table instead, .csv, .tsv, .jsonl or .parquet: a row for each chunk.",
)


@click.command()
@state_option
@json_option
def jobs(state_dir: str | None, as_json: bool) -> None:
    """List the jobs of the state folder, the oldest first."""
    statuses = _statuses(state_dir)
    if as_json:
        for status in statuses:
            print_json(_record(status))
        return
    lines = table(statuses)  # all at once: a column is as wide as its widest cell
    for line in lines:
        echo(line)
    if not lines:
        say(f"there are no jobs in {jobs_folder(state_dir)}")


def _statuses(state_dir: str | None) -> Iterator[JobStatus]:
    for job in list_jobs(state_dir):
        try:
            yield job.status()
        except JobNotFound:
            continue  # purged since the folder was listed
        except (LogError, ConfigError) as error:  # a damaged log, or a folder that others may write to
            say(f"{job.job_id}: {error}")


def _record(status: JobStatus) -> dict[str, Any]:
    return {**dataclasses.asdict(status), "cost_usd": rounded(status.cost_usd)}


@click.command()
@job_argument
@click.option(
    "--follow",
    is_flag=True,
    help="Then a line whenever it changes, until it has ended: counts, pace, tokens, cost, time left, waits.",
)
@click.option("--failures", is_flag=True, help="The chunks that failed, why, and what the models had answered.")
@state_option
@json_option
def show(job_id: str, follow: bool, failures: bool, state_dir: str | None, as_json: bool) -> None:
    """Show what a job has done."""
    job, last = find_job(job_id, state_dir), None
    if failures:
        print_failures(job.failures(), as_json=as_json)
        return
    following: Following | None = None
    while True:
        status = job.status()
        lasting = dataclasses.replace(status, updated=0, eta_s=None)  # these two change with the clock alone
        ends = not follow or status.state != "running"
        if as_json and lasting != last:
            print_json(_record(status))
        elif not as_json and (lasting != last or ends):
            echo(page(status) if following is None or ends else following.line(status))
        last = lasting
        if ends:
            return
        following = following or Following(status)
        time.sleep(FOLLOW_S if as_json else FOLLOW_LINES_S)


@click.command()
@job_argument
@state_option
def cancel(job_id: str, state_dir: str | None) -> None:
    """Stop a job where it runs; it stays cancelled until uncancel."""
    job = find_job(job_id, state_dir)
    if job.status().state == "done":  # a mark would only refuse the next run, which prints the results
        say(f"job {job.job_id} is done: there is nothing to cancel")
        return
    left = job.cancel()
    if left:
        # They bill what they execute until they are cancelled, and only a later look can collect that.
        say(f"{left} of its batches {'is' if left == 1 else 'are'} being cancelled by the provider; say it again later")
    say(f"job {job.job_id} is cancelled; 'mrengine uncancel {job.job_id}' lets it run again")


@click.command()
@job_argument
@state_option
def uncancel(job_id: str, state_dir: str | None) -> None:
    """Let a cancelled job run again."""
    job = find_job(job_id, state_dir)
    job.uncancel()
    say(f"job {job.job_id} may run again: the command that started it, or 'mrengine resume {job.job_id}', goes on")


@click.command()
@job_argument
@state_option
@table_option
def export(job_id: str, state_dir: str | None, output: Path | None) -> None:
    """Print results, then failures, as JSON Lines; or write them to a file."""
    outcomes = find_job(job_id, state_dir).outcomes()
    if output is not None:
        say(f"wrote {outcomes.export(output)}")
        return
    for outcome in (*outcomes.results, *outcomes.failures):
        print_json(record_of(outcome))


@click.command()
@jobs_argument
@state_option
@table_option
@click.option("--partial", is_flag=True, help="Also what jobs have that are not done.")
@click.option("--keep-duplicates", is_flag=True, help="Also where two jobs have a document of the same id.")
def merge(
    job_ids: tuple[str, ...], state_dir: str | None, output: Path | None, partial: bool, keep_duplicates: bool
) -> None:
    """Print the results and failures of several jobs as those of one, or write them to a file.

    A job from another machine is named by the path of its folder. The order is that of the arguments.
    """
    jobs = [_job_at(place, state_dir) for place in job_ids]
    merged = merge_results(jobs, partial=partial, duplicates="keep" if keep_duplicates else "refuse")
    if output is not None:
        say(f"wrote {merged.export(output)}")
    else:
        for job_id, outcome in merged.outcomes():
            print_json({"job_id": job_id, **record_of(outcome)})
    cost = "cost unknown" if merged.cost_usd is None else f"${merged.cost_usd:.4f}"
    tokens = merged.usage.input_tokens + merged.usage.output_tokens
    totals = f"{len(merged.results):,} results, {len(merged.failures):,} failures, {tokens:,} tokens, {cost}"
    say(f"{len(merged.jobs)} jobs: {totals}")


def _job_at(place: str, state_dir: str | None) -> Job:
    """The job of an id, or of the path of its folder: no id holds a slash."""
    if "/" not in place:
        return find_job(place, state_dir)
    folder = Path(place).resolve()
    if folder.parent.name != "jobs":
        raise click.BadParameter(f"{place}: the folder of a job is …/jobs/JOB", param_hint="JOB")
    return Job(folder.name, state_dir=folder.parent.parent)


@click.command()
@job_argument
@state_option
@json_option
def verify(job_id: str, state_dir: str | None, as_json: bool) -> int:
    """Check every byte of a job's log. Exit code 1: damage, and where."""
    job = find_job(job_id, state_dir)
    verdict = check(job.folder)
    if as_json:
        print_json({"job_id": job.job_id, "sound": verdict.sound, **dataclasses.asdict(verdict)})
    else:
        _print_verification(job.job_id, verdict)
    return DONE if verdict.sound else FAILED


def _print_verification(job_id: str, verdict: Verification) -> None:
    for start, stop in verdict.damage:
        echo(f"damaged: bytes {start} to {stop}")
    for start, stop in verdict.repaired:
        echo(f"was damaged, and is repaired: bytes {start} to {stop}")
    for offset, why in verdict.problems:
        echo(f"makes no sense: the record at byte {offset}: {why}")
    if verdict.torn:
        echo(f"torn tail, never announced: {verdict.torn} bytes")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(verdict.records.items()))
    echo(f"{job_id}: {verdict.bytes} bytes: {counts}")


@click.command()
@jobs_argument
@state_option
def purge(job_ids: tuple[str, ...], state_dir: str | None) -> None:
    """Remove jobs with all that they have kept. One that is missing or runs keeps no other one."""
    errors: list[JobError] = []
    for job_id in job_ids:
        try:
            job = find_job(job_id, state_dir)
            job.purge()
            say(f"purged {job.job_id}")
        except JobError as error:
            errors.append(error)
    for missing in errors[:-1]:
        say(f"mrengine: {missing}")
    if errors:
        raise errors[-1]  # Group prints it as it prints any error, and takes the exit code from it


@click.command()
@click.option("--older-than", required=True, metavar="30d", help="Age since the last change: 30d, 12h, 90m.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
@state_option
def prune(older_than: str, dry_run: bool, state_dir: str | None) -> None:
    """Remove all jobs that did not change for some time, and do not run."""
    age_s = seconds_of(older_than, "--older-than", example="30d, 12h or 90m")
    for job in list_jobs(state_dir):
        try:
            # The log alone: reading a job, or asking for its status, does not write it.
            if time.time() - (job.folder / "log").stat().st_mtime < age_s:
                continue
            if not dry_run:
                job.purge()
        except (JobBusy, JobNotFound, FileNotFoundError):  # it runs, or was removed since the folder was listed
            continue
        echo(job.job_id)


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
    from mrengine.report import write_report  # not at the top: the other commands start faster without it

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


COMMANDS = (jobs, show, cancel, uncancel, export, merge, verify, purge, prune, report, trace)
