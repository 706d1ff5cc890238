"""``python -m bench load``: N calls in flight, M in all, and their latencies, as users see them.

The model server on loopback takes the same time for every call unless told otherwise; ``overhead`` is what is left of
the median without it. Latencies are those of calls that succeeded, retries included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

from bench.machine import save
from bench.numbers import latencies
from bench.peers.work import answer_to, prompt
from mrengine import MapReduceRunner
from mrengine.errors import JobFailed
from mrengine.testing import LLMServer

__all__ = ["add_options", "main", "measure"]

WORKERS = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--concurrent", type=_positive, default=32, metavar="N", help="calls in flight")
    parser.add_argument("--requests", type=_positive, default=500, metavar="M")
    parser.add_argument("--latency-s", type=float, default=0.1, help="of the model server")
    parser.add_argument(
        "--fault", action="append", default=[], type=_fault, metavar="KIND=SHARE", help="such as 429=0.1 or 400=0.05"
    )
    parser.add_argument("--url", help="another endpoint, such as http://host:port/v1#model; else a server on loopback")
    parser.add_argument("--no-save", action="store_true")


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _fault(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    return kind, float(share)


def ask(chunk: Any, context: Any) -> float:
    """The map function: its result is the call's milliseconds, retries and waits included."""
    began = time.monotonic()
    context.complete(chunk.text, max_tokens=20)
    return (time.monotonic() - began) * 1000


def measure(model: str, concurrent: int, requests: int) -> dict[str, Any]:
    """One run; latencies in milliseconds. It has as many workers as divide the calls in flight, 2 at most."""
    workers = WORKERS if concurrent % WORKERS == 0 else 1
    settings: dict[str, Any] = {"workers": workers, "slots": concurrent // workers, "target_tokens": None}
    began: list[float] = []
    with tempfile.TemporaryDirectory() as state, MapReduceRunner(models=model, state_dir=state, **settings) as runner:
        runner.on("job:start", lambda event: began.append(time.monotonic()))
        try:
            run = runner.run([prompt(number) for number in range(requests)], ask)
            results = run.results
        except JobFailed as error:
            results = error.results
        wall_s = time.monotonic() - began[0]
    samples = [float(result.result) for result in results]
    counts = latencies(samples, failed=requests - len(samples), wall_s=wall_s)
    return {"concurrent": concurrent, **counts, "wall_s": wall_s, "samples": [round(sample, 2) for sample in samples]}


def main(options: argparse.Namespace) -> int:
    """Measure, print, save."""
    if options.url:
        row = measure(options.url, options.concurrent, options.requests)
    else:
        with LLMServer(latency_s=options.latency_s, answer=answer_to, faults=dict(options.fault)) as server:
            row = measure(f"{server.url}#m", options.concurrent, options.requests)
        row["overhead"] = None if row["median"] is None else row["median"] - options.latency_s * 1000
    for name, value in row.items():
        if name != "samples":
            unit = (
                " ms"
                if name in ("min", "mean", "median", "p95", "p99", "max", "overhead") and value is not None
                else ""
            )
            print(f"{name:15} {round(value, 2) if isinstance(value, float) else value}{unit}")
    if not options.no_save:
        settings = {"latency_s": options.latency_s, "faults": dict(options.fault), "workers": WORKERS}
        print(f"written to {save('load', [row], **settings)}")
    return 0
