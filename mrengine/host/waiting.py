"""Waits, before a run begins, for another run of its runner or of its job; begins the run's drivers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mrengine.errors import ConfigError, JobBusy, JobCancelled, JobTimeout, SupervisorDied
from mrengine.job.driver import Driver
from mrengine.log.file.lock import JobLock, Owner
from mrengine.progress import Progress

__all__ = ["SUPERVISORS", "BusyWait", "Sessions", "Turns"]

POLL_S = 0.2  # between two looks whether the job is free
SETTLE_S = 0.2  # an owner of the job that is gone after so long was about to end
TURN_S = 0.01  # between two looks whether the runner is free
SUPERVISORS = 4  # how many may die before a job is given up
_T = TypeVar("_T")


class BusyWait:
    """Called with a JobBusy, it returns when it is time to look again, or raises what ends the wait.

    ``until``: when the wait ends (``time.monotonic()``), None: never. ``stopped()``: whether ``runner.stop()`` was
    called meanwhile.
    """

    def __init__(
        self, job_id: str, *, on_busy: str, until: float | None, stopped: Callable[[], bool], progress: Progress
    ) -> None:
        self._job_id, self._on_busy, self._until = job_id, on_busy, until
        self._stopped, self._progress = stopped, progress

    def __call__(self, busy: JobBusy) -> None:
        """Wait a moment. JobBusy: the caller does not want to wait. JobTimeout, JobCancelled: the wait is over."""
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

    def until_free(self, folder: Path) -> None:
        """Wait while another process runs the job of a folder, unless that is about to end."""
        while (owner := _runs(folder)) is not None and _runs(folder, after_s=SETTLE_S):
            message = f"job {self._job_id} is run by {owner}: wait for it (on_busy='wait'), or cancel it"
            self(JobBusy(message, job_id=self._job_id, pid=owner.pid))


def _runs(folder: Path, *, after_s: float = 0.0) -> Owner | None:
    """The process that runs a job; None: there is none, or it is about to end."""
    # A supervisor hears of its host's death some milliseconds later: a job that was just killed looks as if it ran.
    time.sleep(after_s)
    owner = JobLock(folder).holder()
    known = owner is not None and owner.state != "unknown"  # "unknown": the lock is just being taken, or given up
    return owner if owner is not None and known and owner.alive and not owner.draining else None


class Sessions:
    """Begins drivers, and waits for a job that is busy.

    ``begin()`` starts a driver and asks it for the job; ``drop()`` ends one whose supervisor has died; ``wait(busy)``
    raises an error, or returns when it is time to try again.
    """

    def __init__(self, job_id: str, begin: Callable[[], Driver], drop: Callable[[], None], wait: BusyWait) -> None:
        self._job_id, self._begin, self._drop, self._wait = job_id, begin, drop, wait
        self._died = 0

    def begin(self) -> Driver:
        """Begin a driver, and wait while the job is busy."""
        while True:
            try:
                return self._begin()
            except JobBusy as error:  # a driver without processes takes the lock at once
                self._wait(error)

    def again(self, error: SupervisorDied) -> Driver:
        """Another supervisor for one that died, a bounded number of times."""
        self._died += 1
        self._drop()
        if self._died >= SUPERVISORS:
            message = f"{self._died} supervisors died before the job was opened; the last one: {error}"
            raise SupervisorDied(message, job_id=self._job_id) from error
        return self.begin()

    def until_done(self, session: Driver, use: Callable[[Driver], _T]) -> _T:
        """Do ``use`` with a driver; again with another after a supervisor's death, and later while the job is busy."""
        while True:
            try:
                return use(session)
            except SupervisorDied as error:
                session = self.again(error)
            except JobBusy as error:
                self._wait(error)
                session = self.begin()


class Turns:
    """Lets one run of a runner go on at a time. Any thread may give a turn back, as any may close a stream."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[object, int]] = {}  # "by": a run and its thread

    def take(self, run: object, *, wait: bool, until: float | None) -> None:
        """Take the turn. ConfigError: another run has it, and waiting is not wanted, or would never end. JobTimeout:
        that run did not end by ``until`` (``time.monotonic()``).
        """
        mine = run, threading.get_ident()
        while True:
            # One step, without a lock: neither an interrupt nor another thread comes between the look and the taking.
            taken = self._taken.setdefault("by", mine)
            if taken is mine:
                return
            if not wait:
                message = "this runner runs a job already: use one runner for each job at a time, or on_busy='wait'"
                raise ConfigError(message, setting="job_id")
            if taken[1] == mine[1]:
                message = (
                    "this runner runs a job in this very thread, in a callback or a stream: waiting would never end"
                )
                raise ConfigError(message, setting="on_busy")
            if until is not None and time.monotonic() >= until:
                raise JobTimeout("this runner was still busy with another run when timeout_s was over")
            time.sleep(TURN_S)

    def give_back(self, run: object) -> None:
        """Give the turn of a run back, if the run has it."""
        taken = self._taken.get("by")
        if taken is not None and taken[0] is run:
            del self._taken["by"]
