"""Where processes help, and where they do not: ``python -m bench.compare.processes``.

The same work in one process or two: calls that wait for a model, and map functions that compute. A few calls, many, and
CPU. Wall time from the call to the results, with the start of whatever is started; ``ratio`` is to a thread pool in the
same turn. Under 1 is faster.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from bench.contest import interleave, rows_of
from bench.machine import save
from bench.peers.work import prompt
from mrengine.testing import LLMServer

LATENCY_S = 0.1
IN_FLIGHT = 16
# Number of tasks, and the kind of work of each.
WORKS = {"8 calls": (8, "call"), "320 calls": (320, "call"), "200 × 20 ms of CPU": (200, "cpu")}


def ask(question: str) -> str:
    """One call by http.client, as thin as a call can be."""
    parts = urlsplit(os.environ["BENCH_URL"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "max_tokens": 20}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    text = str(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"])
    connection.close()
    return text


def compute(question: str) -> int:
    """20 ms of CPU of the thread that runs it, in Python, which holds the interpreter's lock."""
    began, total = time.thread_time(), 0
    while time.thread_time() - began < 0.02:
        total += len(question.split())
    return total


def threads(task: Callable[[str], Any], questions: list[str]) -> int:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return len(list(pool.map(task, questions)))


def executor(task: Callable[[str], Any], questions: list[str]) -> int:
    with ProcessPoolExecutor(2) as pool:
        return len(list(pool.map(task, questions)))


def mrengine(workers: int, slots: int, strategy: str = "parallel") -> Callable[[Callable[[str], Any], list[str]], int]:
    """The engine, which also keeps every result."""

    def run(task: Callable[[str], Any], questions: list[str]) -> int:
        from mrengine import MapReduceRunner

        def each(chunk: Any, context: Any) -> Any:
            return task(chunk.text)

        settings: dict[str, Any] = {"workers": workers, "slots": slots, "strategy": strategy, "target_tokens": None}
        with (
            tempfile.TemporaryDirectory() as state,
            MapReduceRunner(models="fake", state_dir=state, **settings) as runner,
        ):
            return len(runner.run(questions, each).results)

    return run


WAYS: dict[str, Callable[[Callable[[str], Any], list[str]], int]] = {
    f"{IN_FLIGHT} threads": threads,
    "ProcessPoolExecutor, 2 processes": executor,
    f"mrengine, 1 worker × {IN_FLIGHT} slots": mrengine(1, IN_FLIGHT),
    f"mrengine, 2 workers × {IN_FLIGHT // 2} slots": mrengine(2, IN_FLIGHT // 2),
    "mrengine, sequential": mrengine(1, 1, "sequential"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("WORK", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        work, way = options.only
        count, kind = WORKS[work]
        began = time.perf_counter()
        assert WAYS[way](ask if kind == "call" else compute, [prompt(number) for number in range(count)]) == count
        print(json.dumps(time.perf_counter() - began))
        return
    rows = []
    with LLMServer(latency_s=LATENCY_S) as server:
        os.environ["BENCH_URL"] = server.url
        for work, (_, kind) in WORKS.items():
            ways = [
                way for way in WAYS if not (work == "320 calls" and "sequential" in way)
            ]  # half a minute of waiting
            contestants = {way: ["--only", work, way] for way in ways}
            samples, missing = interleave("bench.compare.processes", contestants, options.turns)
            found = rows_of(samples, missing, base=f"{IN_FLIGHT} threads", key="way", value="wall_s")
            rows += [{"work": work, "kind": kind, **row} for row in found]
    print(f"written to {save('processes', rows, turns=options.turns, in_flight=IN_FLIGHT, latency_s=LATENCY_S)}")


if __name__ == "__main__":
    main()
