"""Tasks of a Celery prefork worker, over a real Redis broker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job
from mrengine.log.file.lock import JobLock
from mrengine.testing.llm_server import Stats
from tests.system.hosts.stage import Stage, documented
from tests.system.processes import alive, children, parent, wait_for

LATENCY_S = 0.1
APP = """
import json, os, time
from work import *
from billiard import current_process
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
app = Celery("app", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

def texts(name, count):
    return [f"{name} {n}" for n in range(count)]

@app.task
def plain(name):
    return facts(play(docs=texts(name, 8)), daemon=current_process().daemon)

from mrengine.errors import JobBusy
map_fn = ask
DOCUMENTED

@app.task(bind=True, max_retries=3)
def in_callback(self, name, count, slow=True):
    events = []
    job = runner(name, drain_s=2)
    def note(event):
        events.append(event.name)
        if slow and event.name == "chunk:processed" and event.done == 6:
            time.sleep(20)
    job.on("*", note)
    try:
        return facts(job.run(texts(name, count), ask), tries=self.request.retries)
    except SoftTimeLimitExceeded as error:
        status, kind = job.status(), type(error).__name__
        with open(name, "w") as file:
            json.dump(dict(events=sorted(set(events)), done=status.done, state=status.state, kind=kind), file)
        raise self.retry(args=(name, count, False), countdown=0, exc=error, soft_time_limit=None)
"""


@pytest.fixture(scope="module")
def broker(require: Callable[[str], str]) -> Iterator[str]:
    """A Redis of our own, on a socket in a short folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    socket = folder / "socket"
    command = [require("redis-server"), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(socket.exists, what="redis did not start")
            yield f"redis+socket://{socket}"
        finally:
            server.terminate()
            server.wait(10)
            shutil.rmtree(folder, ignore_errors=True)


CLIENT = """
from app import *
from celery.exceptions import TimeLimitExceeded
began = time.monotonic()
at_once = [task.get(timeout=60) for task in [plain.delay(name) for name in "ab"]]
# A limit that strikes in the middle of a job, on a slow machine, too.
limit_s = 2 * (time.monotonic() - began)
count = int(2 * limit_s / 0.1)
struck = in_callback.apply_async(("callback", count), soft_time_limit=limit_s)
soft = summarise.apply_async(("soft", texts("soft", count)), soft_time_limit=limit_s)
hard = []
for limit in (limit_s, None):
    try:
        hard.append(summarise_hard.apply_async(("hard", texts("hard", count)), time_limit=limit).get(timeout=60))
    except TimeLimitExceeded as error:
        hard.append(type(error).__name__)
told = dict(plain=at_once, soft=soft.get(timeout=60), callback=struck.get(timeout=60), hard=hard, count=count)
with open(os.environ["HOST_REPORT"], "w") as file:
    json.dump(told, file)
"""


@dataclass(frozen=True)
class Played:
    """All tasks, at once: what they told, the worker's pid, the model server's counts."""

    stage: Stage
    worker: int
    told: dict[str, Any]
    stats: Stats


@pytest.fixture(scope="module")
def played(shared_stage: Stage, broker: str, require_packages: Callable[..., None]) -> Iterator[Played]:
    """One worker, and a client whose tasks run at once: what is slow here is the waiting for limits."""
    require_packages("celery", "redis")
    stage = shared_stage
    stage.server.reset(latency_s=LATENCY_S, answer=lambda prompt: prompt.upper())
    stage.write("work.py", "")  # apart from the application: a worker imports the module of its function
    example = documented("celery").replace("countdown=5", "countdown=0")
    # Where there is a soft limit, the hard one counts only after it.
    hard = example.replace("soft_time_limit=3300, ", "").replace("def summarise", "def summarise_hard")
    (stage.folder / "app.py").write_text(APP.replace("DOCUMENTED", example + hard))
    stage.env |= {"MRENGINE_MODELS": f"{stage.server.url}#m", "MRENGINE_WORKERS": "2"}
    stage.env |= {"BROKER": broker, "PYTHONWARNINGS": "default"}  # Celery has warnings of its own
    log = stage.folder / "celery.log"
    options = ["-c", "3", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("w") as file:
        worker = stage.start(
            [sys.executable, "-m", "celery", "-A", "app", "worker", *options], stdout=file, stderr=file
        )
        try:
            wait_for(lambda: " ready." in log.read_text() or worker.poll() is not None)
            assert worker.poll() is None, log.read_text()
            client = stage.start([sys.executable, "-c", CLIENT])
            _, err = client.communicate(timeout=100)
            assert client.returncode == 0, err + log.read_text()
            yield Played(stage, worker.pid, stage.report(), stage.server.stats())
        finally:
            for pid in (worker.pid, *children(worker.pid)):  # it would take two seconds to leave by itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            worker.wait()


def test_tasks_at_once(played: Played) -> None:
    """Their processes are daemonic, and have supervisors below them all the same; nothing stays there."""
    for told, name in zip(played.told["plain"], "ab", strict=True):
        played.stage.check(told, docs=[f"{name} {n}" for n in range(8)])
        assert told["daemon"]
        assert parent(told["host"]) == played.worker
        assert children(told["host"]) == []


def check_resumed(played: Played, results: list[list[Any]], name: str) -> None:
    """All results, of more than one supervisor."""
    assert [result[0] for result in results] == [f"Q {name} {n}".upper() for n in range(played.told["count"])]
    assert len({supervisor for _, _, supervisor, _ in results}) > 1
    assert not any(alive(pid) for result in results for pid in result[1:3])
    assert Job(name, state_dir=played.stage.state_dir).status().state == "done"


def test_the_hard_time_limit(played: Played) -> None:
    """The process is killed; the task, sent again at once, waits for the drain and goes on where it was."""
    first, second = played.told["hard"]
    assert first == "TimeLimitExceeded"
    check_resumed(played, second, "hard")


def test_the_soft_time_limit(played: Played) -> None:
    """As docs/operations.md has it: SoftTimeLimitExceeded out of run(), and the retry goes on."""
    check_resumed(played, played.told["soft"], "soft")


def test_the_soft_time_limit_during_a_callback(played: Played) -> None:
    """SoftTimeLimitExceeded passes as it was raised, after the drain."""
    told = played.told["callback"]
    struck = json.loads((played.stage.folder / "callback").read_text())
    assert struck["kind"] == "SoftTimeLimitExceeded"
    assert "job:draining" in struck["events"]
    assert struck["state"] == "stopped"
    assert told["tries"] == 1
    assert told["resumed"] == struck["done"] > 0
    check_resumed(played, told["results"], "callback")


def test_nothing_is_paid_twice(played: Played) -> None:
    """Over all tasks, limits and retries."""
    calls = 2 * 8 + 3 * played.told["count"]
    assert (played.stats.requests, played.stats.ok, played.stats.paid_twice) == (calls, calls, 0)


def test_a_lost_process(played: Played) -> None:
    """acks_late and reject_on_worker_lost: the task comes again by itself, waits for the drain, and goes on."""
    stage = played.stage
    before = stage.server.stats().requests
    text = "from app import *\nresults = summarise.delay('lost', texts('lost', 30)).get(timeout=60)\n"
    text += "with open('lost.json', 'w') as file: json.dump(results, file)"
    client = stage.start([sys.executable, "-c", text])
    wait_for(lambda: stage.server.stats().requests > before + 4)
    owner = JobLock(stage.state_dir / "jobs" / "lost").holder()
    assert owner is not None
    lost = parent(owner.pid)
    assert parent(lost) == played.worker
    os.kill(lost, signal.SIGKILL)
    assert client.communicate(timeout=60) == ("", "")
    results = json.loads((stage.folder / "lost.json").read_text())
    assert [result[0] for result in results] == [f"Q LOST {n}" for n in range(30)]
    assert len({supervisor for _, _, supervisor, _ in results}) == 2
    stats = stage.server.stats()
    assert (stats.requests - before, stats.paid_twice) == (30, 0)
