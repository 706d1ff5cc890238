"""One run of a job in its host: left early, interrupted, and gone on with when its supervisor has died."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, tree_reduce
from mrengine.backends.process.driver import ProcessDriver
from mrengine.backends.process.supervisor_handle import _Leftovers
from mrengine.errors import JobFailed, JobNotFound, LogError, ModelRefused, SupervisorDied
from mrengine.testing import fake
from tests.system.processes import wait_for

DOCUMENTS = [f"text {i}" for i in range(10)]
DRAIN_S = 20.0  # what a host waits for a drain that has long ended is far below it
pytestmark = pytest.mark.usefixtures("state_dir")


def one(_chunk: Any, _context: Any) -> int:
    return 1


def text_of(chunk: Any, _context: Any) -> str:
    return str(chunk.text)


def wait_until_done(job_id: str) -> None:
    wait_for(lambda: Job(job_id).status().done == len(DOCUMENTS))


def test_leaving_a_stream_whose_job_has_ended_waits_for_nothing() -> None:
    """What the supervisor said before the loop was left counts, its END too."""
    runner = MapReduceRunner("left", workers=2, drain_s=DRAIN_S)
    for _ in stream_of_all(runner):
        left_at = time.monotonic()
        break
    assert time.monotonic() - left_at < DRAIN_S / 2
    assert Job("left").status().done == len(DOCUMENTS)


def stream_of_all(runner: MapReduceRunner) -> Any:
    """The outcomes after the first, once all of them are in the log."""
    outcomes = runner.stream(DOCUMENTS, one)
    next(outcomes)
    wait_until_done("left")
    return outcomes


def test_an_interrupt_of_a_host_that_catches_up_waits_for_nothing() -> None:
    """Ctrl-C in a callback, when all has ended: every outcome is counted, and nothing is waited for."""
    runner = MapReduceRunner("caught", workers=2, drain_s=DRAIN_S)
    struck: list[float] = []
    heard: list[int] = []

    def strike(event: Any) -> None:
        heard.append(event.chunk_id)
        if len(heard) == 1:
            wait_until_done("caught")
        elif len(heard) == 2:
            struck.append(time.monotonic())
            raise KeyboardInterrupt

    runner.on("chunk:processed", strike)
    with pytest.raises(KeyboardInterrupt):
        runner.run(DOCUMENTS, one)
    assert time.monotonic() - struck[0] < DRAIN_S / 2
    assert len(heard) == len(DOCUMENTS)


def test_a_supervisor_may_die_between_two_rounds() -> None:
    """Another one is told of the later round's texts again."""
    runner = MapReduceRunner("between", workers=1, models=fake("joined"))

    def strike(_event: Any) -> None:
        session = runner._pool.open()
        assert isinstance(session, ProcessDriver)
        os.kill(session.pid, signal.SIGKILL)
        wait_for(lambda: session._supervisor._process.poll() is not None)
        struck.append(session.pid)

    struck: list[int] = []
    runner.on("reduce:start", strike)
    assert runner.run(DOCUMENTS, text_of, tree_reduce("Join: $text")).result == "joined"
    assert struck


def test_a_reduce_of_a_finished_job_makes_no_spool_without_its_documents(state_dir: Path) -> None:
    """keep='results' leaves none: it is written anew from the documents; without them the reduce is refused."""

    def runner(answer: Any = "joined", **more: Any) -> MapReduceRunner:
        return MapReduceRunner("kept", workers=1, models=fake(answer), keep="results", **{"map_version": "1", **more})

    def refuse(_request: Any) -> str:
        raise ModelRefused("no", model="fake")

    assert runner().run(DOCUMENTS, text_of, tree_reduce("Join: $text")).result == "joined"
    with pytest.raises(JobNotFound, match="keeps no document text"):
        runner().resume("kept", text_of, tree_reduce("Another: $text"))
    with pytest.raises(JobFailed):
        runner(refuse).run(DOCUMENTS, text_of, tree_reduce("Another: $text"))
    (spool,) = (state_dir / "jobs" / "kept").glob("spool*")
    assert spool.read_text().startswith("".join(DOCUMENTS))
    again = runner(map_version="2", on_mismatch="recompute").run(DOCUMENTS, text_of)
    assert [found.result for found in again.results] == DOCUMENTS


def test_a_spool_shorter_than_its_documents_is_written_anew(state_dir: Path) -> None:
    """It is not what its name says, whoever cut it."""
    MapReduceRunner("short", workers=1, map_version="1").run(DOCUMENTS, text_of)
    (spool,) = (state_dir / "jobs" / "short").glob("spool*")
    os.truncate(spool, 3)
    again = MapReduceRunner("short", workers=1, map_version="2", on_mismatch="recompute").run(DOCUMENTS, text_of)
    assert [found.result for found in again.results] == DOCUMENTS


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No process that is started may write a file beyond 60,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_no_room_for_the_chunk_table_is_said_at_once() -> None:
    """The log's own error, by the first supervisor; not a wait for an answer that does not come."""
    with pytest.raises(LogError, match="make room") as caught:
        MapReduceRunner(workers=1).run([Document(f"document {i}", f"text {i}") for i in range(3000)], one)
    assert caught.value.reason == "full"


def test_a_supervisor_that_never_starts_is_named_with_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is that which is raised, not what was asked of it afterwards."""
    monkeypatch.setenv("MRENGINE_PYTHON", shutil.which("false") or "")
    with pytest.raises(SupervisorDied, match=r"died before the job was opened.*exit code 1"):
        MapReduceRunner(workers=1).run("text", one)


def test_an_interrupt_of_the_clearing_up_leaves_the_runner_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the pool ends: the same runner runs again."""
    runner = MapReduceRunner(workers=1)
    clear_up = _Leftovers.clear_up

    def strike(process: _Leftovers) -> None:
        clear_up(process)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(_Leftovers, "clear_up", strike)
        with pytest.raises(KeyboardInterrupt):
            runner.run("text", one)
    assert runner.run("text", one).summary.processed_chunks == 1
