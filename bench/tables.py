"""``python -m bench tables``: the tables that this project began with.

``in flight``: 17 chunks of about 6,000 tokens with 1, 5 and 17 calls in flight, with one model and with three, and with
a limit that one model cannot meet. ``documents``: 5k, 10k, 30k and 100k tokens from text to result. ``growth``: how
cost grows with the number of chunks and with the length of a text, as a power law.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.chunking_texts import TEXTS
from bench.contest import fresh
from bench.machine import save
from bench.numbers import fit, spread
from mrengine.testing import LLMServer

__all__ = ["add_options", "main"]

CHUNKS, TOKENS, LATENCY_S = 17, 6000, 0.5
FLIGHTS: dict[int, tuple[int, int]] = {1: (1, 1), 5: (5, 1), 17: (1, 17)}  # in flight: workers, slots
LIMIT_TPM = 200_000
DOCUMENTS = (5_000, 10_000, 30_000, 100_000)
GROWTH = {"chunks": (4000, 16_000, 64_000, 256_000), "characters": (1_000_000, 2_000_000, 4_000_000, 8_000_000)}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "ARGUMENTS"), help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> int:
    """Measure all three tables, or be one measurement."""
    if options.only:
        what, arguments = options.only
        print(json.dumps(_ONE[what](*json.loads(arguments))))
        return 0
    for name, measure in (("in_flight", _flights), ("documents", _documents), ("growth", _growth)):
        rows = measure(options.turns)
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items() if key != "samples"), flush=True)
        settings = {"turns": options.turns, "latency_s": LATENCY_S, "target_tokens": TOKENS, "limit_tpm": LIMIT_TPM}
        print(f"written to {save(name, rows, packages=['tiktoken', 'numpy'], **settings)}")
    return 0


def _once(what: str, *arguments: Any) -> dict[str, float]:
    found: dict[str, float] = fresh("bench", "tables", "--only", what, json.dumps(arguments), timeout_s=600)
    return found


def _text(tokens: int) -> str:
    """Prose of so many tokens, to within a sentence."""
    from mrengine.chunking.tokens import tokenizer

    encoding = tokenizer.load()
    text = TEXTS["prose"](tokens * 6, 1)
    return encoding.decode(encoding.encode_ordinary(text)[:tokens])


def _ask(chunk: Any, context: Any) -> str:
    return str(context.complete(chunk.text, max_tokens=50).text)


def _run(documents: Sequence[str], models: Any, workers: int, slots: int, **settings: Any) -> dict[str, float]:
    """Wall of the job, and of the whole program with start-up; CPU of all its processes."""
    from mrengine import MapReduceRunner

    at: dict[str, float] = {"start": time.monotonic()}
    with tempfile.TemporaryDirectory() as state:
        runner = MapReduceRunner(models=models, workers=workers, slots=slots, state_dir=state, **settings)
        runner.on("job:start", lambda event: at.setdefault("job", time.monotonic()))
        runner.on("job:complete", lambda event: at.setdefault("end", time.monotonic()))
        with runner:
            run = runner.run(list(documents), _ask)
        assert not run.failures, run.failures[0]
    return {"chunks": run.summary.total_chunks, "job_s": at["end"] - at["job"], "wall_s": at["end"] - at["start"]}


def one_flight(in_flight: int, models: int, limited: bool) -> dict[str, float]:
    """17 chunks, each a document of its own, so that all are of the same size."""
    from mrengine import RateLimit

    workers, slots = FLIGHTS[in_flight]
    options: dict[str, Any] = {"tpm": LIMIT_TPM} if limited else {}
    servers = [LLMServer(latency_s=LATENCY_S, input_tokens=TOKENS, **options) for _ in range(models)]
    try:
        names = [f"{server.url}#m{number}" for number, server in enumerate(servers)]
        limits = {"limits": {f"m{n}": RateLimit(tpm=LIMIT_TPM) for n in range(models)}} if limited else {}
        documents = [f"Part {number}. {_text(TOKENS - 10)}" for number in range(CHUNKS * (2 if limited else 1))]
        found = _run(documents, names, workers, slots, target_tokens=None, **limits)
        refused = sum(server.stats().rate_limited for server in servers)
        return {**found, "refused": refused, "most_on_one_model": max(server.stats().ok for server in servers)}
    finally:
        for server in servers:
            server.close()


def _flights(turns: int) -> list[dict[str, Any]]:
    rows = []
    cases = [(in_flight, models, False) for models in (1, 3) for in_flight in FLIGHTS] + [(17, 1, True), (17, 3, True)]
    for in_flight, models, limited in cases:
        samples = [_once("flight", in_flight, models, limited) for _ in range(1 if limited else turns)]
        chunks = int(samples[0]["chunks"])
        ideal = math.ceil(chunks / in_flight) * LATENCY_S
        if limited:
            ideal += max(0.0, chunks * (TOKENS + 50) / models - LIMIT_TPM) * 60 / LIMIT_TPM
        took = spread([sample["job_s"] for sample in samples])
        rows.append(
            {
                "in_flight": in_flight,
                "models": models,
                "limited": limited,
                "chunks": chunks,
                "ideal_s": round(ideal, 2),
                "job_s": took["median"],
                "ratio": round(took["median"] / ideal, 2),
                "refused": sum(sample["refused"] for sample in samples),
                "most_on_one_model": samples[0]["most_on_one_model"],
                "samples": samples,
            }
        )
    return rows


def one_document(tokens: int) -> dict[str, float]:
    """One document of so many tokens, 5 workers, cut to 6,000 tokens."""
    text = _text(tokens)
    with LLMServer(latency_s=LATENCY_S) as server:
        return _run([text], f"{server.url}#m", 5, 1, target_tokens=TOKENS)


def _documents(turns: int) -> list[dict[str, Any]]:
    rows = []
    for tokens in DOCUMENTS:
        samples = [_once("document", tokens) for _ in range(turns)]
        took = spread([sample["wall_s"] for sample in samples])
        chunks = int(samples[0]["chunks"])
        ideal = math.ceil(chunks / 5) * LATENCY_S
        rows.append(
            {"tokens": tokens, "chunks": chunks, "ideal_s": ideal, "wall_s": took["median"], "samples": samples}
        )
    return rows


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def one_growth(what: str, size: int) -> dict[str, float]:
    """CPU seconds over all processes."""
    if what == "characters":
        from mrengine.chunking import safe_chunk

        text = TEXTS["prose"](size, 1)
        # What a process learns of a language's words, it learns once: by the clock it would look like slower growth.
        list(safe_chunk(TEXTS["prose"](250_000, 2), target_tokens=512, overlap_tokens=0))
        began = time.process_time()
        count = sum(1 for _ in safe_chunk(text, target_tokens=512, overlap_tokens=0))
        return {"cpu_s": time.process_time() - began, "chunks": count}
    from bench.compare.pool import noop
    from mrengine import MapReduceRunner

    before = _cpu()
    with tempfile.TemporaryDirectory() as state:
        with MapReduceRunner(models="fake", workers=2, target_tokens=None, state_dir=state) as runner:
            runner.run((f"document {number}" for number in range(size)), noop, len)
        return {"cpu_s": _cpu() - before, "chunks": size}


def _growth(turns: int) -> list[dict[str, Any]]:
    rows = []
    for what, sizes in GROWTH.items():
        samples = [[_once("growth", what, size)["cpu_s"] for _ in range(turns)] for size in sizes]
        least = [min(found) for found in samples]  # of CPU: what others take from the caches only adds
        # A job's start costs the same whatever its size, and would make growth look slower than it is.
        start = 0.0 if what == "characters" else min(_once("growth", what, 1)["cpu_s"] for _ in range(turns))
        above = [max(1e-9, cost - start) for cost in least]
        rows.append(
            {
                "of": what,
                "sizes": list(sizes),
                "cpu_s": [round(cost, 4) for cost in least],
                "start_cpu_s": round(start, 4),
                **fit(sizes, above),
                "samples": samples,
            }
        )
    return rows


_ONE = {"flight": one_flight, "document": one_document, "growth": one_growth}
