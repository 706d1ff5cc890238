"""What a run waits for before it begins: another run of its runner, another run of its job."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine.errors import ConfigError, JobBusy, JobCancelled, JobTimeout, SupervisorDied
from mrengine.host.waiting import SUPERVISORS, BusyWait, Sessions, Turns
from mrengine.log.file.lock import JobLock
from mrengine.progress import Silent
from tests.system.processes import wait_for

BUSY = JobBusy("busy", job_id="j", pid=7)


def wait(on_busy: str = "wait", *, until: float | None = None, stopped: bool = False) -> BusyWait:
    return BusyWait("j", on_busy=on_busy, until=until, stopped=lambda: stopped, progress=Silent())


def test_who_does_not_want_to_wait_is_refused() -> None:
    with pytest.raises(JobBusy):
        wait("error")(BUSY)


def test_a_wait_ends_with_the_runs_time_or_its_stop() -> None:
    """Else it returns, to look again."""
    wait()(BUSY)
    with pytest.raises(JobTimeout, match="process 7"):
        wait(until=time.monotonic())(BUSY)
    with pytest.raises(JobCancelled, match="stopped while it waited"):
        wait(stopped=True)(BUSY)


def test_a_job_that_is_run_is_waited_for(tmp_path: Path) -> None:
    """Until its lock is free."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    with pytest.raises(JobBusy):
        wait("error").until_free(tmp_path)
    waiter = threading.Thread(target=wait().until_free, args=(tmp_path,))
    waiter.start()
    assert waiter.is_alive()
    lock.release()
    waiter.join(timeout=30)
    assert not waiter.is_alive()


def test_one_run_of_a_runner_at_a_time() -> None:
    """Another thread is refused or waits; the same thread would wait for ever, and is told so."""
    turns, first, other = Turns(), object(), object()
    turns.take(first, wait=False, until=None)
    with pytest.raises(ConfigError, match="one runner for each job"):
        turns.take(other, wait=False, until=None)
    with pytest.raises(ConfigError, match="in this very thread"):
        turns.take(other, wait=True, until=None)
    turns.give_back(other)  # it had no turn: nothing happens
    taken = threading.Event()

    def second() -> None:
        turns.take(other, wait=True, until=None)
        taken.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not taken.wait(0.1)
    turns.give_back(first)
    thread.join(timeout=30)
    assert taken.is_set()
    with pytest.raises(JobTimeout):
        turns.take(first, wait=True, until=time.monotonic())
    turns.give_back(other)
    turns.take(first, wait=False, until=None)
    wait_for(lambda: not thread.is_alive())


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
