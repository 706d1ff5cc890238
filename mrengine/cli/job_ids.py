"""Resolves the job ids that a user types, by any unique prefix, and completes them in the shell."""

from __future__ import annotations

import click

from mrengine.cli.output import some_of
from mrengine.config import jobs_folder
from mrengine.errors import ConfigError, JobNotFound, MrengineError
from mrengine.jobs import Job, list_jobs
from mrengine.providers.models import catalog
from mrengine.providers.models.resolution import plugins

__all__ = ["complete_models", "find_job", "job_argument", "jobs_argument"]

OTHER_MODELS = ("local", "fake", "http://", "https://")


def find_job(typed: str, state_dir: str | None) -> Job:
    """The job of this id, or the only one whose id begins so. ConfigError: several do; JobNotFound: none does."""
    exact = Job(typed, state_dir=state_dir)
    if exact.folder.is_dir():  # also where longer ids begin with it
        return exact
    jobs = [job for job in list_jobs(state_dir) if job.job_id.startswith(typed)]
    if len(jobs) > 1:
        shown = some_of([job.job_id for job in jobs])
        raise ConfigError(f"{len(jobs)} jobs begin with {typed!r}: {shown}; type more of the id", setting="JOB")
    if not jobs:
        message = f"there is no job {typed!r} in {jobs_folder(state_dir)}, and no id that begins with it"
        raise JobNotFound(f"{message}; 'mrengine jobs' lists them", job_id=typed)
    return jobs[0]


def _complete_jobs(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Ids of jobs, the newest first."""
    try:
        job_ids = [job.job_id for job in list_jobs(context.params.get("state_dir"))]
    except (MrengineError, OSError):
        return []  # an error would be printed into the line that the user is typing
    return [job_id for job_id in reversed(job_ids) if job_id.startswith(begun)]


def complete_models(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of models whose window and price are known, and the ways to name others."""
    return [name for name in (*catalog.names(), *OTHER_MODELS, *plugins()) if name.startswith(begun)]


job_argument = click.argument("job_id", metavar="JOB", shell_complete=_complete_jobs)
jobs_argument = click.argument("job_ids", nargs=-1, required=True, metavar="JOB...", shell_complete=_complete_jobs)
