"""A job seen from any process, by its id alone: status, results, cancel, purge."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from mrengine.config import check_job_id, jobs_folder
from mrengine.errors import ConfigError, JobError, JobMismatch, JobNotFound, LogError
from mrengine.log.file.folder import remove
from mrengine.log.file.lock import JobLock
from mrengine.log.format.instances import check_result_type
from mrengine.log.view.chunk_facts import unread_of
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.results import Results
from mrengine.outputs.merged import Merged, in_two_jobs
from mrengine.outputs.run_result import Outcomes, with_unread
from mrengine.private import open_file
from mrengine.records import ChunkFailure, JobDiff, JobStatus, Usage

__all__ = ["Job", "list_jobs", "merge_results"]

FUNCTION_CHARS = 200  # of a prompt, in a status
_State = Literal["running", "done", "failed", "stopped", "cancelled", "interrupted", "waiting"]
# By the state of a CLOSE; "timeout", "budget" and whatever later versions write are "stopped".
_STATES: dict[str, _State] = {"done": "done", "failed": "failed", "cancelled": "cancelled", "waiting": "waiting"}


class Job:
    """A job in the state folder. Every method reads the log anew; only ``purge`` needs the lock, and none the host."""

    def __init__(self, job_id: str, *, state_dir: str | os.PathLike[str] | None = None) -> None:
        """ConfigError: it is no possible job id."""
        self.job_id = check_job_id(job_id)
        self.folder = jobs_folder(state_dir) / job_id

    def _check(self) -> None:
        """JobNotFound. A link is none of ours: it may lead to a log that somebody else has written."""
        if not self.folder.is_dir() or self.folder.is_symlink():
            raise JobNotFound(f"there is no job {self.job_id!r} in {self.folder.parent}", job_id=self.job_id)

    def _open(self) -> ResumeEngine:
        self._check()
        return ResumeEngine(self.folder)

    def status(self) -> JobStatus:
        """The job's state by its log and lock. JobNotFound, LogError."""
        with self._open() as stored:
            state = stored.state
            epoch = stored.epoch
            rounds = max(epoch.rounds, default=0) if epoch is not None else 0
            index = stored.index(0)
            owner = JobLock(self.folder).holder()
            running = owner is not None and owner.alive
            spent = state.call_totals.spent().values()
            costs = [used.cost_usd for used in spent]
            rate = _Rate(stored)
            so_far = epoch is not None and index.total > 0 and not epoch.complete  # its READ record is still to come
            return JobStatus(
                job_id=self.job_id,
                state=self._state(stored, running),
                round=rounds,
                total=index.total,
                done=index.done,
                failed=index.failed,
                in_flight=_in_flight(stored) if running else 0,  # calls of a killed run never end in the log
                resumed=rate.resumed,
                cost_usd=None if None in costs else float(sum(cost for cost in costs if cost is not None)),
                eta_s=rate.eta_s(index.total - index.done - index.failed) if running and not so_far else None,
                total_so_far=so_far,
                # Records have the times of what they tell; the file's own is that of the last write.
                updated=max(state.updated, os.fstat(stored.reader.fd).st_mtime),
                batches=tuple(_batches(stored)),
                reason="" if running or state.closed is None else _reason(state.closed.summary),
                **_facts(stored, self.folder),
            )

    def _state(self, stored: ResumeEngine, running: bool) -> _State:
        if running:
            return "running"  # also while it drains after a cancel
        if os.path.lexists(self.folder / "cancelled"):
            return "cancelled"
        closed = stored.state.closed
        if closed is not None:
            return _STATES.get(closed.state, "stopped")
        if stored.state.batches.under_way():
            return "waiting"
        return "done" if stored.complete else "interrupted"  # a run may be killed after its last result

    def results(self, *, result_type: Any = None) -> Results:
        """The results so far, lazily, in chunk order; they stay readable after the folder is gone.

        ``result_type``: a dataclass, pydantic model or other type for the results; reading one that does not fit raises
        InvalidResult.
        """
        check_result_type(result_type)
        with self._open() as stored:
            return stored.results(result_type=result_type)

    def diff(self, document: Any) -> JobDiff:
        """What a run of the job's function and models over these documents, with ``on_mismatch="recompute"``, would ask
        again, and its cost. Nothing is called. SourceError, LogError, JobNotFound.
        """
        from mrengine.host.job_diff import diff  # not at the top: it brings the chunker along

        self._open().close()
        return diff(self.folder, self.job_id, document)

    def failures(self) -> Sequence[ChunkFailure]:
        """The failures so far, lazily, followed by those of sources that could not be read."""
        with self._open() as stored:
            return with_unread(stored.results().failures, unread_of(stored.epoch))

    def outcomes(self, *, result_type: Any = None) -> Outcomes:
        """Results and failures so far; ``rows()``, ``to_frame()`` and ``export(path)`` make tables of them."""
        outcomes = Outcomes()
        outcomes.results, outcomes.failures = self.results(result_type=result_type), self.failures()
        return outcomes

    def documents(self) -> Iterator[str]:
        """The ids of the documents, in order."""
        with self._open() as stored:
            yield from (document.id for document in stored.documents())

    def cancel(self, *, wait_s: float = 600.0) -> int:
        """Stop the job in whatever process runs it, and let no run of it start until ``uncancel()``.

        Its batches are cancelled at the provider, and what they had done by then is kept. If no process runs the job,
        this one does that, for at most ``wait_s``. Returns how many batches are still under way. ConfigError: the job
        is cancelled, but its batches cannot be, as a key is missing.
        """
        self._open().close()  # JobNotFound or LogError, rather than a mark in a folder that is no job's
        mark = self.folder / "cancelled"
        try:
            if not os.path.lexists(mark):  # anything of this name cancels
                os.close(open_file(mark, os.O_WRONLY | os.O_CREAT))
        except FileNotFoundError:
            raise JobNotFound(f"job {self.job_id!r} was purged just now", job_id=self.job_id) from None
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        from mrengine.host.cancel_batches import cancel_batches

        return cancel_batches(self.job_id, self.folder, wait_s=wait_s)

    def uncancel(self) -> None:
        """Let the job run again."""
        self._open().close()
        mark = self.folder / "cancelled"
        try:
            if mark.is_dir() and not mark.is_symlink():  # whose it is, and what is in it, is not known: it is kept
                mark.rename(mark.with_name(f"not-cancelled-{secrets.token_hex(4)}"))
            mark.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def purge(self) -> None:
        """Remove everything that is kept of the job, also by ``mrengine mcp``. JobBusy: a process runs it."""
        self._check()
        try:
            remove(self.folder)  # under the job's lock, at once
            shutil.rmtree(self.folder.parent.parent / "mcp" / self.job_id, ignore_errors=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        except LogError:  # of a lock whose folder another purge has just removed
            if self.folder.exists():
                raise
            raise JobNotFound(f"job {self.job_id!r} was purged just now", job_id=self.job_id) from None


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{folder} cannot be changed: {error.strerror or error}", setting="state_dir")


def _facts(stored: ResumeEngine, folder: Path) -> dict[str, Any]:
    """The parts of the job and its usage, for people who have forgotten what it was."""
    spent = stored.state.call_totals.spent().values()
    usage = sum((used.usage for used in spent), Usage())
    facts: dict[str, Any] = {"usage": usage, "size_bytes": _size(folder), "folder": os.fspath(folder)}
    if stored.epoch is None:
        return facts
    job = stored.epoch.job
    source = job.map_source.get("template") if isinstance(job.map_source, Mapping) else job.map_source
    first = next(iter(stored.documents()), None)  # the others may be a million
    return {
        **facts,
        "models": tuple(name for name, _ in job.models),
        "function": " ".join(str(source or job.map_name).split())[:FUNCTION_CHARS],
        "documents": stored.epoch.document_count,
        "source": "" if first is None else first.id,
    }


def _size(folder: Path) -> int:
    """The bytes of a job's files."""
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:  # purged meanwhile
        for entry in entries:
            size += entry.stat(follow_symlinks=False).st_size
    return size


def _batches(stored: ResumeEngine) -> Iterator[Mapping[str, Any]]:
    for one in stored.state.batches.batches.values():
        record, facts = one.record, one.record.facts
        batch = {"batch_id": record.name, "state": record.state, "model": record.model, "requests": one.requests}
        yield {**batch, "began": one.began, **{name: facts[name] for name in ("answered", "refused") if name in facts}}


def _reason(summary: Mapping[str, Any]) -> str:
    """Why a run ended as it did, by the summary in its CLOSE; logs of other versions may have none."""
    reason, errors = summary.get("reason"), summary.get("errors")
    if not isinstance(reason, str) or not reason:
        reason = "; ".join(map(str, errors[:3])) if isinstance(errors, list) else ""
    return reason


def _in_flight(stored: ResumeEngine) -> int:
    """The tasks that wait for an answer: they began a call in this run, and have no later outcome."""
    state = stored.state
    tasks = state.call_totals.open_since(state.round_offset)
    return sum(at > stored.index(round_).outcome(chunk, model) for (round_, chunk, model), at in tasks.items())


class _Rate:
    """The pace of the present run: results since its ROUND record."""

    def __init__(self, stored: ResumeEngine) -> None:
        epoch = stored.epoch
        # Of the map round: merges are few, and say nothing of the chunks that are left.
        began = epoch.rounds[0].at if epoch is not None and 0 in epoch.rounds else 0.0
        offset = stored.state.round_offset
        offsets = stored.index(0).results()
        self.resumed = sum(1 for at in offsets if at < offset)  # they stand in the log before the ROUND record
        self._new = len(offsets) - self.resumed
        self._elapsed_s = max(0.0, time.time() - began)

    def eta_s(self, left: int) -> float | None:
        """Seconds until ``left`` tasks are done at this pace; None before the first result."""
        return left * self._elapsed_s / self._new if self._new and self._elapsed_s else None


def list_jobs(state_dir: str | os.PathLike[str] | None = None) -> Iterator[Job]:
    """All jobs of a state folder, the oldest first."""
    folder = jobs_folder(state_dir)
    entries = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # purged since the folder was read
            if entry.is_dir() and not entry.is_symlink() and os.path.lexists(entry / "log"):
                entries.append((entry.stat().st_mtime, entry.name))
    for _, name in sorted(entries):
        try:
            job = Job(name, state_dir=state_dir)
        except ConfigError:
            continue  # a folder whose name is no job id is not ours
        yield job


def merge_results(
    jobs: Iterable[Job | str],
    *,
    partial: bool = False,
    duplicates: Literal["refuse", "keep"] = "refuse",
    result_type: Any = None,
    state_dir: str | os.PathLike[str] | None = None,
) -> Merged:
    """The outcomes of several jobs as those of one, with sums of usage and cost. They come in the order of ``jobs``
    (ids, or ``Job`` if the state folders differ), each in chunk order, and are read from the logs on demand.

    JobError: a job is not done, unless ``partial``. JobMismatch: two have a document of the same id, so that a result
    would count twice, unless ``duplicates="keep"``. ConfigError: a job is named twice. JobNotFound, LogError.
    """
    if duplicates not in ("refuse", "keep"):
        raise ConfigError(f"duplicates={duplicates!r}: use 'refuse' or 'keep'", setting="duplicates")
    parts = [one if isinstance(one, Job) else Job(one, state_dir=state_dir) for one in jobs]
    _check_distinct(parts)
    statuses = [job.status() for job in parts]  # of all: one error names every job that is not done
    if not partial:
        _check_done(statuses)
    shared = in_two_jobs((job.job_id, job.documents()) for job in parts) if duplicates == "refuse" else []
    if shared:
        twice = "; ".join(f"{name!r} is in {one} and {other}" for name, one, other in shared)
        raise JobMismatch(
            f"documents would count twice: {twice}. Give each document its own id, and a part that its id decides, "
            "or keep both with duplicates='keep'",
            job_id=shared[0][2],
        )
    outcomes = [job.outcomes(result_type=result_type) for job in parts]
    return Merged(list(zip(statuses, outcomes, strict=True)))


def _check_distinct(jobs: Sequence[Job]) -> None:
    folders: set[Path] = set()
    for job in jobs:
        if (folder := job.folder.resolve()) in folders:
            raise ConfigError(f"job {job.job_id!r} is named twice: its results would count twice", setting="jobs")
        folders.add(folder)


def _check_done(statuses: Sequence[JobStatus]) -> None:
    # A failed job may have an outcome for every chunk: failures are merged, too.
    rest = [one for one in statuses if one.state != "done" and not (one.state == "failed" and _has_all(one))]
    if rest:
        shown = "; ".join(f"{one.job_id} is {one.state} ({one.done + one.failed} of {one.total})" for one in rest[:5])
        more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
        raise JobError(
            f"{len(rest)} of {len(statuses)} jobs are not done: {shown}{more}. 'mrengine resume JOB' goes on with one; "
            "partial=True merges what there is",
            job_id=rest[0].job_id,
        )


def _has_all(status: JobStatus) -> bool:
    return status.done + status.failed == status.total and not status.total_so_far
