"""Begins the drivers of one job, one after another: when one is needed, and in place of one that died."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mrengine.errors import JobBusy, SupervisorDied
from mrengine.host.waiting import BusyWait
from mrengine.job.driver import Driver

__all__ = ["SUPERVISORS", "Sessions"]

SUPERVISORS = 4  # how many may die before a job is given up
_T = TypeVar("_T")


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
