"""A round is played to its end, whatever becomes of the supervisors that play it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, tree_reduce
from mrengine.backends.process.driver import ProcessDriver
from mrengine.errors import JobCancelled, SupervisorDied
from mrengine.testing import fake
from tests.system.processes import wait_for

DOCUMENTS = [f"text {i}" for i in range(12)]
pytestmark = pytest.mark.usefixtures("state_dir")


def text_of(chunk: Any, _context: Any) -> str:
    return str(chunk.text)


def kills_its_supervisor(_chunk: Any, _context: Any) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def kill_supervisor(runner: MapReduceRunner) -> None:
    driver = runner._pool.open()
    assert isinstance(driver, ProcessDriver)
    os.kill(driver.pid, signal.SIGKILL)
    wait_for(lambda: driver._supervisor._process.poll() is not None)


def test_each_outcome_is_reported_once_though_supervisors_die() -> None:
    """What a dead one had made durable, and not announced, is news when the next one goes on."""
    runner = MapReduceRunner("dying", workers=2)
    told: list[int] = []

    def strike(event: Any) -> None:
        told.append(event.chunk_id)
        if len(told) in (1, 4, 8):
            kill_supervisor(runner)

    runner.on("chunk:processed", strike)
    done = runner.run(DOCUMENTS, text_of)
    assert sorted(told) == list(range(len(DOCUMENTS)))
    assert (done.summary.processed_chunks, done.summary.resumed_chunks) == (len(DOCUMENTS), 0)
    assert [result.result for result in done.results] == DOCUMENTS
    assert Job("dying").status().state == "done"


def test_supervisors_that_die_without_progress_are_given_up() -> None:
    """The error has what was done; the job can be resumed."""
    runner = MapReduceRunner("hopeless", workers=1, map_version="1")
    with pytest.raises(SupervisorDied, match="4 supervisors died in a row") as caught:
        runner.run("text", kills_its_supervisor)
    assert len(caught.value.results) == 0
    assert runner.run("text", text_of).result[0].result == "text"


def test_a_supervisor_that_dies_in_a_later_round_is_replaced() -> None:
    """The texts of that round are in the log already, and are not written again."""
    runner = MapReduceRunner("later", workers=1, models=fake("joined"))

    def strike(_event: Any) -> None:
        kill_supervisor(runner)

    runner.on("reduce:start", strike)
    assert runner.run(DOCUMENTS, text_of, tree_reduce("Join: $text", fan_in=6)).result == "joined"
    assert Job("later").status().round == 2


def test_a_stop_reaches_the_supervisor_that_comes_next() -> None:
    """One that was told of it has died with it."""
    runner = MapReduceRunner("stopped", workers=1)

    def strike(event: Any) -> None:
        if event.done == 1:
            kill_supervisor(runner)
            runner.stop()

    runner.on("chunk:processed", strike)
    with pytest.raises(JobCancelled, match="was stopped"):
        runner.run([*DOCUMENTS, *(f"more {i}" for i in range(500))], text_of)
    assert Job("stopped").status().state == "stopped"
