"""The driver whose engine steps in the host's own thread: a whole run there, with the same log."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.backends.sequential import SequentialBackend
from mrengine.errors import JobBusy
from mrengine.job.driver import OpenRequest
from mrengine.job.local_driver import LocalDriver
from mrengine.log.file.lock import JobLock

DOCUMENTS = [f"text {i}" for i in range(6)]


def where(_chunk: Any, _context: Any) -> list[int]:
    return [os.getpid(), threading.get_ident()]


def test_map_fn_runs_in_the_callers_process(state_dir: Path) -> None:
    """For a debugger; a run with processes goes on with the same job."""
    done = MapReduceRunner("here", strategy="sequential", map_version="1").run(DOCUMENTS, where)
    assert {result.result[0] for result in done.results} == {os.getpid()}
    again = MapReduceRunner("here", workers=1, map_version="1").run(DOCUMENTS, where)
    assert again.summary.resumed_chunks == len(DOCUMENTS)


def test_an_interrupt_keeps_what_was_done(state_dir: Path) -> None:
    """Ctrl-C in map_fn itself: the chunk before it has its result, the rest is left to do."""

    def struck(chunk: Any, _context: Any) -> int:
        if chunk.id == 3:
            raise KeyboardInterrupt
        return int(chunk.id)

    with pytest.raises(KeyboardInterrupt):
        MapReduceRunner("struck", strategy="sequential", map_version="1").run(DOCUMENTS, struck)
    assert Job("struck").status().done == 3
    done = MapReduceRunner("struck", strategy="sequential", map_version="1").run(DOCUMENTS, where)
    assert (done.summary.resumed_chunks, done.summary.processed_chunks) == (3, 3)


def test_a_job_that_is_run_elsewhere_is_busy(tmp_path: Path) -> None:
    """At once; the lock is the other's."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    driver = LocalDriver(SequentialBackend)
    with pytest.raises(JobBusy):
        driver.begin(OpenRequest(str(tmp_path), tmp_path.name, "fsync", strict=False, workers=1, slots=1))
    driver.close()
    lock.release()
