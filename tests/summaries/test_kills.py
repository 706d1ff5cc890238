"""kill -9 of the host, and of the whole tree at once, in the map, in the second round of merges, in a stream, with and
without claims: the same summary comes out, and nothing is bought twice but what was in flight.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from mrengine import Job, Summary, summarize
from mrengine.testing.server import LLMServer

cloudpickle.register_pickle_by_value(sys.modules[__name__])
SLOTS = 5 * 2  # calls that are in flight at most
FILL = "The committee met, and talked at length, and it went home without a word on it. " * 14
CHILD = """
import sys
from pathlib import Path
import mrengine
url, state, cite, stream, text = *sys.argv[1:5], Path(sys.argv[5]).read_text()
how = dict(models=url, state_dir=state, job_id="k", cite=cite == "1", target_tokens=400, overlap_tokens=0, slots=2)
made = mrengine.summarize(text, stream=stream == "1", progress=False, **how)
list(made) if stream == "1" else made
"""


def long_answers(prompt: str) -> str:
    """So long that two rounds merge them; another one for each prompt."""
    name = blake2b(prompt.encode(), digest_size=6).hexdigest()
    return f"This is {name}. {FILL}"


def cited_answers(prompt: str) -> str:
    """Claims for a part; for a merge, of which claims it is, and many words."""
    numbers = re.findall(r"^\[(\d+)\]", prompt, re.MULTILINE)
    if numbers:
        marks = ", ".join(dict.fromkeys(numbers))
        return f"{long_answers(prompt)} All of it tells of crates [{marks}]."
    found = re.findall(r"Sentence \d+0 tells of crate \d+", prompt)
    return json.dumps({"claims": [{"text": f"{one} and no other. {FILL[:160]}", "quote": one} for one in found]})


ANSWERS = {False: long_answers, True: cited_answers}


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(answer=long_answers, latency_s=0.05, record=1) as server:
        yield server


def in_full(server: LLMServer, state_dir: Path, text: str, *, cite: bool) -> tuple[Summary, int, int]:
    """The summary without a kill, its requests, and those of them that are of the map round."""
    server.reset(answer=ANSWERS[cite])
    made = summarize(text, cite=cite, **how(server, state_dir / "full"))
    return made, server.stats().requests, len(made.run.results)


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
CASES = [
    pytest.param(where, cite, tree, marks=() if (where, cite, tree) == ("second", True, True) else LONG)
    for where in ("map", "second", "stream")
    for cite in (False, True)
    for tree in (False, True)
]


@pytest.mark.parametrize(("where", "cite", "tree"), CASES)
def test_a_kill_costs_nothing(
    server: LLMServer, state_dir: Path, tmp_path: Path, where: str, cite: bool, tree: bool
) -> None:
    text = " ".join(f"Sentence {n} tells of crate {n * 7} and of nothing else at all." for n in range(2600))
    whole, requests, chunks = in_full(server, state_dir, text, cite=cite)
    assert Job("k", state_dir=state_dir / "full").status().round >= 2
    server.reset(answer=ANSWERS[cite], latency_s=0.05, pace_s=0.05)
    (tmp_path / "text").write_text(text)
    stream = str(int(where == "stream"))
    command = [sys.executable, "-c", CHILD, f"{server.url}#m", str(state_dir / "killed"), str(int(cite)), stream]
    child = subprocess.Popen([*command, str(tmp_path / "text")])
    wanted = {"map": chunks // 2, "second": requests - 1, "stream": requests}[where]
    while server.stats().requests < wanted and child.poll() is None:
        time.sleep(0.005)
    assert child.poll() is None
    kill(child, tree=tree)
    again = summarize(text, cite=cite, **how(server, state_dir / "killed"))
    assert again.text == whole.text
    assert again.evidence() == whole.evidence()
    stats, in_flight = server.stats(), SLOTS if tree else 0  # a supervisor that lives on waits for its calls
    assert stats.paid_twice <= in_flight
    assert requests <= stats.requests <= requests + in_flight
