"""The manager as a real process: served, killed, stopped, replaced; and the workers that draw on it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrengine.budget.client import BudgetClient
from mrengine.budget.connection import kill_if_stopped
from mrengine.budget.server import BudgetConfig, serve
from mrengine.budget.shared_limits import is_alive, process_name
from mrengine.errors import BudgetExhausted, ConfigError, ModelRefused, Stopped
from mrengine.records import Budget, Observed, RateLimit, Usage

# A manager that replaces a killed one is forked beside the threads of this process; it uses none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

fork = multiprocessing.get_context("fork")
KEY = b"a key of this test"
REPLY_TIMEOUT_S = 0.3


class Manager:
    """A manager process at an address of its own."""

    def __init__(self, folder, **terms):
        self.address = str(Path(folder) / "m")
        self.terms = BudgetConfig(priority="P1_user", **terms)
        self.clients = []
        self.start()

    def start(self, **terms):
        self.process = fork.Process(
            target=serve, args=(self.address, KEY, BudgetConfig(priority="P1_user", **terms) if terms else self.terms)
        )
        self.process.start()

    def client(self, worker=0, incarnation=0, **how):
        client = BudgetClient(self.address, KEY, worker, incarnation, reply_timeout_s=REPLY_TIMEOUT_S, **how)
        self.clients.append(client)
        return client

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.join()
        while number == signal.SIGSTOP and not self.stopped():
            time.sleep(0.001)

    def stopped(self):
        """Whether each of its threads has stopped: a signal arrives when it does."""
        stats = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)

    def close(self):
        for client in self.clients:
            client.close()
        self.kill()


@contextmanager
def manager_of(**terms):
    folder = tempfile.mkdtemp(prefix="mrb")
    manager = Manager(folder, **terms)
    try:
        yield manager
    finally:
        manager.close()
        shutil.rmtree(folder)


def soon(seconds=20.0):
    """What stops a wait that takes longer than this."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def acquire(client, tokens=100, **how):
    return client.acquire("m", tokens, 0, estimated=False, stopping=how.pop("stopping", None) or soon(), **how)


def test_a_client_is_granted_and_settles():
    """Through the socket: charged, given back, granted again."""
    with manager_of(limits={"m": RateLimit(tpm=600)}) as manager:
        client = manager.client()
        acquire(client, 590).settle(Usage(10))
        acquire(client, 500).settle(Usage(500))
        with pytest.raises(Stopped):
            acquire(client, 500, stopping=soon(0.2))


def _worker(address, worker, results, calls, slots):
    client = BudgetClient(address, KEY, worker)
    got = []

    def run():
        for _ in range(calls // slots):
            lease = client.acquire("m", 10, 0, estimated=False, stopping=soon())
            got.append(time.monotonic())
            lease.settle(Usage(10))

    threads = [threading.Thread(target=run) for _ in range(slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    results.send((got, sum(thread.name == "mrengine-budget" for thread in threading.enumerate())))


def test_many_threads_of_many_processes_keep_the_rule():
    """Three workers of eight threads: every call is granted, and the rate is never exceeded."""
    with manager_of(limits={"m": RateLimit(tpm=60_000, burst_s=1.0)}) as manager:
        pipes, workers = [], []
        for number in range(3):
            mine, theirs = fork.Pipe()
            worker = fork.Process(target=_worker, args=(manager.address, number, theirs, 48, 8))
            worker.start()
            pipes.append(mine)
            workers.append(worker)
        results = [pipe.recv() for pipe in pipes]
        threads = len(os.listdir(f"/proc/{manager.process.pid}/task"))
        for worker in workers:
            worker.join()
    grants = sorted(at for got, _ in results for at in got)
    assert len(grants) == 144
    # 1,440 tokens: 400 at once, 1,040 at 1,000 a second.
    assert grants[-1] - grants[0] >= 1.0
    assert threads <= 2 + 3  # one connection a worker, not one a thread


def test_a_killed_manager_is_replaced_and_nobody_notices_but_by_a_wait():
    """The new one has the same address and the level the log implies; what waits is granted, once each."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        client = manager.client()
        lease = acquire(client, 1000)
        manager.kill()
        waiting = threading.Thread(target=lambda: granted.append(acquire(client, 400)))
        granted = []
        waiting.start()
        time.sleep(0.1)
        assert not granted
        manager.start(limits=manager.terms.limits, history=[(time.time(), "m", 59_200, 0)])
        waiting.join(20)
        assert len(granted) == 1
        lease.settle(Usage(1000))
        with pytest.raises(Stopped):
            acquire(client, 50_000, stopping=soon(0.3))


def test_a_stopped_manager_is_killed_so_that_it_can_be_replaced():
    """SIGSTOP: the stopped process dies, and a wait goes on until the next one is found, or the job stops."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        client = manager.client()
        acquire(client).settle(Usage(100))
        manager.kill(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(Stopped):
            acquire(client, stopping=soon(1.5))
        assert time.monotonic() - start < 10
        manager.process.join(10)
        assert manager.process.exitcode == -signal.SIGKILL
        manager.start()
        acquire(client).settle(Usage(100))


def test_what_failed_is_remembered_without_its_frames():
    """They hold what was sent, in a cycle with the client: Python 3.13's collector complains of it on stderr."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        client = manager.client()
        acquire(client).settle(Usage(100))
        manager.kill()
        with pytest.raises(Stopped):
            acquire(client, stopping=soon(0.3))
        assert client._failed is not None
        assert client._failed.__traceback__ is None
        manager.start()


def test_a_manager_that_is_only_busy_is_left_alone():
    """It is not stopped: nobody kills it."""
    with manager_of() as manager:
        acquire(manager.client()).settle(Usage(100))
        assert not kill_if_stopped(manager.address)
        assert not kill_if_stopped(manager.address + "-nobody")
        assert manager.process.is_alive()


def test_a_stopped_manager_does_not_stop_one_who_is_stopping():
    """stopping() is noticed within a moment, whatever the manager does."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        client = manager.client()
        acquire(client).settle(Usage(100))
        manager.kill(signal.SIGSTOP)
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Stopped):
            acquire(client, stopping=stop.is_set)
        manager.kill(signal.SIGCONT)


def _hoard(address, ready):
    client = BudgetClient(address, KEY, 0, 1)
    client.acquire("m", 59_000, 0, estimated=False)
    ready.send(True)
    client.acquire("m", 59_000, 0, estimated=False)


@pytest.mark.parametrize(("made", "again"), [([], True), (0, True), ([1], False), (1, False), (None, False)])
def test_a_killed_workers_successor_gives_its_unmade_calls_back(made, again):
    """By the tickets whose calls the log's intents hold; without that knowledge nothing comes back."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        mine, theirs = fork.Pipe()
        worker = fork.Process(target=_hoard, args=(manager.address, theirs))
        worker.start()
        assert mine.recv()
        worker.kill()
        worker.join()
        successor = manager.client(0, 2, made=made)
        if again:
            acquire(successor, 59_000)
        else:
            with pytest.raises(Stopped):
                acquire(successor, 59_000, stopping=soon(0.3))
            acquire(successor, 300)  # and the dead one's wait is in nobody's way


def test_a_stopped_worker_holds_nobody_up_for_long():
    """SIGSTOP of a worker that is first in the queue: the others go on."""
    with manager_of(limits={"m": RateLimit(tpm=600_000)}) as manager:
        mine, theirs = fork.Pipe()
        worker = fork.Process(target=_wait_in_queue, args=(manager.address, theirs))
        worker.start()
        assert mine.recv()
        os.kill(worker.pid, signal.SIGSTOP)
        acquire(manager.client(1), 100)
        worker.kill()
        worker.join()


def _wait_in_queue(address, ready):
    client = BudgetClient(address, KEY, 0)
    client.acquire("m", 594_000, 0, estimated=False)
    client.acquire("m", 10_000, 0, estimated=False, on_wait=lambda model, wait_ms: ready.send(True))


def test_a_budget_is_kept_over_all_workers():
    """BudgetExhausted with what was spent, in whichever worker it strikes."""
    with manager_of(budget=Budget(max_tokens=1000)) as manager:
        one, other = manager.client(0), manager.client(1)
        acquire(one, 600, bound_tokens=600).settle(Usage(600))
        time.sleep(0.1)
        with pytest.raises(BudgetExhausted) as exhausted:
            acquire(other, 500, bound_tokens=500)
        assert (exhausted.value.spent, exhausted.value.limit) == (600, 1000)
        acquire(other, 400, bound_tokens=400)


def test_what_is_done_during_an_exchange_is_reported_after_it(monkeypatch):
    """Though nothing else comes from that worker: another one waits for what it gives back."""
    with manager_of(budget=Budget(max_tokens=1000)) as manager:
        client, other = manager.client(0), manager.client(1)
        first, second = (client.acquire("m", 100, 0, bound_tokens=400) for _ in range(2))
        exchange = client._exchange

        def late():
            answer = exchange()
            second.settle(Usage(100))
            return answer

        monkeypatch.setattr(client, "_exchange", late)
        first.settle(Usage(100))
        other.acquire("m", 100, 0, bound_tokens=800, stopping=soon()).settle(Usage(100))


def test_what_is_larger_than_the_limit_is_refused_at_once():
    """It does not wait."""
    with manager_of(limits={"m": RateLimit(tpm=600)}) as manager, pytest.raises(ModelRefused, match="601 tokens"):
        acquire(manager.client(), 601)


def test_a_model_without_a_limit_costs_no_exchange_until_a_header_speaks():
    """Granted in the worker itself; the first header that names a limit ends that."""
    with manager_of() as manager:
        client = manager.client()
        exchanges = _count(client)
        for _ in range(200):
            acquire(client).settle(Usage(100))
        assert len(exchanges) < 20
        acquire(client).settle(Usage(100), Observed(limit_tokens=60_000, remaining_tokens=0))
        time.sleep(0.4)
        with pytest.raises(Stopped):
            acquire(client, 30_000, stopping=soon(0.2))


def test_what_waits_is_asked_for_at_most_twice():
    """No stampede: ten threads that wait make about two calls to the manager for each grant, or fewer."""
    with manager_of(limits={"m": RateLimit(tpm=60_000, burst_s=0)}) as manager:
        client = manager.client()
        exchanges = _count(client)

        def run():
            for _ in range(4):
                acquire(client, 20).settle(Usage(20))

        threads = [threading.Thread(target=run) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(exchanges) <= 2 * 40 + 10


def _count(client):
    exchanges, exchange = [], client._exchange

    def counted():
        exchanges.append(1)
        return exchange()

    client._exchange = counted
    return exchanges


def test_a_process_that_map_fn_forked_gets_a_clear_error():
    """It would wait for an answer that its parent's thread gets."""
    with manager_of(limits={"m": RateLimit(tpm=60_000)}) as manager:
        client = manager.client()
        acquire(client).settle(Usage(100))
        mine, theirs = fork.Pipe()

        def run():
            try:
                acquire(client)
            except ConfigError as error:
                theirs.send(str(error))

        child = fork.Process(target=run)
        child.start()
        assert "in map_fn itself" in mine.recv()
        child.join()


def test_a_wrong_key_is_not_let_in():
    """Whoever waits with it is granted nothing."""
    with manager_of() as manager:
        stranger = BudgetClient(manager.address, b"another key", 0, reply_timeout_s=REPLY_TIMEOUT_S)
        with pytest.raises(Stopped):
            acquire(stranger, stopping=soon(0.5))
        assert isinstance(stranger._failed, multiprocessing.AuthenticationError)
        stranger.close()


def test_a_client_that_finds_nobody_waits_for_the_manager_to_come():
    """Workers may be up before the manager is."""
    folder = tempfile.mkdtemp(prefix="mrb")
    early = BudgetClient(str(Path(folder) / "m"), KEY, 0)
    got = []
    thread = threading.Thread(target=lambda: got.append(acquire(early)))
    thread.start()
    time.sleep(0.1)
    manager = Manager(folder)
    thread.join(20)
    assert got
    early.close()
    manager.close()
    shutil.rmtree(folder)


def _supervise(address, report):
    manager = fork.Process(target=serve, args=(address, KEY, BudgetConfig()))
    manager.start()
    report.send(process_name(manager.pid))
    time.sleep(60)


def test_the_manager_dies_with_its_supervisor():
    """SIGKILL of the supervisor: the manager is gone within a second."""
    folder = tempfile.mkdtemp(prefix="mrb")
    mine, theirs = fork.Pipe()
    supervisor = fork.Process(target=_supervise, args=(str(Path(folder) / "m"), theirs))
    supervisor.start()
    name = mine.recv()
    time.sleep(0.2)
    assert is_alive(name)
    supervisor.kill()
    supervisor.join()
    deadline = time.monotonic() + 5
    while is_alive(name):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shutil.rmtree(folder)


def test_the_manager_ignores_ctrl_c():
    """SIGINT is meant for the host."""
    folder = tempfile.mkdtemp(prefix="mrb")
    address = str(Path(folder) / "m")
    process = fork.Process(target=serve, args=(address, KEY, BudgetConfig()))
    process.start()
    client = BudgetClient(address, KEY, 0)
    acquire(client)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.1)
    assert process.is_alive()
    client.close()
    process.terminate()
    process.join()
    shutil.rmtree(folder)
