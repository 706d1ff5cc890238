"""How much longer ``strategy="sequential"`` takes than ``"parallel"``, with 1 s a call, from a cold start.

Both are run for real, each in a fresh interpreter. ``in_calls_s``: from the first request to the last answer, which
is what other work on the machine disturbs least; the rest is starting and ending.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench.machine import save
from mrengine.testing.llm_server import LLMServer

LATENCY_S = 1.0
TOKENS = (10_000, 30_000, 100_000)


def text(tokens: int) -> str:
    sentences = (f"Sentence {n} tells of crate {n * 7} and of nothing else at all." for n in range(tokens // 15))
    return " ".join(sentences)


def one(url: str, tokens: int, strategy: str) -> None:
    """In its own interpreter: from the import to the text."""
    began = time.perf_counter()
    from mrengine import summarize

    with tempfile.TemporaryDirectory() as folder:
        made = summarize(text(tokens), models=f"{url}#m", state_dir=folder, strategy=strategy, progress=False)
    print(json.dumps({"chunks": len(made.run.results), "wall_s": round(time.perf_counter() - began, 2)}))


def measure(tokens: int, strategy: str) -> dict[str, Any]:
    with LLMServer(answer="In short.", latency_s=LATENCY_S) as server:
        command = [sys.executable, "-m", "bench.summaries_speed", "--one", server.url, str(tokens), strategy]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        stats = server.stats()
    facts = {"calls": stats.requests, "in_calls_s": round(stats.span_s, 2)}
    return {"tokens": tokens, "strategy": strategy, **json.loads(done.stdout.splitlines()[-1]), **facts}


def main() -> None:
    """Measure, or be one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args().one
    if told:
        one(told[0], int(told[1]), told[2])
        return
    rows = []
    for tokens in TOKENS:
        load = round(os.getloadavg()[0], 1)
        apart = measure(tokens, "sequential")
        together = [measure(tokens, "parallel") for _ in range(3)]
        best = min(together, key=lambda row: float(row["wall_s"]))
        best |= {"faster": round(apart["wall_s"] / best["wall_s"], 1), "load_average": load}
        best |= {"samples": [dict(row) for row in together]}
        rows += [apart, best]
        print(apart, best, sep="\n", flush=True)
    save("summaries_speed", rows, latency_s=LATENCY_S)


if __name__ == "__main__":
    main()
