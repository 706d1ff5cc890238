"""A Flask application, and the server that runs it as its own tests ask."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mrengine import Job
from tests.system.hosts.stage import DRAIN_S, Stage
from tests.system.processes import children, parent, wait_for, wait_until_gone

__all__ = ["Served", "ask_at_once", "ask_until_done", "served"]

APP = """
from flask import Flask, jsonify, request
app = Flask(__name__)

@app.get("/")
def summarise():
    count, job_id = int(request.args["count"]), request.args.get("job")
    return jsonify(facts(play(docs=[f"{request.args['name']} {n}" for n in range(count)], job_id=job_id)))
"""


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

    def processes(self) -> list[int]:
        """The processes that serve."""
        return children(self.master)


@contextlib.contextmanager
def served(stage: Stage, command: Sequence[str | Path], listening: str) -> Iterator[Served]:
    """The application, served until the block ends. ``listening``: how its log tells the port."""
    stage.write("app.py", APP)
    log = stage.folder / "server.log"
    with log.open("w") as file, stage.running(command, stdout=file, stderr=file) as host:
        wait_for(lambda: host.poll() is not None or re.search(listening, log.read_text()))
        found = re.search(listening, log.read_text())
        assert found, log.read_text()
        yield Served(int(found[1]), host.pid)


def ask_at_once(stage: Stage, server: Served) -> None:
    """Two requests at once, then one more: each has a supervisor of its own below its process, and leaves nothing."""
    told: dict[str, dict[str, Any]] = {}
    threads = [threading.Thread(target=lambda name=name: told.update({name: server.ask(name)})) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told["c"] = server.ask("c")
    for name in "abc":
        stage.check(told[name], docs=[f"{name} {n}" for n in range(8)])
        assert parent(told[name]["host"]) == server.master
    assert len({result[2] for name in "abc" for result in told[name]["results"]}) == 3
    stage.check_calls(24)
    assert [children(process) for process in server.processes()] == [[]] * len(server.processes())
    assert list(stage.temp.glob("mre-*")) == []


def ask_until_done(stage: Stage, start: Callable[[int], contextlib.AbstractContextManager[Served]]) -> None:
    """A request that the server gives up after a time, asked again, goes on: no call is made twice.

    ``start(limit_s)``. Calls are slow until it is given up, so that this comes in the middle of the job. On a slow
    machine it may come before the first call: then the limit is longer.
    """
    count, given_up = 60, stage.folder / "given up"
    for limit_s in (1, 2, 4, 8):
        name, told = f"long{limit_s}", None
        given_up.unlink(missing_ok=True)
        stage.server.reset(
            latency_s=lambda chance, given_up=given_up: 0.01 if given_up.exists() else 0.5,
            answer=lambda prompt: prompt.upper(),
        )
        with start(limit_s) as server:
            tries = 0
            while told is None and tries < 4:
                told = _ask_once(server, name, count)
                tries += 1
                given_up.touch()
        wait_until_gone(stage.left, within_s=DRAIN_S + 10)
        stage.check_calls(Job(name, state_dir=stage.state_dir).status().done)
        if told is not None and tries > 1 and told["resumed"]:
            assert [result[0] for result in told["results"]] == [f"Q {name} {n}".upper() for n in range(count)]
            return
    raise AssertionError("no job was given up in the middle")


def _ask_once(server: Served, name: str, count: int) -> dict[str, Any] | None:
    try:
        return server.ask(name, count, name)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return None
