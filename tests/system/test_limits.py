"""The real runner at a server that enforces its limits: near the ideal, and no 429, alone and beside others.

The short form runs at ten times the rate, with a short burst; the long ones (``-m system``) are the cases of 60,000
tokens a minute: 90 calls of 1,038 tokens, 16 in flight, ideal (90 × 1,038 − 60,000) / 1,000 + 0.3 = 33.7 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, RateLimit
from mrengine.testing.llm_server import LLMServer, Stats

ROOT = Path(__file__).parents[2]
CALLS, INPUT, OUTPUT = 90, 1018, 20
IDEAL_S = (CALLS * (INPUT + OUTPUT) - 60_000) / 1000 + 0.3
SERVED: dict[str, Any] = {"input_tokens": INPUT, "answer": "word " * OUTPUT, "latency_s": 0.3}
DOCS = [f"Document {number}: " + "the patient was seen on the ward and is well. " * 60 for number in range(CALLS)]
pytestmark = pytest.mark.usefixtures("state_dir")
OTHER = """
import json, sys, time
from mrengine import MapReduceRunner, RateLimit
url, calls, slots, priority = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def timed(chunk, context):
    began = time.monotonic()
    context.complete("Q " + chunk.text, max_tokens=20)
    return time.monotonic() - began

runner = MapReduceRunner(workers=2, slots=slots, models=url + "#m", priority=priority, target_tokens=None,
                         limits={"m": RateLimit(tpm=60_000, shared="team")})
docs = [f"{priority} {time.time_ns()} {i} " + "seen on the ward and well. " * 110 for i in range(calls)]
print(json.dumps([result.result for result in runner.run(docs, timed).results]))
"""


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Summarize: " + chunk.text, max_tokens=OUTPUT).text)


def run(server: LLMServer, limit: RateLimit | None, *, shape: str = "openai", calls: int = CALLS) -> Stats:
    spec = ModelSpec("m", provider=f"http:{shape}", base_url=server.url if shape == "openai" else server.root)
    limits = None if limit is None else {"m": limit}
    runner = MapReduceRunner(workers=4, slots=4, models=spec, limits=limits, target_tokens=None)
    assert runner.run(DOCS[:calls], ask).summary.processed_chunks == calls
    return server.stats()


def other(server: LLMServer, calls: int, slots: int, priority: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER, server.url, str(calls), str(slots), priority]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def waits(process: subprocess.Popen[str]) -> list[float]:
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    found: list[float] = json.loads(out)
    return found


def test_full_speed_and_no_429() -> None:
    """At 600,000 a minute, of which 2.4 s may be used at once."""
    calls = 60
    with LLMServer(tpm=600_000, **SERVED) as server:
        stats = run(server, RateLimit(tpm=600_000, burst_s=3.0), calls=calls)
        assert (stats.rate_limited, stats.ok) == (0, calls)
        ideal_s = (calls * (INPUT + OUTPUT) - 24_000) / 10_000 + 0.3
        assert ideal_s - 0.3 <= stats.span_s <= 1.4 * ideal_s


@pytest.mark.system
@pytest.mark.parametrize("limit", [RateLimit(tpm=60_000), None], ids=["given", "learned"])
def test_tokens_a_minute(limit: RateLimit | None) -> None:
    """Given or learned from the headers: at most 35.5 s, all answered, none refused."""
    with LLMServer(tpm=60_000, **SERVED) as server:
        stats = run(server, limit)
        assert (stats.rate_limited, stats.ok, stats.early) == (0, CALLS, 0)
        assert stats.span_s <= 35.5


@pytest.mark.system
@pytest.mark.parametrize("given", [True, False], ids=["given", "learned"])
def test_input_and_output_limits_apart(given: bool) -> None:
    """Anthropic's shape: the tighter of the two decides."""
    with LLMServer(input_tpm=60_000, output_tpm=20_000, **SERVED) as server:
        stats = run(server, RateLimit(input_tpm=60_000, output_tpm=20_000) if given else None, shape="anthropic")
        assert (stats.rate_limited, stats.ok) == (0, CALLS)
        assert stats.span_s <= 35.5


@pytest.mark.system
def test_four_processes_share_a_limit() -> None:
    """Together as fast as one; none refused."""
    with LLMServer(tpm=60_000, **SERVED) as server:
        for process in [other(server, 22 + (number < 2), 2, "P1_user") for number in range(4)]:
            waits(process)
        stats = server.stats()
        assert (stats.rate_limited, stats.ok) == (0, CALLS)
        assert stats.span_s <= 1.1 * IDEAL_S


@pytest.mark.system
def test_p0_in_a_flood_of_p2() -> None:
    """Whenever it comes, it waits for at most a second more than alone."""
    with LLMServer(tpm=60_000, **SERVED) as server:
        flood = other(server, 110, 8, "P2_batch")
        for _ in range(3):
            time.sleep(8)  # into the burst, its end, and the time after it
            assert max(waits(other(server, 3, 1, "P0_critical"))) <= 0.3 + 1.0
        waits(flood)
        assert server.stats().rate_limited == 0
