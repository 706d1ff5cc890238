"""kill -9 of the host, and of the whole tree at once, in the map, in the second round of merges, in a stream, with and
without claims: the same summary comes out, and nothing is bought twice but what was in flight.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from mrengine import Job, Summary, summarize
from mrengine.errors import MrengineError
from mrengine.testing.llm_server import LLMServer

cloudpickle.register_pickle_by_value(sys.modules[__name__])
SLOTS = 5 * 2  # calls that are in flight at most
FILL = "The committee met, and talked at length, and it went home without a word on it. " * 42
CHILD = """
import json, sys, time
from pathlib import Path
import mrengine
url, state, how, stream, text, held = *sys.argv[1:5], Path(sys.argv[5]).read_text(), int(sys.argv[6])
def documents():
    for number, document in enumerate(text.split("\\n\\n")):
        if number == held:
            time.sleep(600)
        yield document
how = json.loads(how)
source = documents() if "strategy" in how else text
settings = dict(models=url, state_dir=state, job_id="k", target_tokens=400, overlap_tokens=0, slots=2, progress=False)
made = mrengine.summarize(source, stream=stream == "1", **how, **settings)
list(made) if stream == "1" else made
"""
PLAIN: dict[str, Any] = {}
CITE: dict[str, Any] = {"cite": True}
SLOWLY: dict[str, Any] = {"strategy": "streaming"}  # of many documents, as they come
CITE_SLOWLY: dict[str, Any] = {"strategy": "streaming", "cite": True}
REFINE: dict[str, Any] = {"method": "refine"}
CITE_REFINE: dict[str, Any] = {"method": "refine", "cite": True}
EXTRACT: dict[str, Any] = {"method": "extract", "cite": True, "max_tokens": 2000}


def long_answers(prompt: str) -> str:
    """So long that two rounds merge them; another one for each prompt."""
    name = blake2b(prompt.encode(), digest_size=6).hexdigest()
    return f"This is {name}. {FILL}"


def short_answers(prompt: str) -> str:
    """Another one for each prompt."""
    return long_answers(prompt)[:400]


def cited_answers(prompt: str) -> str:
    """Claims for a part; for a merge, of which claims it is, and many words."""
    numbers = re.findall(r"^\[(\d+)\]", prompt, re.MULTILINE)
    if numbers:
        marks = ", ".join(dict.fromkeys(numbers))
        return f"{long_answers(prompt)} All of it tells of crates [{marks}]."
    found = re.findall(r"Sentence \d+0 tells of crate \d+", prompt)
    return json.dumps({"claims": [{"text": f"{one} and no other. {FILL[:1800]}", "quote": one} for one in found]})


def answers(method: dict[str, Any]) -> Callable[[str], str]:
    """What the model says."""
    if "cite" in method:
        return cited_answers
    return short_answers if "method" in method else long_answers


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(answer=long_answers, latency_s=0.05, record=1) as server:
        yield server


def in_full(server: LLMServer, state_dir: Path, text: str, method: dict[str, Any]) -> tuple[Summary, int, int]:
    """The summary without a kill, its requests, and its chunks."""
    server.reset(answer=answers(method))
    made = summarize(source(text, method), **method, **how(server, state_dir / "full"))
    return made, server.stats().requests, len(made.run.results)


def source(text: str, method: dict[str, Any]) -> Any:
    """A text; its paragraphs as documents, which come one by one, where the method says so."""
    return iter(text.split("\n\n")) if "strategy" in method else text


def sentences(method: dict[str, Any]) -> str:
    """The text: in paragraphs, where they are documents."""
    made = [f"Sentence {n} tells of crate {n * 7} and of nothing else at all." for n in range(1000)]
    apart = 50 if "strategy" in method else len(made)
    return "\n\n".join(" ".join(made[n : n + apart]) for n in range(0, len(made), apart))


def how(server: LLMServer, state_dir: Path) -> dict[str, Any]:
    options = {"target_tokens": 400, "overlap_tokens": 0, "slots": 2, "progress": False, "job_id": "k"}
    return {"models": f"{server.url}#m", "state_dir": state_dir, **options}


def kill(child: subprocess.Popen[bytes], *, tree: bool) -> list[int]:
    """SIGKILL: of the host alone, or of all that it has started at the same instant. Their pids."""
    processes = [psutil.Process(child.pid)]
    if tree:
        processes += processes[0].children(recursive=True)
        for one in processes:
            one.send_signal(signal.SIGSTOP)  # none of them sees another one die
    for one in reversed(processes):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    child.wait()
    return [one.pid for one in processes]


LONG = pytest.mark.system
SHORT = [("second", CITE, True), ("map", SLOWLY, True)]
CASES = [
    pytest.param(
        *(where, method, tree),
        marks=() if (where, method, tree) in SHORT else LONG,
        id=" ".join([where, *(f"{name}={value}" for name, value in method.items()), *(["tree"] if tree else [])]),
    )
    for where, methods in (
        ("map", (PLAIN, CITE, EXTRACT, SLOWLY, CITE_SLOWLY)),
        ("second", (PLAIN, CITE, SLOWLY, CITE_SLOWLY)),
        ("middle", (REFINE, CITE_REFINE)),
        ("stream", (PLAIN, CITE, REFINE, SLOWLY, CITE_SLOWLY)),
    )
    for method in methods
    for tree in (False, True)
]


@pytest.mark.parametrize(("where", "method", "tree"), CASES)
def test_a_kill_costs_nothing(
    server: LLMServer, state_dir: Path, where: str, method: dict[str, Any], tree: bool
) -> None:
    text = sentences(method)
    whole, requests, chunks = in_full(server, state_dir, text, method)
    assert Job("k", state_dir=state_dir / "full").status().round >= (0 if method is EXTRACT else 2)
    wanted = {"map": chunks // 2, "second": requests - 1, "middle": requests // 2, "stream": requests}[where]
    server.reset(answer=answers(method), latency_s=slow_at(wanted), pace_s=0.05)
    is_read = where == "map" and "strategy" in method  # when it is killed
    child = begun(server, state_dir, text, method, stream=where == "stream", held=15 if is_read else -1)
    until(child, server, state_dir / "killed", method, wanted)
    if is_read:
        assert Job("k", state_dir=state_dir / "killed").status().total_so_far
    kill(child, tree=tree)
    again = summarize(source(text, method), **method, **how(server, state_dir / "killed"))
    assert again.text == whole.text
    assert again.evidence() == whole.evidence()
    stats, in_flight = server.stats(), SLOTS if tree else 0  # a supervisor that lives on waits for its calls
    assert stats.paid_twice <= in_flight
    assert requests <= stats.requests <= requests + in_flight


@pytest.mark.system
@pytest.mark.parametrize("seed", range(12))
def test_kills_at_any_instant_of_a_slow_source(server: LLMServer, state_dir: Path, seed: int) -> None:
    """Three hosts of one job, each killed after another number of calls, while documents come or when all are there."""
    chance, method = random.Random(seed), (SLOWLY, CITE_SLOWLY)[seed % 2]
    text, tree = sentences(method), seed % 4 < 2
    whole, requests, _ = in_full(server, state_dir, text, method)
    server.reset(answer=answers(method), latency_s=0.05, pace_s=0.05)
    for wanted in sorted(chance.sample(range(1, requests), 3)):
        child = begun(
            server, state_dir, text, method, stream=chance.random() < 0.5, held=chance.choice([-1, -1, 12, 18])
        )
        until(child, server, state_dir / "killed", method, wanted, at_most_s=chance.uniform(2, 6))
        kill(child, tree=tree)
    again = summarize(source(text, method), **method, **how(server, state_dir / "killed"))
    assert again.text == whole.text
    assert again.evidence() == whole.evidence()
    stats, in_flight = server.stats(), 3 * SLOTS if tree else 0
    assert stats.paid_twice <= in_flight
    assert requests <= stats.requests <= requests + in_flight


def begun(
    server: LLMServer, state_dir: Path, text: str, method: dict[str, Any], *, stream: bool, held: int
) -> subprocess.Popen[bytes]:
    """A host at work; its source stops before the document ``held``, and never goes on."""
    state_dir.mkdir(exist_ok=True)
    path = state_dir / "text"
    path.write_text(text)
    given = [f"{server.url}#m", state_dir / "killed", json.dumps(method), int(stream), path, held]
    return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, given)])


def until(
    child: subprocess.Popen[bytes],
    server: LLMServer,
    state_dir: Path,
    method: dict[str, Any],
    wanted: int,
    *,
    at_most_s: float = float("inf"),
) -> None:
    """Wait for a host to come so far, or for so long; it may not have ended where no time is said."""
    deadline = time.monotonic() + at_most_s
    while child.poll() is None and how_far(server, state_dir, method) < wanted and time.monotonic() < deadline:
        time.sleep(0.005)
    assert child.poll() is None or at_most_s < float("inf")


def slow_at(call: int) -> Callable[[random.Random], float]:
    """One that is waited for is under way for long enough, and no other one."""
    calls: list[int] = []

    def latency_s(chance: random.Random) -> float:
        calls.append(1)
        return 2.0 if len(calls) == call else 0.05

    return latency_s


def how_far(server: LLMServer, state_dir: Path, method: dict[str, Any]) -> int:
    """Requests so far; parts that are done, of a method that makes none."""
    if method is not EXTRACT:
        return server.stats().requests
    with suppress(MrengineError):  # there is no job yet
        return Job("k", state_dir=state_dir).status().done
    return 0
