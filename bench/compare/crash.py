"""What a crash costs, pool by pool: ``python -m bench.compare.crash``.

Eight tasks on two workers, one of which ends its worker: how many of the seven innocent ones come back, and whether the
program does. Then the parent is SIGKILLed while all tasks run: how many processes are left three seconds later. Last,
workers of a running job of ours are SIGKILLed one by one: how long until the host gets the event, and until the
replacement is ready, beside a bare fork.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.machine import save
from bench.processes import MARK, end_all, living

PACKAGES = {"ProcessPoolExecutor": "concurrent", "multiprocessing.Pool": "multiprocessing"}
TASKS, WORKERS, GUILTY = 8, 2, 3
TASK_S = 0.05  # of the job whose workers are killed one by one
LIMIT_S = 10.0
LEFT_AFTER_S = 3.0


def task(number: int, ending: str) -> int:
    """One task; the guilty one ends its process."""
    time.sleep(60 if ending == "parent" else 0.1)
    if number == GUILTY and ending == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == GUILTY and ending == "exit code 0":
        os._exit(0)
    return number


def finished(futures: Iterable[Any]) -> int:
    """How many futures have a result."""
    done = 0
    for future in futures:
        try:
            future.result()
            done += 1
        except Exception:  # noqa: BLE001  # a broken pool's or the task's own: it is lost
            continue
    return done


def with_executor(ending: str) -> int:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        return finished([pool.submit(task, n, ending) for n in range(TASKS)])


def with_pool(ending: str) -> int:
    import multiprocessing

    with multiprocessing.Pool(WORKERS) as pool:
        return len(pool.starmap(task, [(n, ending) for n in range(TASKS)], 1))


def with_loky(ending: str) -> int:
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=WORKERS)
    return finished([pool.submit(task, n, ending) for n in range(TASKS)])


def with_pebble(ending: str) -> int:
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as pool:
        return finished([pool.schedule(task, args=(n, ending)) for n in range(TASKS)])


def with_joblib(ending: str) -> int:
    from joblib import Parallel, delayed

    try:
        return len(Parallel(n_jobs=WORKERS)(delayed(task)(n, ending) for n in range(TASKS)))
    except Exception:  # noqa: BLE001  # it gives all results or none
        return 0


def with_mpire(ending: str) -> int:
    from mpire import WorkerPool

    try:
        with WorkerPool(WORKERS) as pool:
            return len(pool.map(task, [(n, ending) for n in range(TASKS)], chunk_size=1))
    except Exception:  # noqa: BLE001  # it gives all results or none
        return 0


def with_mrengine(ending: str) -> int:
    from mrengine import MapReduceRunner

    runner = MapReduceRunner(workers=WORKERS, models="fake", drain_s=1.0)
    return len(runner.run([str(n) for n in range(TASKS)], lambda chunk, context: task(chunk.id, ending)).results)


POOLS: dict[str, Callable[[str], int]] = {
    "mrengine": with_mrengine,
    "ProcessPoolExecutor": with_executor,
    "multiprocessing.Pool": with_pool,
    "loky": with_loky,
    "pebble": with_pebble,
    "joblib": with_joblib,
    "mpire": with_mpire,
}


def start(pool: str, ending: str) -> tuple[subprocess.Popen[str], str]:
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "bench.compare.crash", "--pool", pool, "--ending", ending]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen(command, env={**os.environ, MARK: mark}, **options), mark


def innocents(pool: str, ending: str) -> dict[str, Any]:
    """How many of the seven come back."""
    process, mark = start(pool, ending)
    began = time.monotonic()
    try:
        out = process.communicate(timeout=LIMIT_S)[0]
        return {"came_back": json.loads(out)["done"], "seconds": round(time.monotonic() - began, 2)}
    except subprocess.TimeoutExpired:
        return {"came_back": None, "seconds": None}  # it never returns
    finally:
        process.kill()
        end_all(mark)
        process.communicate()


def orphans(pool: str) -> int:
    """How many processes are left of a parent that was SIGKILLed."""
    process, mark = start(pool, "parent")
    until = time.monotonic() + LIMIT_S
    while len(living(mark)) < 1 + WORKERS and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)
    process.kill()
    process.wait()  # not for the end of its output: orphans hold it
    time.sleep(LEFT_AFTER_S)
    left = len(living(mark))
    end_all(mark)
    process.communicate()
    return left


def workers_of(supervisor: int) -> list[int]:
    """Each leads a process group of its own."""
    listed = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [pid for pid in map(int, listed) if os.getpgid(pid) == pid]


class Killer(threading.Thread):
    """SIGKILLs a worker of this process's pool, waits for the replacement, and again."""

    def __init__(self, runner: Any, kills: int) -> None:
        super().__init__(daemon=True)
        self._runner, self._kills = runner, kills
        self.noticed: list[float] = []
        self.ready: list[float] = []
        self._crashed, self._respawned = threading.Event(), threading.Event()
        self._at = [0.0, 0.0]
        runner.on("worker:crashed", lambda event: self._heard(0, self._crashed))
        runner.on("worker:respawned", lambda event: self._heard(1, self._respawned))

    def _heard(self, which: int, event: threading.Event) -> None:
        self._at[which] = time.monotonic()
        event.set()

    def run(self) -> None:
        (supervisor,) = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        while len(workers_of(supervisor)) < WORKERS:
            time.sleep(0.05)
        time.sleep(0.5)
        for n in range(self._kills):
            self._crashed.clear()
            self._respawned.clear()
            victim = workers_of(supervisor)[n % WORKERS]
            struck = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            if not self._respawned.wait(30):
                raise RuntimeError("no worker came back")
            self.noticed.append((self._at[0] - struck) * 1e3)
            self.ready.append((self._at[1] - struck) * 1e3)
            time.sleep(0.05)
        self._runner.stop()


def respawns(kills: int) -> dict[str, Any]:
    """Milliseconds from the SIGKILL to the host's events."""
    from mrengine import MapReduceRunner
    from mrengine.errors import JobCancelled

    bare = [bare_fork() for _ in range(kills)]
    runner = MapReduceRunner(workers=WORKERS, models="fake", max_attempts=kills)
    killer = Killer(runner, kills)
    runner.on("job:start", lambda event: killer.start())
    try:
        runner.run([str(n) for n in range(200_000)], lambda chunk, context: time.sleep(TASK_S))
    except JobCancelled:
        pass
    killer.join()
    measured = {"noticed": killer.noticed, "ready": killer.ready, "bare_fork": bare}
    return {
        "kills": len(killer.noticed),
        "samples": measured,
        **{f"{name}_ms_p{p}": percentile(values, p) for name, values in measured.items() for p in (50, 99)},
    }


def percentile(values: list[float], p: int) -> float:
    return round(sorted(values)[min(len(values) - 1, len(values) * p // 100)], 2)


def bare_fork() -> float:
    """The floor, in ms: fork this idle process, end it at once, wait for it."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return (time.monotonic() - began) * 1e3


def main() -> None:
    """Measure all pools, or be one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pool", choices=POOLS, help=argparse.SUPPRESS)
    parser.add_argument("--ending", default="SIGKILL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pool:
        print(json.dumps({"done": POOLS[options.pool](options.ending)}), flush=True)
        return
    rows: list[dict[str, Any]] = []
    print(f"{'pool':22} {'of 7, SIGKILL':>14} {'of 7, exit 0':>14} {'left of a dead parent':>22}")
    for pool in POOLS:
        if find_spec(PACKAGES.get(pool, pool)) is None:
            rows.append({"pool": pool, "missing": f"{pool} is not installed"})
            continue
        killed, left_quietly, left = innocents(pool, "SIGKILL"), innocents(pool, "exit code 0"), orphans(pool)
        rows.append({"pool": pool, "sigkill": killed, "exit_0": left_quietly, "orphans": left})
        told = ["never returns" if r["came_back"] is None else r["came_back"] for r in (killed, left_quietly)]
        print(f"{pool:22} {told[0]:>14} {told[1]:>14} {left:>22}", flush=True)
    load = round(os.getloadavg()[0], 1)  # of everybody: on a machine that others use, times are the scheduler's
    respawned = respawns(options.kills)
    print(respawned)
    packages = ["loky", "pebble", "joblib", "mpire"]
    path = save(
        "crash", rows, packages=packages, tasks=TASKS, workers=WORKERS, limit_s=LIMIT_S, load=load, respawn=respawned
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
