"""What large jobs cost: ``python -m bench.scale``. A simulation, driven by service times measured on this machine.

Measured: the CPU time that the process with the log takes for a task (``process``: the supervisor's part, from
``bench/results/pool.json``; ``ray``: host, engine, log and transport together, which share a thread), the bytes that a
chunk with one call leaves on disk, and memory from ``bench/results/log.json``. Simulated: one server, which takes what
has come, pays for each task, syncs the log once, and gives out new tasks; as many callers as are in flight, whose
latency is lognormal. The rate of a job is what comes out of that. What a sync takes is measured too; what a hosted
model takes is set (``LATENCY_S``), because only the user's own can be measured.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import FOLDER, save
from mrengine import MapReduceRunner

LATENCY_S, SIGMA = 2.0, 0.5  # a call of a hosted model: median, and the spread of its logarithm
SYNCS = 300
TEXT = "The patient was seen on the ward, and is well. " * 90  # 4.2 KB, about 1,000 tokens
ANSWER = "He is well. " * 33  # about 100 tokens
TASKS = 20_000
USD_PER_CHUNK = 1000 * 0.15e-6 + 100 * 0.60e-6
IN_FLIGHT = {10**6: 200, 10**8: 5_000, 10**9: 20_000}


def simulate(
    task_s: float, sync_s: float, in_flight: int, *, tasks: int = 100_000, seed: int = 1
) -> tuple[float, float]:
    """Tasks a second, and the share of time that the server was busy."""
    draw = random.Random(seed)
    mean = math.log(LATENCY_S)
    ends = [draw.lognormvariate(mean, SIGMA) for _ in range(in_flight)]
    heapq.heapify(ends)
    now = busy = 0.0
    done, counted_from, begun = 0, 0.0, tasks // 4
    counted = 0
    while done < tasks:
        now = max(now, ends[0])
        came = 0
        while ends and ends[0] <= now:
            heapq.heappop(ends)
            came += 1
        work = came * task_s + sync_s
        now += work
        done += came
        if done >= begun:
            if not counted_from:
                counted_from = now
            else:
                busy, counted = busy + work, counted + came
        for _ in range(came):
            heapq.heappush(ends, now + draw.lognormvariate(mean, SIGMA))
    span = now - counted_from
    return counted / span, busy / span


def sync_s() -> float:
    """Seconds until the outcomes of a few tasks are on disk: the median of many small commits, where jobs are."""
    with tempfile.NamedTemporaryFile(dir=os.environ["MRENGINE_STATE_DIR"]) as file:
        took = []
        for _ in range(SYNCS):
            begin = time.perf_counter()
            os.write(file.fileno(), b"\1" * 5000)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return statistics.median(took)


def nothing(_chunk: Any, _context: Any) -> None:
    return None


def ask(_chunk: Any, context: Any) -> str:
    return str(context.complete("Summarize: " + TEXT, max_tokens=200).text)


def ray_task_s() -> tuple[float, float]:
    """CPU seconds of the host for a durable no-op task on Ray, and seconds to its first outcome."""
    first: list[tuple[float, float]] = []
    runner = MapReduceRunner(backend="ray", workers=2, slots=2, models="fake", target_tokens=None)
    at: dict[str, float] = {}
    runner.on("job:start", lambda event: at.setdefault("start", time.monotonic()))
    runner.on("chunk:processed", lambda event: first or first.append((time.monotonic(), time.process_time())))
    runner.run((f"text {number}" for number in range(TASKS)), nothing)
    return (time.process_time() - first[0][1]) / TASKS, first[0][0] - at["start"]


def disk_bytes() -> float:
    """What a chunk of 4.2 KB with one call leaves in its job's folder, the text included."""
    from mrengine.testing import fake

    run = MapReduceRunner("disk", workers=2, models=fake(ANSWER), target_tokens=None, keep="always")
    run.run((f"{number} {TEXT}" for number in range(1000)), ask)
    folder = Path(os.environ["MRENGINE_STATE_DIR"]) / "jobs" / "disk"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1000


def memory_mb_per_million() -> float:
    """The engine's queue and index of outcomes, and the index of stored answers, two for each task as it is made."""
    (replay,) = (row for row in _rows("log") if row["what"] == "replay")
    slots = 1 << 16
    while slots * 3 < 2_000_000 * 4:
        slots *= 2
    return float(replay["index_mb"]) + slots * 16 / 1e6


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())["rows"]
    return rows


def main() -> None:
    """Measure, simulate, print, save."""
    os.environ["MRENGINE_STATE_DIR"] = tempfile.mkdtemp(prefix="scale-")
    try:
        (durable,) = (row for row in _rows("pool") if row["pool"] == "mrengine durable, text not read")
        process_s, (ray_s, start_s) = 1 / durable["tasks_per_s"], ray_task_s()
        disk, memory, synced_s = disk_bytes(), memory_mb_per_million(), sync_s()
    finally:
        shutil.rmtree(os.environ["MRENGINE_STATE_DIR"], ignore_errors=True)
    rows: list[dict[str, Any]] = [
        {"what": "measured", "process_us": round(process_s * 1e6, 1), "ray_us": round(ray_s * 1e6, 1),
         "ray_start_s": round(start_s, 1), "bytes_per_chunk": round(disk), "mb_per_million": round(memory)}
    ]  # fmt: skip
    for in_flight in (200, 1_000, 5_000, 20_000, 100_000, 400_000):
        for backend, task_s in (("process", process_s), ("ray", ray_s)):
            rate, busy = simulate(task_s, synced_s, in_flight, tasks=max(100_000, 6 * in_flight))
            rows.append(
                {"in_flight": in_flight, "backend": backend, "tasks_per_s": round(rate), "busy": round(busy, 3)}
            )
    for chunks, in_flight in IN_FLIGHT.items():
        rate, _ = simulate(ray_s, synced_s, in_flight, tasks=max(100_000, 6 * in_flight))
        rows.append(
            {"chunks": chunks, "in_flight": in_flight, "hours": round(chunks / rate / 3600, 1),
             "disk_gb": round(chunks * disk / 1e9, 1), "memory_gb": round(chunks / 1e6 * memory / 1e3, 1),
             "usd": round(chunks * USD_PER_CHUNK)}
        )  # fmt: skip
    for row in rows:
        print(row)
    save(
        "scale",
        rows,
        packages=["ray"],
        tasks=TASKS,
        latency_s=LATENCY_S,
        sync_s=round(synced_s, 7),
        usd_per_chunk=USD_PER_CHUNK,
    )


if __name__ == "__main__":
    main()
