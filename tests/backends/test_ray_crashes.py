"""The crash matrix of the pool of processes, on two Ray nodes: nothing is lost, and nothing is paid twice."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mrengine import proc
from mrengine.backends.ray import outbox
from mrengine.backends.ray.outbox import PREFIX, Files
from mrengine.budget.shared_limits import process_name
from mrengine.testing import LLMServer
from tests.backends.conftest import RayCluster
from tests.backends.test_ray import done, on_ray
from tests.conftest import SESSION_MARK
from tests.system.processes import cmdline, wait_for

pytestmark = pytest.mark.usefixtures("state_dir")
ROOT = Path(__file__).parents[2]
TASKS, SLOTS = 100, 6


def _end_its_actor() -> None:
    import ray

    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
    time.sleep(60)


def _write_among_its_messages(data: bytes) -> None:
    """As a map function does that writes to a descriptor that it took for its own."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{fd}")
            if PREFIX in path and path.endswith("/out"):
                os.write(fd, data)


def _garble() -> None:
    _write_among_its_messages(b"no message " * 100)
    time.sleep(60)


def _cut_a_message_short() -> None:
    _write_among_its_messages(bytes(2))
    os.kill(os.getpid(), signal.SIGKILL)


ENDINGS: dict[str, tuple[str, Callable[[], object]]] = {
    "SIGKILL": ("crash", lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "SIGTERM": ("crash", lambda: os.kill(os.getpid(), signal.SIGTERM)),
    "a segmentation fault": ("crash", lambda: ctypes.string_at(0)),
    "os._exit(0)": ("crash", lambda: os._exit(0)),
    "the end of its actor": ("crash", _end_its_actor),
    "bytes among its messages": ("crash", _garble),
    "half a message": ("crash", _cut_a_message_short),
    "SIGSTOP": ("crash", lambda: signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)),
    "a hang": ("hang", lambda: time.sleep(3600)),
    "an error": ("error", lambda: 1 // 0),
    "sys.exit()": ("error", lambda: sys.exit(3)),
}


@pytest.mark.system
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_deadly_chunk_costs_itself(ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    """However it ends its process; what Ray says of that is not printed among the results of the program."""
    kind, end = ENDINGS[ending]

    def deadly(chunk: Any, _context: Any) -> int:
        while chunk.id == 5:
            end()
        return int(chunk.id)

    runner = on_ray(workers=2, chunk_timeout_s=3.0 if kind == "hang" else 60.0, drain_s=0.5)
    deaths: list[str] = []
    runner.on("worker:crashed", lambda event: deaths.append(event.cause))
    found = runner.run([str(number) for number in range(20)], deadly)
    assert [one.result for one in found.results] == [number for number in range(20) if number != 5]
    assert [(one.chunk_id, one.kind) for one in found.failures] == [(5, kind)]
    assert (len(deaths) >= 3) == (kind != "error")
    assert capfd.readouterr().out == ""


HOST = """
import sys
from mrengine import MapReduceRunner
url, acks = sys.argv[1:]
where = {"backend": "ray", "workers": 3, "slots": 2}
runner = MapReduceRunner("killed", models=url + "#m", target_tokens=None, drain_s=3.0, **where)
seen = open(acks, "a", buffering=1)
runner.on("chunk:processed", lambda event: seen.write(f"{event.chunk_id}\\n"))
def ask(chunk, context): return context.complete("Q " + chunk.text, max_tokens=9).text
run = runner.run([f"Doc {i}" for i in range(100)], ask)
assert [result.chunk_id for result in run.results] == list(range(100))
print("DONE", run.summary.resumed_chunks, flush=True)
"""


class Driver:
    """A program with a job on the cluster, in a process of its own; its model server counts the calls."""

    def __init__(self, server: LLMServer, acks: Path) -> None:
        self._server, self._acks = server, acks
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", HOST, self._server.url, str(self._acks)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> str:
        out, err = self.process.communicate(timeout=100)
        assert self.process.returncode == 0, err[-3000:]
        return out

    def announced(self) -> list[int]:
        return [int(line) for line in self._acks.read_text().split()]


@pytest.fixture(name="server")
def _server() -> Iterator[LLMServer]:
    with LLMServer(latency_s=0.3) as running:
        yield running


def actors(name: str) -> list[int]:
    """Pids of the actors of a class, on the nodes of these tests."""
    ours = proc.started_with(f"{SESSION_MARK}={os.getpid()}")
    return [pid for pid in ours if cmdline(pid).startswith(f"ray::{name}")]


@pytest.mark.system
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("who", ["Worker", "BudgetActor", "the node"])
def test_a_death_is_mended_and_only_what_was_in_flight_there_is_paid_again(
    server: LLMServer, nodes: RayCluster, tmp_path: Path, who: str
) -> None:
    """In the same run, and every result is announced once."""
    before = set(actors(who))
    driver = Driver(server, tmp_path / "acks")
    wait_for(lambda: server.stats().ok >= 20, within_s=90)
    if who == "the node":
        nodes.kill()
    else:
        os.kill(max(set(actors(who)) - before), signal.SIGKILL)
    assert driver.finish().startswith("DONE")
    assert sorted(driver.announced()) == list(range(TASKS))
    assert server.stats().paid_twice <= {"Worker": 2, "BudgetActor": 0, "the node": SLOTS}[who]


@pytest.mark.system
@pytest.mark.usefixtures("nodes")
def test_a_job_whose_driver_is_killed_is_resumed(server: LLMServer, tmp_path: Path) -> None:
    """What was announced is kept, what was answered is not asked again; its actors end with it."""
    driver = Driver(server, tmp_path / "acks")
    wait_for(lambda: server.stats().ok >= 20, within_s=90)
    driver.process.kill()
    driver.process.communicate()
    announced = driver.announced()
    known = done("killed")
    assert known >= len(announced) > 0
    wait_for(lambda: actors("Worker") == [] == actors("BudgetActor"), within_s=60)
    driver.start()
    assert int(driver.finish().split()[1]) >= known
    again = driver.announced()[len(announced) :]
    assert not set(announced) & set(again)
    assert server.stats().paid_twice <= SLOTS


def test_a_worker_sees_that_its_neighbour_is_stopped(tmp_path: Path) -> None:
    """Each looks at the next one on its node; one that is gone, or another process of its number, is not stopped."""
    mine, alone = Files(tmp_path / f"{PREFIX}t-1", 1), Files(tmp_path / f"{PREFIX}other-0", 1)
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        name = process_name(sleeper.pid)
        theirs = Files(tmp_path / f"{PREFIX}t-0", 1)
        (theirs.folder / "process").write_text(f"{name}@here")
        mine.look()
        assert mine.halted == ""
        sleeper.send_signal(signal.SIGSTOP)
        wait_for(lambda: outbox.is_stopped(name))
        mine.look()
        alone.look()
        assert (mine.halted, alone.halted) == (f"{name}@here", "")
        assert not outbox.is_stopped(f"{name}0@here")
        sleeper.send_signal(signal.SIGCONT)
        wait_for(lambda: not outbox.is_stopped(name))
        mine.look()
        assert mine.halted == ""
    finally:
        sleeper.kill()
        sleeper.communicate()
