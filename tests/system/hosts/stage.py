"""What every host program plays: a job whose results tell which process made them, and what must be true afterwards.

A host writes its report to a file, ``{"host": pid, "results": [[answer, worker, supervisor, host], …], …}``: its
stdout and stderr belong to the test, which asserts that the engine leaves them empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrengine.testing.llm_server import LLMServer
from tests.system.processes import alive, cmdline, marked, tree, wait_until_gone

__all__ = ["DRAIN_S", "PRELUDE", "Stage", "documented"]

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"

DRAIN_S = 3.0
TASKS = 8
# What a host program begins with. `play()` is a run whose map function asks the model and names its process,
# its parent and its grandparent.
PRELUDE = f"""
import json, os, sys
from mrengine import MapReduceRunner

DOCS = [f"doc {{n}}" for n in range({TASKS})]

def lineage():
    pids = [os.getpid()]
    for _ in range(2):
        with open(f"/proc/{{pids[-1]}}/stat") as file:
            pids.append(int(file.read().rpartition(")")[2].split()[1]))
    return pids

def ask(chunk, context):
    return [context.complete("Q " + chunk.text, max_tokens=9).text, *lineage()]

def runner(job_id=None, **settings):
    given = dict(workers=2, models=os.environ["HOST_URL"] + "#m", target_tokens=None, drain_s={DRAIN_S})
    return MapReduceRunner(job_id, **{{**given, **settings}})

def facts(run, **more):
    counts = dict(resumed=run.summary.resumed_chunks, failed=run.summary.failed_chunks)
    return dict(host=os.getpid(), results=[r.result for r in run.results], **counts, **more)

def report(run, **more):
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump(facts(run, **more), file)

def play(map_fn=ask, job_id=None, docs=DOCS, **settings):
    return runner(job_id, **settings).run(docs, map_fn)
"""


def documented(name: str) -> str:
    """The example of docs/operations.md whose fence has this name: what stands there is what is run here."""
    [found] = re.findall(rf"^```\w+ {re.escape(name)}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


class Stage:
    """A folder for host programs, a model server that counts, and the assertions that hold for all of them."""

    def __init__(self, folder: Path, server: LLMServer, temp: Path) -> None:
        self.folder, self.server, self.temp = folder, server, temp
        self.state_dir = folder / "state"
        self.report_path = folder / "report.json"
        self.env = {
            **os.environ,
            "MRENGINE_STATE_DIR": str(self.state_dir),
            "TMPDIR": str(temp),
            "HOST_URL": server.url,
            "HOST_REPORT": str(self.report_path),
            "PYTHONWARNINGS": "error",
        }
        # A folder in the path would hide what a host meets in its own; mrengine is installed.
        self.env.pop("PYTHONPATH", None)

    def write(self, name: str, text: str) -> Path:
        """A program in the folder, behind the prelude."""
        path = self.folder / name
        path.write_text(self.text(text))
        return path

    @staticmethod
    def text(text: str) -> str:
        """A program's text, behind the prelude."""
        return PRELUDE + textwrap.dedent(text)

    def start(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a host with its stdout and stderr in pipes."""
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        given |= {"stdin": subprocess.DEVNULL, "env": self.env, "cwd": self.folder}
        return subprocess.Popen(list(map(str, command)), **{**given, **options})

    @contextlib.contextmanager
    def running(self, command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a host that serves; ended by SIGTERM, and its whole tree if it will not."""
        host = self.start(command, **options)
        try:
            yield host
        finally:
            below = tree(host.pid)
            host.terminate()
            try:
                host.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                for pid in below:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                host.communicate()
                raise

    def run(self, *command: str | Path, silent: bool = True, **options: Any) -> dict[str, Any]:
        """Run a host to its end; its report. ``silent``: nothing was printed."""
        stdin = options.pop("input", None)
        host = self.start(command, **({"stdin": subprocess.PIPE} if stdin is not None else {}), **options)
        out, err = host.communicate(stdin, timeout=60)
        assert host.returncode == 0, (out or "") + (err or "")
        if silent:
            assert (out or "", err or "") == ("", "")
        return self.report()

    def script(self, text: str, *arguments: str, **options: Any) -> dict[str, Any]:
        """Run a script to its end; its report."""
        return self.run(sys.executable, self.write("host.py", text), *arguments, **options)

    def report(self) -> dict[str, Any]:
        """What the host has written."""
        told: dict[str, Any] = json.loads(self.report_path.read_text())
        return told

    def check(
        self, told: Mapping[str, Any], *, workers: int = 2, docs: Sequence[str] | None = None, hosts: int = 1
    ) -> None:
        """The results are right, each made by a worker of one supervisor, which is the host's child.

        ``hosts``: how many have made them, one after the other; the last is the one that told.
        """
        docs = [f"doc {n}" for n in range(TASKS)] if docs is None else docs
        assert [result[0] for result in told["results"]] == [f"Q {text}".upper() for text in docs]
        pids = [result[1:4] for result in told["results"]]
        parents = {host for _, _, host in pids}
        # A supervisor whose host was killed is seen as a child of whoever took it over.
        assert parents == {told["host"]} if hosts == 1 else told["host"] in parents
        assert len({supervisor for _, supervisor, _ in pids}) == hosts
        assert len({worker for worker, _, _ in pids}) == hosts * workers
        ours = {pid for line in pids for pid in line[:2]}
        assert [cmdline(pid) for pid in ours if alive(pid) and pid in marked(self.state_dir)] == []

    def check_calls(self, calls: int = TASKS) -> None:
        """Each call was made once."""
        stats = self.server.stats()
        assert (stats.requests, stats.ok, stats.paid_twice) == (calls, calls, 0), stats

    def left(self) -> list[int]:
        """Processes of this stage that live."""
        return marked(self.state_dir)

    def check_nothing_left(self, *, within_s: float = 10.0) -> None:
        """No process, no socket, no temporary folder of the engine's."""
        wait_until_gone(self.left, within_s=within_s)
        assert [path.name for path in self.temp.glob("mre-*")] == []
