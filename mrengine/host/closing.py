"""Owns what is done to a job's folder once its run is over: the CLOSE of one that needed no pool, and what is kept."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

from mrengine.errors import JobBusy, LogError
from mrengine.job.job_store import JobStore
from mrengine.log.file.folder import locked, remove
from mrengine.log.format.job_records import CloseRecord, pack_close
from mrengine.log.format.values import normalise
from mrengine.records import RunSummary
from mrengine.sources.spool import sweep_spools

__all__ = ["clear", "close_done", "close_payload"]

log = logging.getLogger("mrengine")


def close_payload(state: str, summary: RunSummary, reason: str = "") -> bytes:
    """The CLOSE record of a run."""
    return pack_close(CloseRecord(time.time(), state, normalise({**summary.to_dict(), "reason": reason})))


def close_done(folder: Path, job_id: str, summary: RunSummary, *, durability: str) -> None:
    """Everything was there already: a run that was killed after its last result had left no CLOSE that says so."""
    with suppress(JobBusy, LogError):  # somebody else is about to say it
        JobStore.open(folder, job_id, durability=durability).finish(close_payload("done", summary))


def clear(folder: Path, keep: str) -> None:
    """Remove what is not to be kept of a job that is done."""
    try:
        if keep == "results":
            with locked(folder):
                sweep_spools(folder)
        elif keep == "on_failure":
            remove(folder)
    except (JobBusy, LogError):
        pass  # another run of it has begun, or removed it
    except OSError as error:  # its answer is there all the same
        log.warning("%s could not be cleared (%s): it holds documents", folder, error.strerror)
