"""Steps a second that survive a power cut: ``python -m bench.compare.durable``.

A step makes 2 KB, and is on disk before its caller is told. ``ratio`` is to SQLite with one commit for each step, WAL
and ``synchronous=FULL``. Sizes differ, because the slowest would take minutes; each is long enough to be a rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import interleave, rows_of
from bench.machine import save

RESULT = "x" * 2048


def mrengine(steps: int, folder: Path) -> float:
    """The whole product: log, fsync, an event for each result."""
    from mrengine import MapReduceRunner

    at: dict[str, float] = {}
    with MapReduceRunner(workers=2, models="fake", target_tokens=None, state_dir=folder) as runner:
        for name in ("job:start", "job:complete"):
            runner.on(name, lambda event: at.setdefault(event.name, time.perf_counter()))
        told: list[int] = []
        runner.on("chunk:processed", lambda event: told.append(event.chunk_id))
        runner.run((f"step {number}" for number in range(steps)), lambda chunk, context: RESULT, len)
    assert len(told) == steps
    return steps / (at["job:complete"] - at["job:start"])


def _dbos(folder: Path) -> Any:
    from dbos import DBOS

    config: Any = {"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.sqlite", "run_admin_server": False}
    DBOS(config={**config, "log_level": "CRITICAL"})
    return DBOS


def dbos_steps(steps: int, folder: Path) -> float:
    """DBOS on SQLite: one workflow of many steps."""
    dbos = _dbos(folder)

    @dbos.step()
    def step(number: int) -> str:
        return RESULT

    @dbos.workflow()
    def all_steps(count: int) -> int:
        return sum(1 for number in range(count) if step(number))

    dbos.launch()
    began = time.perf_counter()
    assert all_steps(steps) == steps
    rate = steps / (time.perf_counter() - began)
    dbos.destroy()
    return rate


def dbos_workflows(steps: int, folder: Path) -> float:
    """DBOS on SQLite: many workflows of one step, started together, as independent documents would be."""
    dbos = _dbos(folder)

    @dbos.step()
    def step(number: int) -> str:
        return RESULT

    @dbos.workflow()
    def one(number: int) -> str:
        return str(step(number))

    dbos.launch()
    began = time.perf_counter()
    handles = [dbos.start_workflow(one, number) for number in range(steps)]
    assert all(handle.get_result() for handle in handles)
    rate = steps / (time.perf_counter() - began)
    dbos.destroy()
    return rate


def async_batch_llm(steps: int, folder: Path) -> float:
    """async-batch-llm with a JSONL checkpoint that is synced."""
    import async_batch_llm as lib

    async def invoke(prompt: str, *, attempt: int, timeout: float | None, state: Any) -> Any:  # its protocol
        return lib.CallOutcome(RESULT)

    async def run() -> float:
        identity = lib.ArtifactIdentity(provider="bench", model="m")
        store = lib.JsonlArtifactStore(folder / "checkpoint.jsonl", identity=identity, fsync=True)
        config = lib.ProcessorConfig(concurrency=64)
        strategy = lib.CallableStrategy(invoke, identity=identity)
        began, count = time.perf_counter(), 0
        prompts = [(str(number), f"step {number}") for number in range(steps)]
        async for result in lib.process_stream(strategy, prompts, config=config, artifact_store=store):
            count += result.success
        assert count == steps
        return steps / (time.perf_counter() - began)

    return asyncio.run(run())


def sqlite(steps: int, folder: Path) -> float:
    """SQLite, a commit for each step."""
    db = sqlite3.connect(folder / "db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("create table results (id integer primary key, payload text)")
    began = time.perf_counter()
    for number in range(steps):
        db.execute("insert into results values (?, ?)", (number, RESULT))
    rate = steps / (time.perf_counter() - began)
    db.close()
    return rate


def jsonl(steps: int, folder: Path) -> float:
    """A JSONL file with fsync for each line."""
    began = time.perf_counter()
    with (folder / "answers.jsonl").open("a") as file:
        for number in range(steps):
            file.write(json.dumps([number, RESULT]) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return steps / (time.perf_counter() - began)


TOOLS: dict[str, tuple[Callable[[int, Path], float], int]] = {
    "mrengine": (mrengine, 5000),
    "SQLite, a commit a step": (sqlite, 500),
    "JSONL, fsync a line": (jsonl, 500),
    "async-batch-llm, JSONL with fsync": (async_batch_llm, 500),
    "DBOS, steps of one workflow": (dbos_steps, 100),
    "DBOS, workflows of one step": (dbos_workflows, 50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure, steps = TOOLS[options.only]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print(json.dumps(measure(steps, Path(folder))))
        return
    samples, missing = interleave("bench.compare.durable", {name: ["--only", name] for name in TOOLS}, options.turns)
    rows = rows_of(samples, missing, base="SQLite, a commit a step", key="tool", value="steps_per_s")
    for row in rows:
        row["steps"] = TOOLS[row["tool"]][1]
    packages = ("dbos", "async-batch-llm")
    print(f"written to {save('durable', rows, packages=packages, turns=options.turns, result_bytes=len(RESULT))}")


if __name__ == "__main__":
    main()
