"""How many tasks a second a pool carries: ``python -m bench.compare.pool``.

No-op tasks with 24 KB of text in and 2 KB of result out, 2 workers. Each contestant runs in a fresh interpreter, in
turn, several times; the median counts. Peers get the text through their pipes, one task or 32 at a time; mrengine's
workers get ids and read the text from the spool. ``no log``: engine and workers alone. ``durable``: all of it, from
``job:start`` to ``job:complete``: log, fsync, host, and an event for each result; what peers do not do, counting the
tokens of the texts, is done before. ``cut meanwhile``: as a map function of a user has it, whose texts are counted and
cut while the workers run; that is nearly all of the time then. ``ratio`` is to ``multiprocessing.Pool`` one by one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from bench.contest import interleave, rows_of
from bench.machine import save
from mrengine import MapReduceRunner
from mrengine.backends.process.pool import ProcessPool
from mrengine.budget.server import BudgetConfig
from mrengine.engine.loop import Engine
from mrengine.engine.protocol import JobFiles, RoundSettings, RoundSetup, WorkerConfig
from mrengine.log.file.call_index import CallIndex
from mrengine.log.view.job_view import ResumeEngine

WORKERS = 2
TEXT = "The patient was seen on the ward, and is well. " * 512
RESULT = "x" * 2048
JOB = "bench-pool"
PACKAGES = ("pebble", "mpire", "loky", "joblib")


def work(text: str) -> str:
    """The peers' task."""
    assert text
    return RESULT


def folder() -> Path:
    """Where the job is that ``durable`` has run."""
    return Path(os.environ["MRENGINE_STATE_DIR"]) / "jobs" / JOB


def documents(tasks: int) -> Iterator[str]:
    return (f"{number} {TEXT}" for number in range(tasks))


def reads(chunk: Any, context: Any) -> str:
    """Our task, which reads the text."""
    assert chunk.text
    return RESULT


def noop(chunk: Any, context: Any) -> str:
    """Our task, which does not read the text."""
    return RESULT


class Whole:
    """A task that sees all chunks before the first one runs, as those do that choose among them: nothing is left to
    cut when the job starts.
    """

    map_version = "1"

    def __init__(self, task: Callable[[Any, Any], str]) -> None:
        self._task = task

    def prepared(self, chunks: Iterable[Any], room_tokens: int) -> Callable[[Any, Any], str]:
        """The task itself: it chooses nothing."""
        return self._task

    def __call__(self, chunk: Any, context: Any) -> str:
        return self._task(chunk, context)


def durable(tasks: int, map_fn: Callable[[Any, Any], str]) -> float:
    """The whole product, from nothing."""
    shutil.rmtree(folder(), ignore_errors=True)
    runner = MapReduceRunner(JOB, workers=WORKERS, models="fake", target_tokens=None)
    at: dict[str, float] = {}
    processed: list[int] = []
    runner.on("chunk:processed", lambda event: processed.append(event.chunk_id))
    for name in ("job:start", "job:complete"):
        runner.on(name, lambda event: at.setdefault(event.name, time.perf_counter()))
    runner.run(documents(tasks), map_fn, len)
    assert len(processed) == tasks
    return tasks / (at["job:complete"] - at["job:start"])


class Nothing:
    """A log and an announcer that discard everything."""

    def append(self, kind: int, payload: bytes) -> int:
        return 0

    def write(self) -> None: ...

    def commit(self) -> int:
        return 0

    def durable(self, offset: int) -> None: ...

    def note(self, name: str, fields: Mapping[str, Any]) -> None: ...

    def line(self, packed: bytes) -> None: ...


def no_log(tasks: int, map_fn: Callable[[Any, Any], str]) -> float:
    """Engine and workers over the documents of the job that ``durable`` has left."""
    with ResumeEngine(folder()) as job:
        assert job.epoch is not None
        table = [list(segment) for segment in job.epoch.segments[0]]
        names = [list(batch) for batch in job.epoch.documents]
    config = WorkerConfig(
        job_id=JOB,
        round=0,
        priority="P1_user",
        all_models=False,
        map_blob=cloudpickle.dumps(map_fn),
        models_blob=cloudpickle.dumps(()),
        initializer_blob=cloudpickle.dumps((None, ())),
        chunk_timeout_s=600.0,
        backoff_s=1.0,
        log_level=30,
    )
    spool = next(folder().glob("spool-*")).name
    files = JobFiles(str(folder()), spool, table, names, run_began=0, check_texts=False)
    pool = ProcessPool(WORKERS, 1)
    nothing = Nothing()
    engine = Engine(
        backend=pool,
        log=nothing,
        announcer=nothing,
        settings=RoundSettings(round=0, models=(None,)),
        pending=range(tasks),
        document_of=str,
    )
    pool.set_up(RoundSetup(config, files, CallIndex(), BudgetConfig, lambda message: None))
    while not all(worker.ready for worker in engine._workers):
        engine.take(pool.poll(0.1))
    left, began = engine._left, time.perf_counter()
    state = engine.run()
    elapsed = time.perf_counter() - began
    pool.close()
    assert state == "done", engine.facts
    return left / elapsed


def _drain(results: Iterable[str], tasks: int) -> None:
    assert sum(1 for _ in results) == tasks


def peer(name: str, tasks: int, batch: int) -> float:
    """A peer's pool, its workers up before the clock starts."""
    texts = list(documents(tasks))
    if name == "multiprocessing":
        import multiprocessing

        with multiprocessing.Pool(WORKERS) as pool:
            return _timed(lambda some: pool.imap_unordered(work, some, chunksize=batch), texts)
    if name == "ProcessPoolExecutor":
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(WORKERS) as executor:
            return _timed(lambda some: executor.map(work, some, chunksize=batch), texts)
    if name == "loky":
        import loky

        executor = loky.get_reusable_executor(WORKERS)
        return _timed(lambda some: executor.map(work, some, chunksize=batch), texts)
    if name == "pebble":
        import pebble

        with pebble.ProcessPool(WORKERS) as pool:
            return _timed(lambda some: pool.map(work, some, chunksize=batch).result(), texts)
    if name == "mpire":
        import mpire

        with mpire.WorkerPool(WORKERS, keep_alive=True) as pool:
            return _timed(lambda some: pool.imap_unordered(work, some, chunk_size=batch), texts)
    import joblib

    with joblib.Parallel(WORKERS, batch_size=batch, return_as="generator_unordered") as parallel:
        return _timed(lambda some: parallel(joblib.delayed(work)(text) for text in some), texts)


def _timed(run: Callable[[list[str]], Iterable[str]], texts: list[str]) -> float:
    _drain(run(texts[:64]), 64)
    began = time.perf_counter()
    _drain(run(texts), len(texts))
    return len(texts) / (time.perf_counter() - began)


OURS: dict[str, Callable[[int], float]] = {
    "mrengine durable": lambda tasks: durable(tasks, Whole(reads)),
    "mrengine durable, text not read": lambda tasks: durable(tasks, Whole(noop)),
    "mrengine no log": lambda tasks: no_log(tasks, reads),
    "mrengine no log, text not read": lambda tasks: no_log(tasks, noop),
    "mrengine durable, cut meanwhile": lambda tasks: durable(tasks, reads),
}
PEERS = ("multiprocessing", "ProcessPoolExecutor", "loky", "pebble", "mpire", "joblib")


def contest(name: str, tasks: int) -> float:
    """Tasks a second of one contestant; peers are named ``peer/batch``."""
    if name in OURS:
        return OURS[name](tasks)
    who, _, batch = name.partition("/")
    return peer(who, tasks, int(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", help="one contestant, once; prints its tasks a second")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(contest(options.only, options.tasks)))
        return
    there = [name for name in PEERS if name not in PACKAGES or importlib.util.find_spec(name)]
    names = [*OURS, *(f"{name}/{batch}" for name in there for batch in (1, 32))]
    contestants = {name: ["--only", name, "--tasks", str(options.tasks)] for name in names}
    with tempfile.TemporaryDirectory() as state:
        os.environ["MRENGINE_STATE_DIR"] = state
        rates, missing = interleave("bench.compare.pool", contestants, options.turns)
    missing |= {name: f"{name} is not installed" for name in PEERS if name not in there}
    rows = rows_of(rates, missing, base="multiprocessing/1", key="pool", value="tasks_per_s")
    print(save("pool", rows, packages=PACKAGES, tasks=options.tasks, turns=options.turns, workers=WORKERS))


if __name__ == "__main__":
    main()
