"""What a grant costs: ``python -m bench.compare.budget``.

Grants a second of one manager process with 1 to 8 client processes that do nothing else, beside a ``multiprocessing``
Manager whose clients guard a Value with its Lock, in the same run; then the CPU of a call at 200 in flight, whole tree,
with and without a limit, less that of threads that only sleep; then the start of a manager, fork to first grant.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

from bench.machine import save
from mrengine.budget.client import BudgetClient
from mrengine.budget.connection import CallReport, Connection, RequestRow
from mrengine.budget.server import BudgetConfig, serve
from mrengine.records import RateLimit, Usage

KEY = b"bench"
LATENCY_S = 0.1
PROCESSES, THREADS = 2, 100
AMPLE = {"m": RateLimit(tpm=10**12)}
fork = multiprocessing.get_context("fork")


@contextmanager
def manager(limits: dict[str, RateLimit]) -> Iterator[str]:
    """The address of a manager process."""
    folder = tempfile.mkdtemp(prefix="mrb")
    address = str(Path(folder) / "m")
    process = fork.Process(target=serve, args=(address, KEY, BudgetConfig(limits, priority="P1_user")))
    process.start()
    try:
        while not os.path.exists(address):
            time.sleep(0.001)
        yield address
    finally:
        process.terminate()
        process.join()
        shutil.rmtree(folder)


def our_grants(address: str, number: int, until: float, together: int = 1) -> int:
    """Exchanges with a few requests and as many settlements each, over one connection, as fast as possible."""
    wire = Connection(address, KEY)
    wire.call("hello", number, 0, [], None)
    grants, done = 0, list[CallReport]()
    while time.monotonic() < until:
        asks: list[RequestRow] = [(grants + i, "m", 700, 20, 1, 700, True) for i in range(together)]
        granted = wire.call("exchange", number, 0, asks, done)[0]
        done = [(number, "m", 700, 20, (1018, 20, 0), True, None) for number in granted]
        grants += len(granted)
    wire.close()
    return grants


def our_batches(address: str, number: int, until: float) -> int:
    """The same, with 16 waiting tasks in each worker."""
    return our_grants(address, number, until, 16)


def their_grants(address: str, number: int, until: float) -> int:
    """The obvious way: a Manager's Lock around a Manager's Value."""
    peer = _Peer(address, KEY)
    peer.connect()
    lock, level = peer.lock(), peer.level()
    grants = 0
    while time.monotonic() < until:
        with lock:
            level.set(level.get() + 1)
        grants += 1
    return grants


class _Peer(SyncManager):
    """A Manager with one lock and one value that all clients find."""


def serve_peer(address: str) -> None:
    """The target of the peer's manager process."""
    lock, level = threading.Lock(), _Level()
    _Peer.register("lock", callable=lambda: lock, exposed=("acquire", "release", "__enter__", "__exit__"))
    _Peer.register("level", callable=lambda: level)
    _Peer(address, KEY).get_server().serve_forever()


class _Level:
    """A number."""

    value = 0

    def get(self) -> int:
        return self.value

    def set(self, value: int) -> None:
        self.value = value


@contextmanager
def peer() -> Iterator[str]:
    """The address of the peer's manager process."""
    folder = tempfile.mkdtemp(prefix="mrb")
    address = str(Path(folder) / "m")
    process = fork.Process(target=serve_peer, args=(address,))
    process.start()
    from multiprocessing.managers import AcquirerProxy

    _Peer.register("lock", proxytype=AcquirerProxy)
    _Peer.register("level", exposed=("get", "set"))
    try:
        while not os.path.exists(address):
            time.sleep(0.001)
        yield address
    finally:
        process.terminate()
        process.join()
        shutil.rmtree(folder)


def together(work: Callable[..., int], address: str, clients: int, seconds: float) -> float:
    """Grants a second over all clients."""
    until = time.monotonic() + seconds + 0.2
    pipes = [fork.Pipe() for _ in range(clients)]

    def run(number: int) -> None:
        time.sleep(max(0.0, until - seconds - time.monotonic()))
        pipes[number][1].send(work(address, number, until))

    workers = [fork.Process(target=run, args=(number,)) for number in range(clients)]
    for worker in workers:
        worker.start()
    grants = sum(mine.recv() for mine, _ in pipes)
    for worker in workers:
        worker.join()
    return grants / seconds


def call_cpu(limits: dict[str, RateLimit] | None, calls: int) -> dict[str, float]:
    """CPU microseconds of a call, whole tree, and seconds for all of them. ``limits`` None: threads that only sleep."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with manager(limits or {}) as address:
        workers = [
            fork.Process(target=call, args=(None if limits is None else address, number, calls // PROCESSES))
            for number in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_us": cpu / calls * 1e6, "wall_s": wall}


def call(address: str | None, number: int, calls: int) -> None:
    """A worker of 100 threads whose calls take 0.1 s."""
    client = None if address is None else BudgetClient(address, KEY, number)

    def loop() -> None:
        for _ in range(calls // THREADS):
            lease = None if client is None else client.acquire("m", 700, 20)
            time.sleep(LATENCY_S)
            if lease is not None:
                lease.settle(Usage(1018, 20))

    threads = [threading.Thread(target=loop) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if client is not None:
        client.close()


def start_ms() -> float:
    """From the fork of a manager to the first grant."""
    folder = tempfile.mkdtemp(prefix="mrb")
    address = str(Path(folder) / "m")
    started = time.monotonic()
    process = fork.Process(target=serve, args=(address, KEY, BudgetConfig(AMPLE)))
    process.start()
    client = BudgetClient(address, KEY, 0)
    client.acquire("m", 1, 1)
    took = time.monotonic() - started
    client.close()
    process.terminate()
    process.join()
    shutil.rmtree(folder)
    return took * 1000


def main() -> None:
    """Measure and write bench/results/budget.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of grants")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for clients in (1, 2, 8):
        with manager(AMPLE) as address:
            ours = together(our_grants, address, clients, options.seconds)
        with manager(AMPLE) as address:
            batches = together(our_batches, address, clients, options.seconds)
        with peer() as address:
            theirs = together(their_grants, address, clients, options.seconds)
        grants = {"one_by_one": round(ours), "batches_of_16": round(batches), "lock_and_value": round(theirs)}
        rows.append({"clients": clients, "grants_per_s": grants})
    cases: dict[str, dict[str, RateLimit] | None] = {"only sleeping": None, "no limit": {}, "ample limit": AMPLE}
    found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case, limits in cases.items():
            found[case].append(call_cpu(limits, options.calls))
    floor = statistics.median(result["cpu_us"] for result in found["only sleeping"])
    for case, results in found.items():
        cpu, wall = (statistics.median(result[key] for result in results) for key in ("cpu_us", "wall_s"))
        rows.append(
            {"calls": case, "cpu_us_a_call": round(cpu), "above_sleeping": round(cpu - floor), "wall_s": round(wall, 2)}
            | {"samples": results}
        )
    starts = [start_ms() for _ in range(2 * options.rounds + 1)]
    rows.append({"manager_start_ms": round(statistics.median(starts), 1), "samples": starts})
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    in_flight = PROCESSES * THREADS
    path = save("budget", rows, calls=options.calls, in_flight=in_flight, latency_s=LATENCY_S, rounds=options.rounds)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
