"""Decides how a run ends: the error for a round's end, the run's state and CLOSE, and what stays in its folder."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import NamedTuple

from mrengine.errors import (
    BudgetExhausted,
    JobBusy,
    JobCancelled,
    JobError,
    JobFailed,
    JobTimeout,
    JobWaiting,
    LogError,
    PoolBroken,
    SupervisorDied,
)
from mrengine.log.file.folder import locked, remove
from mrengine.log.format.job_records import CloseRecord, pack_close
from mrengine.log.format.values import normalise
from mrengine.records import RunSummary
from mrengine.sources.spool import sweep_spools

__all__ = ["Ending", "clear", "close_payload", "end_state", "ending"]


log = logging.getLogger("mrengine")


class Ending(NamedTuple):
    """The error of a run. ``state``: for its CLOSE record. ``has_facts``: the round's facts become its attributes."""

    error: type[JobError]
    message: str
    state: str
    has_facts: bool = False


def ending(state: str, message: str, job_id: str, *, trouble: str) -> Ending:
    """The error for a round's final state and the engine's ``message``. ``trouble``: why a call was last made again."""
    if state == "timeout":
        # Without it the caller would see a job that was too slow, and not a provider that refused all along.
        why = f"; a call had failed and was made again: {trouble}" if trouble else ""
        reason = message or "timeout_s is over"
        return Ending(JobTimeout, f"job {job_id}: {reason}; it can be resumed{why}", "timeout")
    endings = {
        "budget": Ending(BudgetExhausted, message, "budget", has_facts=True),
        "broken": Ending(PoolBroken, message, "failed", has_facts=True),
        "failed": Ending(JobFailed, f"job {job_id}: {message}", "failed"),
        "died": Ending(SupervisorDied, message, "stopped"),
        "waiting": Ending(JobWaiting, f"job {job_id} waits for its batches ({message}); resume it to collect", state),
        "cancelled": Ending(JobCancelled, f"job {job_id} was cancelled", "cancelled"),
    }
    return endings.get(state) or Ending(JobCancelled, f"job {job_id} was stopped; it can be resumed", "stopped")


def end_state(state: str, error: BaseException | None, *, began: bool) -> str:
    """How a run ended, for ``job:end``. ``began``: whether there was a ``job:start``. ``state``: that of the CLOSE
    record, which says "done" even if ``reduce_fn`` raised later.
    """
    if error is None:
        return "done"
    if not began:
        if isinstance(error, (JobTimeout, JobCancelled)):
            return "timeout" if isinstance(error, JobTimeout) else "cancelled"
        return "refused" if isinstance(error, Exception) else "stopped"
    if state == "done":
        return "failed" if isinstance(error, Exception) else "stopped"
    return state


def close_payload(state: str, summary: RunSummary, reason: str = "") -> bytes:
    """The CLOSE record of a run, for the log's writer."""
    return pack_close(CloseRecord(time.time(), state, normalise({**summary.to_dict(), "reason": reason})))


def clear(folder: Path, keep: str) -> None:
    """Remove what is not to be kept of a job that is done."""
    try:
        if keep == "results":
            with locked(folder):  # another run may need the spool
                sweep_spools(folder)
        elif keep == "on_failure":
            remove(folder)
    except (JobBusy, LogError):
        pass  # another run of the job has begun, and needs its folder, or has removed it
    except OSError as error:  # not raised: the run has its answer
        log.warning("%s could not be cleared (%s): it holds documents", folder, error.strerror)
