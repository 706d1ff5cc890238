"""Owns the wait for a job that another process runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from mrengine.errors import JobBusy, JobCancelled, JobTimeout
from mrengine.progress import Progress

__all__ = ["BusyWait"]

POLL_S = 0.2


class BusyWait:
    """Call it with a JobBusy: it returns when it is time to look again, or raises what ends the wait.

    ``until``: of ``time.monotonic()``, None: for ever. ``stopped()``: whether ``runner.stop()`` was called meanwhile.
    """

    def __init__(
        self, job_id: str, *, on_busy: str, until: float | None, stopped: Callable[[], bool], progress: Progress
    ) -> None:
        self._job_id, self._on_busy, self._until = job_id, on_busy, until
        self._stopped, self._progress = stopped, progress

    def __call__(self, busy: JobBusy) -> None:
        """JobBusy: nobody wants to wait. JobTimeout, JobCancelled: not any longer."""
        if self._on_busy != "wait":
            raise busy
        if self._stopped():
            message = f"job {self._job_id} was stopped while it waited for process {busy.pid}"
            raise JobCancelled(message, job_id=self._job_id)
        left_s = POLL_S if self._until is None else self._until - time.monotonic()
        if left_s <= 0:
            message = f"job {self._job_id} was still run by process {busy.pid} when timeout_s was over"
            raise JobTimeout(message, job_id=self._job_id) from busy
        self._progress.state("waiting for another run of this job")
        time.sleep(min(POLL_S, left_s))
