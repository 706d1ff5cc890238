"""Whoever dies, and however: nothing of the tree stays, no process, no file, no lock, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.errors import JobCancelled
from mrengine.log.file.lock import JobLock
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer
from tests.system import processes
from tests.system.processes import alive, children, wait_for, wait_until_gone
from tests.system.trees import Tree

# A worker's map function may leave a daemon with a session of its own; calls take longer than any drain.
HOST = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[4])
from mrengine import MapReduceRunner
url, acks, job = sys.argv[1:4]

def ask(chunk, context):
    if chunk.id == 0 and context.attempt == 1 and not os.path.exists(acks):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            open(acks, "w").write(f"{os.getpid()}\\n")
            time.sleep(3600)
    return context.complete("Q " + chunk.text, max_tokens=9).text

MapReduceRunner(job, workers=2, slots=2, models=url + "#m", target_tokens=None, drain_s=1.0).run(list("abcdefgh"), ask)
"""


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets and temporary folders are made; short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


@pytest.fixture
def tree(state_dir: Path, temp: Path) -> Iterator[Tree]:
    """With calls in flight that take an hour, and a daemon."""
    with LLMServer(latency_s=3600) as server:
        tree = Tree(server, state_dir, HOST)
        wait_for(lambda: server.stats().requests == 4 and tree.announced())
        yield tree
        tree.host.kill()
        tree.host.communicate()


def is_free(folder: Path) -> bool:
    lock = JobLock(folder)
    try:
        return lock.try_acquire()
    finally:
        lock.release()


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def test_a_killed_host_leaves_nothing_though_its_calls_never_end(tree: Tree, state_dir: Path, temp: Path) -> None:
    """After drain_s: no process, no socket, no folder, no shared memory, and the lock is free."""
    (daemon,) = tree.announced()
    below = [*processes.tree(tree.host.pid)[1:], daemon]
    before = shared_memory()
    tree.host.kill()
    tree.host.communicate()
    took = wait_until_gone(lambda: [pid for pid in below if alive(pid)], within_s=12)
    assert took + 0.5 >= 1.0
    assert list(temp.iterdir()) == []
    assert shared_memory() <= before
    assert is_free(state_dir / "jobs" / "killed")
    assert Job("killed").status().state == "interrupted"


@pytest.mark.usefixtures("temp")
def test_a_killed_supervisor_leaves_nothing_of_its_own(tree: Tree) -> None:
    """Its workers, its Manager, and what a worker had daemonised; the host goes on with others."""
    (daemon,) = tree.announced()
    supervisor, *below = processes.tree(tree.host.pid)[1:]
    assert len(below) >= 3
    os.kill(supervisor, signal.SIGKILL)
    wait_until_gone(lambda: [pid for pid in (*below, daemon) if alive(pid)], within_s=11)
    wait_for(lambda: [pid for pid in children(tree.host.pid) if pid != supervisor])
    tree.host.kill()


def test_after_everybody_was_killed_at_once_the_next_run_clears_up(tree: Tree, state_dir: Path, temp: Path) -> None:
    """Nobody is left to remove the socket in the job's folder: the next supervisor does, and finds the lock free."""
    everybody = [*processes.tree(tree.host.pid), *tree.announced()]
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    tree.host.communicate()
    wait_until_gone(lambda: [pid for pid in everybody if alive(pid)], within_s=11)
    folder = state_dir / "jobs" / "killed"
    assert is_free(folder)
    assert (folder / "socket").is_socket()
    MapReduceRunner("killed", workers=1, models="fake", on_mismatch="restart").run("a", lambda chunk, context: 1)
    assert not (folder / "socket").exists()
    assert list(temp.iterdir()) == []


@pytest.mark.usefixtures("state_dir")
def test_the_thread_that_began_a_stream_may_end() -> None:
    """The supervisor follows the host, not the thread that started it."""
    runner = MapReduceRunner(workers=2, models=fake("ok", latency_s=0.05))
    stream = runner.stream([str(i) for i in range(20)], lambda chunk, context: context.complete("x").text)
    first = []
    thread = threading.Thread(target=lambda: first.append(next(stream)))
    thread.start()
    thread.join()
    assert sorted(outcome.chunk_id for outcome in (*first, *stream)) == list(range(20))


@pytest.mark.usefixtures("state_dir")
def test_a_warm_pool_is_there_until_the_block_ends() -> None:
    """The same processes between runs, stop() of one from another thread in between; none after it."""
    seen: set[int] = set()

    def pid(chunk: object, context: object) -> int:
        time.sleep(0.02)
        return os.getpid()

    documents, others = [str(i) for i in range(8)], children(os.getpid())
    with MapReduceRunner(workers=2, models="fake") as runner:
        seen |= {result.result for result in runner.run(documents, pid).results}
        (supervisor,) = set(children(os.getpid())) - set(others)
        assert set(children(supervisor)) >= seen
        seen |= {result.result for result in runner.run(documents, pid).results}
        assert len(seen) == 2
        assert all(map(alive, seen))
    assert not alive(supervisor)
    assert not any(map(alive, seen))


@pytest.mark.usefixtures("state_dir")
def test_a_manager_that_dies_between_two_runs_costs_nothing() -> None:
    """The pool stays, and the next run has another."""

    def pid(chunk: Any, context: Any) -> int:
        assert context.complete(chunk.text).text == "ok"
        return os.getpid()

    others = set(children(os.getpid()))  # servers of other tests
    with MapReduceRunner(workers=1, models=fake("ok")) as runner:
        workers = [result.result for result in runner.run("a", pid).results]
        (supervisor,) = set(children(os.getpid())) - others
        (manager,) = set(children(supervisor)) - set(workers)
        os.kill(manager, signal.SIGKILL)
        wait_for(lambda: manager not in processes.pids())
        assert [result.result for result in runner.run("b", pid).results] == workers
        assert set(children(os.getpid())) - others == {supervisor}


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("way", ["stop() of another thread", "leaving the loop"])
def test_stopping_lets_what_is_in_flight_end(way: str) -> None:
    """Each call that was made has its answer in the log, and the next run makes the others alone."""

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete("Q " + chunk.text).text)

    with LLMServer(latency_s=0.2) as server:
        settings: dict[str, Any] = {"workers": 2, "slots": 2, "models": server.url + "#m", "target_tokens": None}
        documents = [f"doc {i}" for i in range(40)]
        runner = MapReduceRunner("halt", **settings)
        if way == "leaving the loop":
            for outcome in runner.stream(documents, ask):
                if outcome.chunk_id >= 4:
                    break
        else:
            stopper = threading.Thread(target=lambda: (wait_for(lambda: server.stats().ok >= 4), runner.stop()))
            stopper.start()
            with pytest.raises(JobCancelled):
                runner.run(documents, ask)
            stopper.join()
        made = server.stats()
        assert made.requests == made.ok < 40
        status = Job("halt").status()
        assert (status.state, status.done) == ("stopped", made.ok)
        assert len(MapReduceRunner("halt", **settings).run(documents, ask).results) == 40
        assert server.stats().requests == 40
