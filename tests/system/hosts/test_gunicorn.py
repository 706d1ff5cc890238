"""A Flask application under gunicorn: run() blocks a request, not the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mrengine import Job
from tests.system.hosts.stage import DRAIN_S, Stage
from tests.system.processes import children, parent, wait_for, wait_until_gone

APP = """
from flask import Flask, jsonify, request
app = Flask(__name__)

@app.get("/")
def summarise():
    count, job_id = int(request.args["count"]), request.args.get("job")
    told = facts(play(docs=[f"{request.args['name']} {n}" for n in range(count)], job_id=job_id))
    return jsonify(told)

@app.get("/alive")
def living():
    return "yes"
"""


@pytest.fixture(autouse=True)
def _programs(require_packages: Callable[..., None]) -> None:
    require_packages("flask", "gunicorn")


class Served:
    """A server that listens on a port of its own choice."""

    def __init__(self, port: int, master: int) -> None:
        self.port, self.master = port, master

    def ask(self, name: str, count: int = 8, job: str | None = None) -> dict[str, Any]:
        """The facts of one request's run."""
        path = f"?name={name}&count={count}" + (f"&job={job}" if job else "")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=50) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def processes(self, count: int) -> list[int]:
        """The processes that serve, once there are so many."""
        wait_for(lambda: len(children(self.master)) == count)
        return sorted(children(self.master))


@contextlib.contextmanager
def gunicorn(stage: Stage, *options: str) -> Iterator[Served]:
    """The application, served until the block ends."""
    stage.write("app.py", APP)
    log = stage.folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", "--log-file", log, *options]
    with stage.running(command) as host:
        pattern = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
        wait_for(lambda: host.poll() is not None or (log.exists() and pattern.search(log.read_text())))
        found = pattern.search(log.read_text())
        assert found, log.read_text()
        yield Served(int(found[1]), host.pid)


@pytest.mark.parametrize(
    "options",
    [("-w", "2"), ("-w", "1", "-k", "gthread", "--threads", "3", "--preload")],
    ids=["sync", "gthread, preloaded"],
)
def test_requests_at_once(stage: Stage, options: tuple[str, ...]) -> None:
    """Each request has a supervisor of its own below its server process, and leaves nothing there."""
    told: dict[str, dict[str, Any]] = {}
    with gunicorn(stage, *options) as served:
        threads = [
            threading.Thread(target=lambda name=name: told.update({name: served.ask(name)})) for name in ("a", "b")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told["c"] = served.ask("c")
        for name in "abc":
            stage.check(told[name], docs=[f"{name} {n}" for n in range(8)])
            assert parent(told[name]["host"]) == served.master
        stage.check_calls(24)
        for worker in served.processes(len(children(served.master))):
            assert children(worker) == []
        assert not list(stage.temp.glob("mre-*"))
    supervisors = [told[name]["results"][0][2] for name in "abc"]
    assert len(set(supervisors)) == 3


def test_a_request_that_the_server_gives_up(stage: Stage) -> None:
    """gunicorn kills a process that is silent for longer than --timeout; asked again, the job goes on where it was."""
    count = 80
    with gunicorn(stage, "-w", "1", "--timeout", "1", "--graceful-timeout", "1") as served:
        [first] = served.processes(1)
        with pytest.raises((urllib.error.URLError, OSError, http.client.HTTPException)):
            served.ask("long", count, "kept")
        wait_for(lambda: served.processes(1) != [first])
        [second] = served.processes(1)
        serving = (served.master, second)
        wait_until_gone(lambda: [pid for pid in stage.left() if pid not in serving], within_s=DRAIN_S + 1)
        done = Job("kept", state_dir=stage.state_dir).status()
        assert done.state in ("stopped", "interrupted")  # SIGABRT: a SystemExit in run(); a second later SIGKILL
        assert 0 < done.done < count
        stage.check_calls(done.done)
        told, tries = None, 1
        while told is None and tries < 6:  # each try has a second
            tries += 1
            with contextlib.suppress(urllib.error.URLError, OSError, http.client.HTTPException):
                told = served.ask("long", count, "kept")
        assert told is not None
        stage.check_calls(count)
        assert [result[0] for result in told["results"]] == [f"Q LONG {n}" for n in range(count)]
