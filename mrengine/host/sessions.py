"""The drivers of one job, one after another: begun when one is needed, and another one in place of one that died."""

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
    """``begin()`` starts a driver and asks it for the job; ``drop()`` ends one whose supervisor has died. ``wait()`` is
    given a JobBusy: it raises that, or something else, or returns when it is time to look again.
    """

    def __init__(self, job_id: str, begin: Callable[[], Driver], drop: Callable[[], None], wait: BusyWait) -> None:
        self._job_id, self._begin, self._drop, self._wait = job_id, begin, drop, wait
        self._died = 0

    def begin(self) -> Driver:
        """A driver that was asked for the job."""
        while True:
            try:
                return self._begin()
            except JobBusy as error:  # without processes, the lock is taken at once
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
        """What is done with a driver that is asked for the job: by another one where its supervisor dies, and later
        where somebody else has the job.
        """
        while True:
            try:
                return use(session)
            except SupervisorDied as error:
                session = self.again(error)
            except JobBusy as error:
                self._wait(error)
                session = self.begin()
