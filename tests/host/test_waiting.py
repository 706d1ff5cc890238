"""What a run waits for before it begins: another run of its runner, another run of its job."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mrengine.errors import ConfigError, JobBusy, JobCancelled, JobTimeout
from mrengine.host.waiting import BusyWait, Turns
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
