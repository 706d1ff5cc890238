"""kill -9 in the map, in the second round of merges, in a stream: the same summary comes out, and nothing is bought
twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mrengine import Job, summarize
from mrengine.testing.server import LLMServer

cloudpickle.register_pickle_by_value(sys.modules[__name__])
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


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(answer=long_answers, latency_s=0.05, record=1) as server:
        yield server


def in_full(server: LLMServer, state_dir: Path, text: str) -> tuple[str, int, int]:
    """The summary without a kill, its requests, and those of them that are of the map round."""
    server.reset(answer=long_answers)
    made = summarize(text, **how(server, state_dir / "full"))
    return made.text, server.stats().requests, len(made.run.results)


def how(server: LLMServer, state_dir: Path) -> dict[str, Any]:
    options = {"target_tokens": 400, "overlap_tokens": 0, "slots": 2, "progress": False, "job_id": "k"}
    return {"models": f"{server.url}#m", "state_dir": state_dir, **options}


@pytest.mark.parametrize(
    "where", [pytest.param("map", marks=pytest.mark.system), "second", pytest.param("stream", marks=pytest.mark.system)]
)
def test_a_kill_costs_nothing(server: LLMServer, state_dir: Path, tmp_path: Path, where: str) -> None:
    text = " ".join(f"Sentence {n} tells of crate {n * 7} and of nothing else at all." for n in range(2600))
    whole, requests, chunks = in_full(server, state_dir, text)
    assert Job("k", state_dir=state_dir / "full").status().round >= 2
    server.reset(answer=long_answers, latency_s=0.05, pace_s=0.05)
    (tmp_path / "text").write_text(text)
    stream = str(int(where == "stream"))
    command = [sys.executable, "-c", CHILD, f"{server.url}#m", str(state_dir / "killed"), "0", stream]
    child = subprocess.Popen([*command, str(tmp_path / "text")])
    wanted = {"map": chunks // 2, "second": requests - 1, "stream": requests}[where]
    while server.stats().requests < wanted and child.poll() is None:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    again = summarize(text, **how(server, state_dir / "killed"))
    assert again.text == whole
    stats = server.stats()
    assert (stats.paid_twice, stats.requests) == (0, requests)
