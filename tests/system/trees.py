"""A host program with its whole tree below it, to be killed; its model server counts the calls."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from mrengine.testing.llm_server import LLMServer
from tests.system.processes import children, marked, wait_until_gone

__all__ = ["DRAIN_S", "HOST", "SLOTS", "TASKS", "Tree"]

ROOT = Path(__file__).parents[2]
TASKS, SLOTS = 100, 6
DRAIN_S = 3.0
HOST = """
import sys
sys.path.insert(0, sys.argv[4])
from mrengine import MapReduceRunner
url, acks, job = sys.argv[1:4]
runner = MapReduceRunner(job, workers=3, slots=2, models=url + "#m", target_tokens=None, drain_s=3.0)
seen = open(acks, "a", buffering=1)
runner.on("chunk:processed", lambda event: seen.write(f"{event.chunk_id}\\n"))
docs = [f"Doc {i}" for i in range(100)]
run = runner.run(docs, lambda chunk, context: context.complete("Q " + chunk.text, max_tokens=9).text)
ids = [result.chunk_id for result in run.results]
assert ids == list(range(100)), ids
print("DONE", run.summary.resumed_chunks, flush=True)
"""


class Tree:
    """A host in a process of its own, and the processes below it, found in /proc."""

    def __init__(self, server: LLMServer, state_dir: Path, host: str = HOST) -> None:
        self._program = host
        self.acks = state_dir / "acks"
        self.acks.parent.mkdir(parents=True, exist_ok=True)
        self._server, self._state_dir = server, state_dir
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", self._program, self._server.url, str(self.acks), "killed", str(ROOT)]
        self.host = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, answers: int) -> None:
        until = time.monotonic() + 40
        while self._server.stats().ok < answers and self.host.poll() is None and time.monotonic() < until:
            time.sleep(0.01)

    def supervisor(self) -> int:
        return children(self.host.pid)[0]

    def finish(self) -> str:
        out, err = self.host.communicate(timeout=60)
        assert self.host.returncode == 0, err[-3000:]
        return out

    def announced(self) -> list[int]:
        return [int(line) for line in self.acks.read_text().split()] if self.acks.exists() else []

    def left(self) -> list[int]:
        """Processes that were started for this state folder and live."""
        return marked(self._state_dir)

    def wait_until_gone(self, within_s: float) -> float:
        """How long it took; a loaded machine may take longer than is promised."""
        return wait_until_gone(self.left, within_s=within_s + 10)
