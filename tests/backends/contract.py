"""The contract of a backend, without an engine: run in a fresh interpreter, because a pool of processes forks."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle

from mrengine.backends.registry import find_backend
from mrengine.budget.server import BudgetConfig
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Backend, JobFiles, LocalFunctions, Message, RoundSetup, WorkerConfig
from mrengine.errors import ModelRefused
from mrengine.log.file.call_index import CallIndex
from mrengine.log.format import codec, task_records
from mrengine.log.view.job_view import ResumeEngine

WORKERS, SLOTS = 2, 2
ANSWERS = CallIndex()  # the same in all rounds, as in a job: workers stay


def text(chunk: Any, _context: Any) -> str:
    return str(chunk.text)


def length(chunk: Any, _context: Any) -> int:
    return len(chunk.text)


def until_it_may_end() -> Any:
    """As long as a file is not there. Its name travels with the function: workers have an environment of their own."""
    name = os.environ["MAY_END"]

    def wait(chunk: Any, _context: Any) -> str:
        while not os.path.lexists(name):
            time.sleep(0.01)
        return str(chunk.text)

    return wait


def set_up(folder: Path, map_fn: Any, recorded: list[Message]) -> RoundSetup:
    """The first round of a job that was run before."""
    with ResumeEngine(folder) as job:
        assert job.epoch is not None
        segments = [list(segment) for segment in job.epoch.segments[0]]
        documents = [list(batch) for batch in job.epoch.documents]
    spool = next(folder.glob("spool-*")).name
    pack = cloudpickle.dumps
    return RoundSetup(
        WorkerConfig(folder.name, 0, "P1_user", False, pack(map_fn), pack(()), pack((None, ())), 600.0, 1.0, 30),
        JobFiles(str(folder), spool, segments, documents, run_began=0, check_texts=False),
        ANSWERS,
        BudgetConfig,
        recorded.append,
        LocalFunctions((None, ()), map_fn, lambda error: False),
    )


def refused(chunk: Any, _context: Any) -> str:
    """As a gateway refuses a key now and then: the engine will judge."""
    error = ModelRefused("a wrong key, perhaps", model="m")
    error.scope, error.certain = "model", False
    raise error


class Bench:
    """A backend, and what it has said."""

    def __init__(self, name: str, folder: Path) -> None:
        self.backend: Backend = find_backend(name)(WORKERS, SLOTS)
        self.folder, self.said = folder, list[Message]()

    def begin(self, map_fn: Any) -> None:
        """A round, as far as all workers are ready."""
        self.said = list(self.backend.set_up(set_up(self.folder, map_fn, self.said)))
        self.until(lambda: self.workers_that(m.READY) == set(range(self.backend.workers)))

    def until(self, condition: Any) -> None:
        """Poll until something was said."""
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.said
            self.said += self.backend.poll(0.1)

    def listen(self, seconds: float) -> None:
        """Poll for some time, whatever is said."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.said += self.backend.poll(0.1)

    def workers_that(self, kind: int) -> set[int]:
        return {message[0] for message in self.said if message[1] == kind}

    def of_kind(self, kind: int) -> list[Message]:
        return [message for message in self.said if message[1] == kind]

    def send(self, *chunks: int) -> None:
        """Each to a worker in turn."""
        for chunk in chunks:
            self.backend.send(chunk % self.backend.workers, [m.Start(chunk, 0, 1)])


def tasks_come_to_their_outcomes(bench: Bench) -> None:
    """Each once, from the worker that it was given to, in a second round with another function as well."""
    for map_fn, expected in ((text, "text 3"), (length, 6)):
        bench.begin(map_fn)
        bench.send(*range(6))
        bench.until(lambda: len(bench.of_kind(codec.RESULT)) == 6)
        results = {message[2]: message for message in bench.of_kind(codec.RESULT)}
        assert sorted(results) == list(range(6))
        assert all(message[0] == chunk % bench.backend.workers for chunk, message in results.items())
        assert task_records.unpack_result(results[3][4]).result == expected
        assert bench.backend.poll(0.0) == []


def what_a_drain_finds_waiting_comes_back(bench: Bench) -> None:
    """And what runs may end."""
    bench.begin(until_it_may_end())
    bench.send(*range(12))
    slots = bench.backend.workers * bench.backend.slots
    bench.until(lambda: sum(len(bench.backend.started(worker)) for worker in range(WORKERS)) == slots)
    bench.backend.drain()
    bench.listen(0.5)  # no message says that a worker has heard of it: one that has not would start its next task
    Path(os.environ["MAY_END"]).touch()
    bench.until(lambda: len(bench.of_kind(m.DROPPED)) + len(bench.of_kind(codec.RESULT)) == 12)
    assert len(bench.of_kind(codec.RESULT)) == slots


def an_outcome_is_the_last_word_on_its_task(bench: Bench) -> None:
    """Of any kind: what is said after it would be taken for that of another attempt."""
    bench.begin(refused)
    bench.send(*range(8))
    bench.until(lambda: len(bench.of_kind(m.MODEL_DOUBT)) == 8)
    bench.begin(text)  # what was still to be said has been said by now
    assert [message for message in bench.said if message[2] >= 0] == []


def a_worker_that_is_killed_says_so_and_is_replaced(bench: Bench) -> None:
    """Its death is the last that is heard of it, and tells what ran."""
    bench.begin(until_it_may_end())
    bench.send(1, 3)
    bench.until(lambda: len(bench.backend.started(1)) == 2)
    ready = len(bench.of_kind(m.READY))
    bench.backend.kill(1)
    bench.until(lambda: len(bench.of_kind(m.READY)) == ready + 1)
    kinds = [kind for worker, kind, *_ in bench.said if worker == 1]
    assert kinds[-2:] == [m.DIED, m.READY]
    (death,) = (message[4] for message in bench.of_kind(m.DIED))
    assert sorted(started.chunk for started in death.started) == [1, 3]
    assert death.cause
    Path(os.environ["MAY_END"]).touch()
    bench.said.clear()
    bench.send(5)
    bench.until(lambda: bench.of_kind(codec.RESULT))
    assert [message[2] for message in bench.of_kind(codec.RESULT)] == [5]


if __name__ == "__main__":
    bench = Bench(sys.argv[1], Path(sys.argv[2]))
    try:
        globals()[sys.argv[3]](bench)
    finally:
        bench.backend.close()
        bench.backend.close()
