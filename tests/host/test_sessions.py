"""A driver is asked for the job again, by another supervisor or later; and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.errors import JobBusy, SupervisorDied
from mrengine.host.sessions import SUPERVISORS, Sessions


class Job:
    """Counts what is asked of it; ``begin`` is busy at first."""

    def __init__(self, busy: int = 0) -> None:
        self.begun = self.dropped = self.waited = 0
        self._busy = busy
        wait: Any = self._wait
        self.sessions = Sessions("j", self._begin, self._drop, wait)

    def _begin(self) -> Any:
        if self._busy:
            self._busy -= 1
            raise JobBusy("busy")
        self.begun += 1
        return self.begun

    def _drop(self) -> None:
        self.dropped += 1

    def _wait(self, error: JobBusy) -> None:
        self.waited += 1


def test_a_job_that_is_busy_is_waited_for() -> None:
    job = Job(busy=2)
    first: Any = job.sessions.begin()
    assert first == 1
    assert job.waited == 2


def test_what_fails_with_one_driver_is_done_with_the_next() -> None:
    job = Job()

    def use(session: Any) -> str:
        begun: int = session
        if begun == 1:
            raise SupervisorDied("it died")
        if begun == 2:
            raise JobBusy("somebody has it")
        return f"done by {session}"

    assert job.sessions.until_done(job.sessions.begin(), use) == "done by 3"
    assert (job.dropped, job.waited) == (1, 1)


def test_a_job_whose_supervisors_die_is_given_up() -> None:
    job = Job()

    def use(_session: Any) -> None:
        raise SupervisorDied("no memory")

    with pytest.raises(SupervisorDied, match=rf"^{SUPERVISORS} supervisors died .*; the last one: no memory"):
        job.sessions.until_done(job.sessions.begin(), use)
    assert (job.begun, job.dropped) == (SUPERVISORS, SUPERVISORS)
