"""Hosts that signals strike while a job runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from mrengine import Job
from tests.system.hosts.stage import Stage, documented
from tests.system.processes import wait_for

MANY = 60
LONG = f"""
docs = [f"doc {{n}}" for n in range({MANY})]
"""


def answered(stage: Stage, count: int = 10) -> None:
    """Wait until so many calls were answered."""
    wait_for(lambda: stage.server.stats().ok >= count, what="no call was answered")


def resume(stage: Stage) -> None:
    """Run the job again: what is missing is asked for, nothing else."""
    told = stage.script(LONG + 'report(play(docs=docs, job_id="struck"))')
    stage.check(told, docs=[f"doc {n}" for n in range(MANY)], hosts=2)
    assert told["resumed"] > 0
    stage.check_calls(MANY)


def test_ctrl_c_drains(stage: Stage) -> None:
    """A terminal strikes the whole group of the host: the pool is in a session of its own. KeyboardInterrupt passes as
    it was raised, no other process speaks, and nothing is paid twice.
    """
    program = stage.write("host.py", LONG + 'play(docs=docs, job_id="struck")')
    host = stage.start([sys.executable, program], start_new_session=True)
    answered(stage)
    os.killpg(host.pid, signal.SIGINT)
    out, err = host.communicate(timeout=30)
    stage.check_nothing_left()
    assert out == ""
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert host.returncode == -signal.SIGINT
    assert Job("struck", state_dir=stage.state_dir).status().state == "stopped"
    resume(stage)


def test_a_second_ctrl_c_kills(stage: Stage) -> None:
    """Calls in flight are given up: the host and its tree are gone long before the drain would be over."""
    stage.server.reset(latency_s=lambda chance: 60.0)
    text = """
    job = runner(drain_s=50)
    job.on("job:draining", lambda event: open("draining", "w").close())
    job.run(DOCS, ask)
    """
    host = stage.start([sys.executable, stage.write("host.py", text)])
    wait_for(lambda: stage.server.stats().requests >= 2)
    host.send_signal(signal.SIGINT)
    wait_for((stage.folder / "draining").exists)
    assert host.poll() is None
    began = time.monotonic()
    host.send_signal(signal.SIGINT)
    _, err = host.communicate(timeout=30)
    stage.check_nothing_left()
    assert time.monotonic() - began < 50 / 4  # of the drain; 0.2 s on an idle machine
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert stage.server.stats().requests == 2


STRUCK = """
import signal, threading
class Enough(Exception):
    '''What a task queue raises out of its signal handler, when its time is over.'''
raised = Enough("time is over")
def strike(number, frame):
    raise raised
signal.signal(signal.SIGUSR1, strike)
handlers = lambda: [str(signal.getsignal(number)) for number in signal.valid_signals()]
before = handlers()
job = runner("struck", drain_s=20)
after = []
def struck(event):
    if event.done == 10:
        CALLBACK
job.on("chunk:processed", struck)
draining = []
job.on("*", lambda event: draining.append(event.name))
try:
    job.run(docs, ask)
except Enough as error:
    told = dict(same=error is raised, handlers=handlers() == before, names=sorted(set(draining)))
    told["done"] = job.status().done
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump(told, file)
"""


@pytest.mark.parametrize(
    "callback",
    [
        "os.kill(os.getpid(), signal.SIGUSR1)",
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()",
    ],
    ids=["during a callback", "in run()"],
)
def test_an_exception_of_a_signal_handler(stage: Stage, callback: str) -> None:
    """It passes as it was raised; nothing new starts, what was in flight is committed and paid for once."""
    told = stage.script(LONG + STRUCK.replace("CALLBACK", callback))
    assert told["same"]
    assert told["handlers"]
    assert "job:draining" in told["names"]
    assert 10 <= told["done"] < MANY
    stage.check_nothing_left()
    stage.check_calls(told["done"])
    if "Timer" not in callback:
        resume(stage)


def test_an_exception_of_a_callback_itself_stops_nothing(stage: Stage) -> None:
    """It is logged, with its place."""
    text = """
    import logging
    job, told = runner(), []
    class Keep(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())
    logging.getLogger("mrengine").addHandler(Keep())
    def bad(event):
        raise ValueError("the text of " + event.document_id)
    job.on("chunk:processed", bad)
    report(job.run(DOCS, ask), told=told)
    """
    told = stage.script(text)
    stage.check(told)
    stage.check_calls()
    assert len(told["told"]) == 1
    assert "host.py" in told["told"][0]
    assert "the text of" not in told["told"][0]


def test_sigterm_as_documented(stage: Stage) -> None:
    """The handler of docs/operations.md: the job drains, and says so."""
    text = """
import signal
from mrengine.errors import JobCancelled
runner = runner("struck")
HANDLER
try:
    runner.run(docs, ask)
except JobCancelled:
    sys.exit(7)
"""
    text = LONG + text.replace("HANDLER", documented("sigterm"))
    host = stage.start([sys.executable, stage.write("host.py", text)])
    answered(stage)
    host.terminate()
    assert host.communicate(timeout=30) == ("", "")
    assert host.returncode == 7
    stage.check_nothing_left()
    stage.check_calls(Job("struck", state_dir=stage.state_dir).status().done)


def strike_at_random(stage: Stage, strikes: int, seed: int) -> None:
    """Interrupt the same job at random instants of its life, then let it end."""
    chance = random.Random(seed)
    stage.env["PYTHONWARNINGS"] = ""  # what is between two instructions is left to the garbage collector
    begun = stage.folder / "begun"
    program = stage.write("host.py", LONG + 'open("begun", "w").close()\nreport(play(docs=docs, job_id="struck"))')
    for _ in range(strikes):
        begun.unlink(missing_ok=True)
        host = stage.start([sys.executable, program])
        wait_for(begun.exists)
        with contextlib.suppress(subprocess.TimeoutExpired):
            host.wait(chance.uniform(0, 1.0))
        host.send_signal(signal.SIGINT)
        out, err = host.communicate(timeout=30)
        assert out == ""
        assert host.returncode in (0, -signal.SIGINT), err
        assert err == "" or err.rstrip().endswith("KeyboardInterrupt"), err
        stage.check_nothing_left()
    told = stage.run(sys.executable, program)
    assert [result[0] for result in told["results"]] == [f"Q DOC {n}" for n in range(MANY)]
    stage.check_calls(MANY)


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(8))
def test_ctrl_c_at_any_instant(stage: Stage, seed: int) -> None:
    """While documents are read, the supervisor comes up, calls are made, the job is closed."""
    strike_at_random(stage, 12, seed)
