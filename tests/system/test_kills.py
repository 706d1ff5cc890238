"""Every process of the tree is really killed, and nothing that was announced or paid for is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.backends.process.driver import ProcessDriver
from mrengine.errors import ConfigError, SupervisorDied
from mrengine.host.waiting import SUPERVISORS
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.file.worker_journal import answers_in
from mrengine.log.view.verify import verify
from mrengine.providers.local import model_file
from mrengine.testing.llm_server import LLMServer
from tests.system import processes
from tests.system.processes import children, wait_for
from tests.system.trees import DRAIN_S, HOST, SLOTS, TASKS, Tree


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer(latency_s=0.06) as running:
        yield running


def test_the_death_of_the_host_repeats_no_call(server: LLMServer, state_dir: Path) -> None:
    """Calls in flight end and are kept; everything goes; the next run asks for the rest alone."""
    tree = Tree(server, state_dir)
    tree.wait_for(20)
    tree.host.kill()
    tree.host.communicate()
    tree.wait_until_gone(DRAIN_S + 1)
    announced = tree.announced()
    done = Job("killed").status()
    assert done.state == "interrupted"
    assert done.done >= len(announced)
    tree.start()
    assert int(tree.finish().split()[1]) == done.done
    assert server.stats().requests == TASKS
    again = tree.announced()[len(announced) :]
    assert not set(announced) & set(again)


@pytest.mark.parametrize("who", ["worker", "supervisor", "manager"])
def test_a_death_below_the_host_is_mended(server: LLMServer, state_dir: Path, who: str) -> None:
    """The job completes in the same run; at most the calls in flight are repeated."""
    tree = Tree(server, state_dir)
    tree.wait_for(20)
    supervisor = tree.supervisor()
    below = children(supervisor)
    victim = {"supervisor": supervisor, "manager": below[0], "worker": below[-1]}[who]
    os.kill(victim, signal.SIGKILL)
    assert tree.finish().startswith("DONE")
    # In flight in what died: a worker's own slots; those of all workers, which end with their supervisor.
    assert server.stats().requests <= TASKS + {"supervisor": SLOTS, "manager": 0, "worker": 2}[who]
    assert len(tree.announced()) == len(set(tree.announced())) == TASKS
    assert tree.left() == []


@pytest.mark.system
def test_supervisors_may_die_while_there_is_progress(server: LLMServer, state_dir: Path) -> None:
    """More often than a run gives up at, in one life of the host; each costs the calls in flight."""
    tree = Tree(server, state_dir)
    for answers in range(10, 70, 10):
        tree.wait_for(answers)
        os.kill(tree.supervisor(), signal.SIGKILL)
    assert tree.finish().startswith("DONE")
    assert server.stats().paid_twice <= 6 * SLOTS


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.system)])
def test_supervisors_that_only_die_are_given_up(how: signal.Signals) -> None:
    """A bounded number of them; the job can be resumed."""

    def kills(chunk: Any, context: Any) -> None:
        os.kill(os.getppid(), how)
        time.sleep(60)

    runner = MapReduceRunner("dies", workers=1, models="fake", map_version="1")
    with pytest.raises(SupervisorDied, match=f"{SUPERVISORS} supervisors died"):
        runner.run(["a"], kills)
    again = MapReduceRunner("dies", workers=1, models="fake", map_version="1")
    assert len(again.run(["a"], lambda chunk, context: 1).results) == 1


def test_a_stopped_host_does_not_stop_its_job(server: LLMServer, state_dir: Path) -> None:
    """SIGSTOP: every call is made and committed meanwhile; it hears of them when it goes on."""
    tree = Tree(server, state_dir)
    tree.wait_for(10)
    tree.host.send_signal(signal.SIGSTOP)
    wait_for(lambda: processes.state(tree.host.pid) == "T")
    seen = len(tree.announced())
    wait_for(lambda: Job("killed").status().done == TASKS)
    assert len(tree.announced()) == seen
    tree.host.send_signal(signal.SIGCONT)
    assert tree.finish().startswith("DONE")
    assert len(tree.announced()) == server.stats().requests == TASKS


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.system)])
def test_the_embedded_models_server_is_replaced(how: signal.Signals) -> None:
    """At its old address; the calls that were on their way are made again."""
    try:
        model_file.ensure()
    except ConfigError as error:
        pytest.skip(str(error))
    struck: list[int] = []

    def strike(event: Any) -> None:
        if not struck:
            below = processes.tree(os.getpid())[1:]
            struck.extend(pid for pid in below if "server_main" in processes.cmdline(pid))
            os.kill(struck[0], how)

    runner = MapReduceRunner(workers=2, models="local", target_tokens=None, chunk_timeout_s=60)
    runner.on("chunk:processed", strike)
    documents = [f"Say {i}" for i in range(6)]
    run = runner.run(
        documents, lambda chunk, context: context.complete(chunk.text, max_tokens=2, on_truncation="allow").text
    )
    assert len(struck) == 1
    assert len(run.results) == 6
    assert not processes.alive(struck[0])


@pytest.mark.parametrize("known", [False, True], ids=["new", "with a log"])
def test_a_supervisor_that_dies_while_the_job_is_prepared(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """The documents were kept, their chunk table was not written: another supervisor writes it."""
    if known:
        folder = state_dir / "jobs" / "early"
        folder.mkdir(parents=True, mode=0o700)
        WriteAheadLog.create(folder / "log", "early").close()
    killed: list[int] = []
    sync = ProcessDriver.sync

    def killing(session: ProcessDriver) -> int:
        if not killed:
            killed.append(session.pid)
            os.kill(session.pid, signal.SIGKILL)
        return sync(session)

    monkeypatch.setattr(ProcessDriver, "sync", killing)
    run = MapReduceRunner("early", workers=1, models="fake").run(["a", "b"], lambda chunk, context: chunk.text)
    assert [result.result for result in run.results] == ["a", "b"]
    assert len(killed) == 1


@pytest.mark.parametrize("who", ["supervisor", "manager"])
def test_a_process_that_is_stopped_is_replaced(server: LLMServer, state_dir: Path, who: str) -> None:
    """SIGSTOP: it would never answer, and never end."""
    sooner = "from mrengine.backends.process import supervisor_handle\nsupervisor_handle.STOPPED_AFTER_S = 2.0\n"
    tree = Tree(server, state_dir, HOST.replace("url,", sooner + "url,", 1))
    tree.wait_for(20)
    supervisor = tree.supervisor()
    victim = supervisor if who == "supervisor" else children(supervisor)[0]
    os.kill(victim, signal.SIGSTOP)
    assert tree.finish().startswith("DONE")
    assert server.stats().requests <= TASKS + {"supervisor": SLOTS, "manager": 0}[who]
    assert tree.left() == []


def test_a_stopped_supervisor_ends_when_its_host_is_killed(server: LLMServer, state_dir: Path) -> None:
    """Nobody is left to find it: the kernel lets it go on, and it drains as always."""
    tree = Tree(server, state_dir)
    tree.wait_for(20)
    supervisor = tree.supervisor()
    os.kill(supervisor, signal.SIGSTOP)
    wait_for(lambda: processes.state(supervisor) == "T")
    tree.host.kill()
    tree.host.communicate()
    tree.wait_until_gone(DRAIN_S + 1)
    tree.start()
    tree.finish()
    assert server.stats().requests == TASKS


@pytest.mark.parametrize("who", ["supervisor", "all"])
def test_what_was_answered_is_not_asked_again(server: LLMServer, state_dir: Path, who: str) -> None:
    """Though the supervisor, stopped and then killed, never read the answers."""
    tree = Tree(server, state_dir)
    tree.wait_for(20)
    supervisor = tree.supervisor()
    os.kill(supervisor, signal.SIGSTOP)
    wait_for(lambda: processes.state(supervisor) == "T")
    kept = (state_dir / "jobs" / "killed").glob

    def idle() -> bool:
        """Every call that was made is answered and kept, and no worker has another task: all wait, the server too."""
        if not processes.are_idle([*children(supervisor), *children(os.getpid())]):
            return False
        answered = sum(len(list(answers_in(path))) for path in kept("salvage-*"))
        return answered == server.stats().requests

    wait_for(idle)
    for pid in {"supervisor": [supervisor], "all": [tree.host.pid, *processes.tree(supervisor)]}[who]:
        os.kill(pid, signal.SIGKILL)
    if who == "all":
        tree.host.communicate()
        tree.start()
    assert tree.finish().startswith("DONE")
    assert server.stats().requests == TASKS
    assert not list((state_dir / "jobs" / "killed").glob("salvage-*"))


def test_ctrl_c_drains_and_a_second_one_kills(server: LLMServer, state_dir: Path) -> None:
    """KeyboardInterrupt comes out of run(); what was in flight is kept."""
    tree = Tree(server, state_dir)
    tree.wait_for(20)
    tree.host.send_signal(signal.SIGINT)
    _, err = tree.host.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    tree.wait_until_gone(DRAIN_S + 1)
    assert Job("killed").status().state == "stopped"
    tree.start()
    tree.finish()
    assert server.stats().requests == TASKS


@pytest.mark.usefixtures("state_dir")
def test_a_chunk_that_hangs_costs_itself() -> None:
    """Its worker is replaced; the others go on."""

    def stuck(chunk, context):  # type: ignore[no-untyped-def]
        while chunk.id == 1:
            time.sleep(0.1)
        return chunk.id

    runner = MapReduceRunner(workers=2, models="fake", chunk_timeout_s=0.5, max_attempts=1, drain_s=1.0)
    run = runner.run(["a", "b", "c", "d"], stuck)
    assert [result.chunk_id for result in run.results] == [0, 2, 3]
    assert [(failure.chunk_id, failure.kind) for failure in run.failures] == [(1, "hang")]


def test_of_many_processes_that_start_one_job_one_wins(server: LLMServer, state_dir: Path) -> None:
    """The others are told that it is busy, or find it done; no chunk is paid for twice."""
    trees = [Tree(server, state_dir) for _ in range(6)]
    results = [tree.host.communicate(timeout=100) for tree in trees]
    for tree, (out, err) in zip(trees, results, strict=True):
        assert (tree.host.returncode == 0 and "DONE" in out) or "JobBusy" in err, err[-2000:]
    assert any("DONE" in out for out, _ in results)
    assert server.stats().requests == TASKS


def lost_calls(tree: Tree, victim: int) -> int:
    """How many calls may be repeated when a process dies: those that are in flight in it, and in what dies with it."""
    if victim == tree.host.pid:
        return 0
    if processes.parent(victim) == tree.host.pid:
        return SLOTS
    return 2 if os.getpgid(victim) == victim else 0  # a worker leads a group of its own, the Manager does not


def storm(kills: int, seed: int, server: LLMServer, state_dir: Path, *signals: signal.Signals) -> None:
    """Signal somebody, again and again, at random instants, until the job is done; ``signals``: beside SIGKILL."""
    rng = random.Random(seed)
    tree = Tree(server, state_dir)
    allowed = 0
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, 0.9))
        if tree.host.poll() is not None:
            tree.finish()
            break
        host, *below = processes.tree(tree.host.pid)
        who = rng.choice(["host", "supervisor", "below", "below", "below", "all", "everybody"])
        victims = {"host": [host], "supervisor": below[:1], "below": below[1:]}.get(who, [host, *below])
        if who == "below" and victims:
            victims = [rng.choice(victims)]
        signum = signal.SIGKILL if who == "all" else rng.choice([signal.SIGKILL, *signals])
        allowed += SLOTS if who in ("all", "everybody") else 0
        for pid in victims:
            with suppress(ProcessLookupError):
                allowed += lost_calls(tree, pid) if who not in ("all", "everybody") else 0
                os.kill(pid, signum)
        if host in victims:
            if signum == signal.SIGSTOP:
                time.sleep(rng.uniform(0.0, 3.0))
                tree.host.send_signal(signal.SIGCONT)
            else:
                tree.host.communicate(timeout=60)
                tree.wait_until_gone(DRAIN_S + 1)
                tree.start()
    if tree.host.returncode is None:
        tree.finish()
    announced = tree.announced()
    assert set(announced) <= set(range(TASKS))
    assert len(announced) == len(set(announced)), "an outcome was announced twice"
    assert len(Job("killed").results()) == TASKS
    assert verify(state_dir / "jobs" / "killed").sound
    assert server.stats().paid_twice <= allowed
    assert tree.left() == []


def test_a_short_storm(server: LLMServer, state_dir: Path) -> None:
    """Random kills; the long one is `tox -e system`."""
    storm(5, 7, server, state_dir)


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(25))
def test_a_storm(server: LLMServer, state_dir: Path, seed: int) -> None:
    """Twelve signals each, three hundred in all; some are stopped, or asked to end, and not killed."""
    server.reset(latency_s=0.2)
    storm(12, seed, server, state_dir, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
