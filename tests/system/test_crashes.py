"""However a map function ends its process, it costs its own chunk; and what it left running goes with its worker."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, RunResult
from mrengine.backends.process import supervisor_handle
from mrengine.errors import JobFailed, PoolBroken
from mrengine.testing.llm_server import LLMServer
from tests.system.forked import Host, Say
from tests.system.processes import alive, children

pytestmark = pytest.mark.usefixtures("state_dir")


def run(map_fn: Callable[[Any, Any], Any], chunks: int, **settings: Any) -> tuple[RunResult, list[int]]:
    """The run, and the exit codes of the workers that died in it."""
    runner = MapReduceRunner(**{"workers": 2, "models": "fake", **settings})
    deaths: list[int] = []
    runner.on("worker:crashed", lambda event: deaths.append(event.exitcode))
    return runner.run([str(i) for i in range(chunks)], map_fn), deaths


def given_up(found: RunResult) -> list[tuple[int, str, int]]:
    return [(failure.chunk_id, failure.kind, failure.attempts) for failure in found.failures]


ENDINGS: dict[str, tuple[int, Callable[[], object]]] = {
    "SIGKILL, as the OOM killer": (-signal.SIGKILL, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "a segmentation fault": (-signal.SIGSEGV, lambda: ctypes.string_at(0)),
    "abort()": (-signal.SIGABRT, os.abort),
    "os._exit(0)": (0, lambda: os._exit(0)),
    "os._exit(3)": (3, lambda: os._exit(3)),
    "SIGTERM": (-signal.SIGTERM, lambda: os.kill(os.getpid(), signal.SIGTERM)),
}


SHORT = ("SIGKILL, as the OOM killer", "a segmentation fault", "os._exit(0)")  # the others in the long run


@pytest.mark.parametrize("ending", [e if e in SHORT else pytest.param(e, marks=pytest.mark.system) for e in ENDINGS])
def test_a_deadly_chunk_costs_itself(ending: str) -> None:
    """Whatever the signal or the exit code, three times; the failure in the log names it."""
    exitcode, end = ENDINGS[ending]

    def deadly(chunk: Any, context: Any) -> int:
        while chunk.id == 5:
            end()
        return int(chunk.id)

    found, deaths = run(deadly, 20, slots=2)
    assert [result.result for result in found.results] == [i for i in range(20) if i != 5]
    assert given_up(found) == [(5, "crash", 3)]
    named = signal.Signals(-exitcode).name if exitcode < 0 else f"exit code {exitcode}"
    assert named in found.failures[0].message
    assert set(deaths) == {exitcode}


@pytest.mark.parametrize("slots", [16, pytest.param(64, marks=pytest.mark.system)])
@pytest.mark.parametrize("guilty", [pytest.param((5,), marks=pytest.mark.system), (3, 40)], ids=["one", "two at once"])
def test_the_guilty_are_found_in_few_deaths(slots: int, guilty: Sequence[int]) -> None:
    """Of up to 64 that run side by side in one worker: log2(slots) + 3 deaths each, no innocent one is charged."""

    def deadly(chunk: Any, context: Any) -> int:
        time.sleep(0.03)
        if chunk.id in guilty:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.03)
        return int(chunk.id)

    found, deaths = run(deadly, 80, slots=slots, workers=1)
    assert given_up(found) == [(chunk, "crash", 3) for chunk in guilty]
    assert [result.chunk_id for result in found.results] == [i for i in range(80) if i not in guilty]
    assert len(deaths) <= len(guilty) * ((slots - 1).bit_length() + 3)


def test_rare_random_deaths_are_each_found() -> None:
    """In five workers at once, with normal work beside them."""
    guilty = sorted(random.Random(11).sample(range(300), 6))

    def deadly(chunk: Any, context: Any) -> int:
        time.sleep(0.01)
        if chunk.id in guilty:
            os._exit(1)
        return int(chunk.id)

    found, deaths = run(deadly, 300, slots=8, workers=5, assignment="steal")
    assert given_up(found) == [(chunk, "crash", 3) for chunk in guilty]
    assert len(found.results) == 300 - len(guilty)
    assert len(deaths) <= len(guilty) * (3 + 3)


def test_suspects_run_beside_the_normal_work(tmp_path: Path) -> None:
    """While one worker looks for its guilty chunk, all the others' work is done."""

    def is_seen(*marks: str) -> bool:
        until = time.monotonic() + 30
        while not all((tmp_path / mark).exists() for mark in marks) and time.monotonic() < until:
            time.sleep(0.01)
        return time.monotonic() < until

    others = [f"{i} done" for i in range(1, 16, 2)]

    def deadly(chunk: Any, context: Any) -> bool:
        if chunk.id % 2:
            seen = is_seen("dead")
            (tmp_path / f"{chunk.id} done").touch()
            return seen
        (tmp_path / f"{chunk.id} began").touch()
        if chunk.id == 6:  # in worker 0, with seven others, which wait for the work of worker 1
            is_seen(*(f"{i} began" for i in range(0, 16, 2)))
            (tmp_path / "dead").touch()
            os._exit(1)
        return is_seen(*others)

    found, _ = run(deadly, 16, slots=8)
    assert given_up(found) == [(6, "crash", 3)]
    assert all(result.result for result in found.results)


def test_a_thread_that_ends_the_process_later_convicts_nobody(tmp_path: Path) -> None:
    """The chunk that left it behind is done; those that run when it strikes are innocent."""

    def strike() -> None:
        (tmp_path / "struck").touch()
        os._exit(0)

    def treacherous(chunk: Any, context: Any) -> int:
        if chunk.id == 0:
            threading.Timer(0.05, strike).start()
        while chunk.id > 5 and not (tmp_path / "struck").exists():
            time.sleep(0.01)
        return int(chunk.id)

    found, deaths = run(treacherous, 12, slots=2, workers=1)
    assert [result.chunk_id for result in found.results] == list(range(12))
    assert not found.failures
    assert deaths == [0]


def test_what_a_worker_finished_before_its_death_counts(tmp_path: Path) -> None:
    """It is read from the pipe that outlives it, and not run again; what it had not started is not charged."""

    def dies_after_a_large_result(chunk: Any, context: Any) -> str:
        with (tmp_path / "ran").open("a") as file:
            print(chunk.id, context.attempt, file=file)
        if chunk.id == 3:
            os._exit(0)
        return "x" * 400_000

    found, _ = run(dies_after_a_large_result, 8, workers=1, max_attempts=2)
    ran = Counter((tmp_path / "ran").read_text().splitlines())
    assert ran == {**{f"{i} 1": 1 for i in range(8)}, "3 2": 1}
    assert given_up(found) == [(3, "crash", 2)]


def test_a_child_that_keeps_the_pipe_open_hides_no_death(tmp_path: Path) -> None:
    """A child that map_fn forked holds the worker's descriptors; the death is seen all the same, and both go."""

    def forks(chunk: Any, context: Any) -> int:
        if chunk.id == 1:
            if (pid := os.fork()) == 0:
                time.sleep(3600)
            with (tmp_path / "pids").open("a") as file:
                print(pid, file=file)
            os._exit(0)
        return int(chunk.id)

    found, deaths = run(forks, 4, chunk_timeout_s=60)
    assert given_up(found) == [(1, "crash", 3)]
    assert deaths == [0, 0, 0]
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert not any(map(alive, pids))


def _daemon(path: Path) -> None:
    """A daemon by the book: two forks and a session of its own."""
    script = "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    script += "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(3600)"
    before = len(path.read_text().split()) if path.exists() else 0
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    while len(path.read_text().split() if path.exists() else []) == before:
        time.sleep(0.005)


@pytest.mark.parametrize("ending", ["death", "leaving"])
def test_daemons_go_with_their_worker(tmp_path: Path, ending: str) -> None:
    """Though they left its process group and its session; those of the other worker stay until it goes."""
    pids = tmp_path / "pids"

    def leaves_a_daemon(chunk: Any, context: Any) -> list[int]:
        if chunk.id == 0:
            _daemon(pids)
        if chunk.id == 2 and ending == "death":
            os._exit(1)
        return [int(pid) for pid in pids.read_text().split() if alive(int(pid))] if pids.exists() else []

    found, _ = run(leaves_a_daemon, 5, workers=1, max_attempts=1)
    last = found.results[-1].result
    assert len(last) == (0 if ending == "death" else 1)
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_chunk_that_wants_too_much_memory_costs_itself() -> None:
    """Under a real limit: Python's own allocation raises, one in C that is not checked ends the process."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))

    def hungry(chunk: Any, context: Any) -> int:
        if chunk.id == 1:
            return len(bytearray(8 << 30))
        if chunk.id == 2:
            malloc = ctypes.CDLL(None).malloc
            malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
            ctypes.memset(malloc(8 << 30), 1, 1 << 20)
        return int(chunk.id)

    found, deaths = run(hungry, 6, initializer=limit)
    assert [(failure.chunk_id, failure.kind) for failure in found.failures] == [(1, "error"), (2, "crash")]
    assert "MemoryError" in found.failures[0].message
    assert set(deaths) == {-signal.SIGSEGV}
    assert [result.chunk_id for result in found.results] == [0, 3, 4, 5]


def test_the_deadline_of_a_chunk_is_that_of_its_calls() -> None:
    """The HTTP request ends with it, long before the worker would be replaced: nobody dies."""
    deaths: list[int] = []
    with LLMServer(latency_s=60) as server:
        runner = MapReduceRunner(workers=2, models=server.url + "#m", chunk_timeout_s=0.5, max_attempts=1)
        runner.on("worker:crashed", lambda event: deaths.append(event.exitcode))
        with pytest.raises(JobFailed) as caught:
            runner.run(["a", "b"], lambda chunk, context: context.complete(chunk.text).text)
    assert all("did not answer in time" in failure.message for failure in caught.value.failures)
    assert deaths == []


def test_sys_exit_is_a_failure_not_a_death() -> None:
    """In map_fn it ends the chunk, at once."""

    def leaves(chunk: Any, context: Any) -> int:
        if chunk.id == 1:
            sys.exit(4)
        return int(chunk.id)

    found, deaths = run(leaves, 4)
    assert [(failure.chunk_id, failure.kind) for failure in found.failures] == [(1, "error")]
    assert "SystemExit" in found.failures[0].message
    assert deaths == []


def test_a_large_worker_is_replaced_and_nobody_is_charged() -> None:
    """max_worker_rss: between tasks."""
    hoard: list[bytes] = []

    def leaks(chunk: Any, context: Any) -> int:
        if chunk.id == 0:
            hoard.append(os.urandom(1) * (400 << 20))
        time.sleep(0.3)
        return os.getpid()

    runner = MapReduceRunner(workers=1, models="fake", max_worker_rss=300 << 20)
    causes: list[str] = []
    runner.on("worker:crashed", lambda event: causes.append(event.cause))
    found = runner.run([str(i) for i in range(8)], leaks)
    assert causes == ["the worker was replaced: it held more than max_worker_rss"]
    assert len({result.result for result in found.results}) == 2
    assert not found.failures
    assert {result.attempt for result in found.results} == {1}


STARTS: dict[str, Callable[[], object]] = {
    "raises RuntimeError": lambda: (_ for _ in ()).throw(RuntimeError("no database")),
    "leaves with exit code 3": lambda: os._exit(3),
    "is a SystemExit": lambda: sys.exit("no database"),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_worker_that_cannot_start_ends_the_job_at_once(start: str) -> None:
    """With the cause; no chunk is charged, the job can be resumed."""
    runner = MapReduceRunner("starts", workers=3, models="fake", initializer=STARTS[start])
    deaths: list[int] = []
    runner.on("worker:crashed", lambda event: deaths.append(event.exitcode))
    with pytest.raises(PoolBroken, match=start.rsplit(maxsplit=1)[-1]) as caught:
        runner.run(["a", "b"], lambda chunk, context: chunk.id)
    assert len(deaths) <= 6
    assert not caught.value.failures
    again = MapReduceRunner("starts", workers=3, models="fake").run(["a", "b"], lambda chunk, context: chunk.id)
    assert len(again.results) == 2


def test_a_system_that_has_no_more_room_is_named() -> None:
    """More workers than there are descriptors for: PoolBroken says so, and nothing is left."""

    def host(say: Say) -> None:
        room = max(map(int, os.listdir("/proc/self/fd"))) + 32  # this process has more open than its supervisor will
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))
        try:
            MapReduceRunner(workers=200, models="fake").run(["a"], lambda chunk, context: 1)
        except PoolBroken as error:
            say(str(error))

    ((told,),) = Host(host).finish()
    assert "Too many open files" in told


@pytest.mark.parametrize("forks", [0, 2], ids=["at its start", "in the place of one that died"])
def test_a_manager_that_cannot_be_forked_breaks_the_pool(monkeypatch: pytest.MonkeyPatch, forks: int) -> None:
    """The supervisor lives on to say why; after ``forks`` the system has no room for another process."""
    full = f"""
import os
fork, left = os.fork, list(range({forks}))
def fork_or_not():
    if not left:
        raise BlockingIOError(11, "no room for processes")
    left.pop()
    return fork()
os.fork = fork_or_not
main(fd, facts)"""
    monkeypatch.setattr(supervisor_handle, "_BOOT", supervisor_handle._BOOT.replace("main(fd, facts)", full))

    def kills_the_manager(chunk: Any, context: Any) -> None:
        (manager,) = set(children(os.getppid())) - {os.getpid()}
        os.kill(manager, signal.SIGKILL)
        time.sleep(3600)

    with pytest.raises(PoolBroken, match="no room for processes"):
        MapReduceRunner(workers=1, models="fake", drain_s=0.2).run("a", kills_the_manager)


NO_ROOM = """
from mrengine.budget import server
class Full(server.threading.Thread):
    def start(self):
        if self.name.endswith("(handle_request)"):
            raise RuntimeError("can't start new thread")
        super().start()
server.threading.Thread, server.ROOM_S = Full, 0.01
main(fd, facts)"""


def test_a_manager_that_can_start_no_threads_breaks_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would accept nobody any more, and waiting for the budget has no end."""
    monkeypatch.setattr(supervisor_handle, "_BOOT", supervisor_handle._BOOT.replace("main(fd, facts)", NO_ROOM))
    with pytest.raises(PoolBroken, match="no room for its threads"):
        run(lambda chunk, context: context.complete("x").text, 1, workers=1, drain_s=0.2)


def test_a_pool_whose_workers_only_die_is_broken_and_resumable() -> None:
    """After a bounded number of deaths, with the cause; what was given up and what was not is run again."""
    settings: dict[str, Any] = {"workers": 2, "models": "fake", "map_version": "1"}
    runner = MapReduceRunner("dies", **settings)
    deaths: list[int] = []
    runner.on("worker:crashed", lambda event: deaths.append(event.exitcode))
    documents = [str(i) for i in range(50)]
    with pytest.raises(PoolBroken, match="SIGKILL") as caught:
        runner.run(documents, lambda chunk, context: os.kill(os.getpid(), signal.SIGKILL))
    assert len(deaths) <= 3 * 2 + 2  # 3 × workers, and who died meanwhile
    assert len(caught.value.failures) < 50
    assert len(MapReduceRunner("dies", **settings).run(documents, lambda chunk, context: chunk.id).results) == 50


def test_every_chunk_that_kills_is_given_up() -> None:
    """A job so small that its pool is not broken fails with each chunk's cause."""
    with pytest.raises(JobFailed) as caught:
        run(lambda chunk, context: os._exit(7), 2)
    assert Counter(failure.kind for failure in caught.value.failures) == {"crash": 2}
    assert all("exit code 7" in failure.message for failure in caught.value.failures)


def test_a_worker_that_was_stopped_is_replaced(tmp_path: Path) -> None:
    """SIGSTOP in the middle of its tasks: they run again, and nobody is charged."""
    mark = tmp_path / "stopped"

    def stops(chunk: Any, context: Any) -> int:
        if chunk.id == 0 and not mark.exists():
            mark.touch()
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread, before it can return
        return int(chunk.id)

    found, deaths = run(stops, 6, slots=2, max_attempts=1)
    assert [result.chunk_id for result in found.results] == list(range(6))
    assert deaths == [-signal.SIGKILL]
