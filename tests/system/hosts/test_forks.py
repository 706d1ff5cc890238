"""Hosts that fork while a job runs, or with a warm pool."""

from __future__ import annotations

import os
import signal
import sys

from tests.system.hosts.stage import DRAIN_S, Stage
from tests.system.processes import alive, wait_for, wait_until_gone

MANY = 60


def test_a_fork_that_outlives_the_host(stage: Stage) -> None:
    """It holds the host's end of the connection: the death is noticed all the same, the job drains, and can go on."""
    text = """
    import time
    job = runner("forked")
    def fork(event):
        if event.done == 10 and os.fork() == 0:
            with open("child", "w") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(120)
            os._exit(0)
    job.on("chunk:processed", fork)
    report(job.run([f"doc {n}" for n in range(60)], ask))
    """
    child_file = stage.folder / "child"
    program = stage.write("host.py", text)
    host = stage.start([sys.executable, program], stdout=None, stderr=None)
    wait_for(lambda: child_file.exists() and child_file.read_text().endswith("\n"))
    child = int(child_file.read_text())
    try:
        host.kill()
        host.wait()
        wait_until_gone(lambda: [pid for pid in stage.left() if pid != child], within_s=DRAIN_S + 1)
        assert alive(child)
        told = stage.run(sys.executable, program)
        stage.check(told, docs=[f"doc {n}" for n in range(MANY)], hosts=2)
        assert told["resumed"] >= 10
        stage.check_calls(MANY)
    finally:
        for pid in (child, int(child_file.read_text())):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_fork_of_a_host_with_a_warm_pool(stage: Stage) -> None:
    """The pool belongs to the parent: the child starts its own, and its end leaves the parent's alone."""
    text = """
    with runner() as warm:
        first = facts(warm.run(DOCS, ask))
        pid = os.fork()
        if pid == 0:
            told = facts(warm.run(["child " + text for text in DOCS], ask))
            warm.close()
            with open("child.json", "w") as file:
                json.dump(told, file)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        second = facts(warm.run(["again " + text for text in DOCS], ask))
    with open("child.json") as file:
        child = json.load(file)
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump([first, child, second], file)
    """
    first, child, second = stage.script(text)
    stage.check(first)
    stage.check(child, docs=[f"child doc {n}" for n in range(8)])
    stage.check(second, docs=[f"again doc {n}" for n in range(8)])
    assert {result[2] for result in first["results"]} == {result[2] for result in second["results"]}
    stage.check_calls(24)


def test_a_fork_that_leaves_in_the_middle_of_a_run(stage: Stage) -> None:
    """Its way out goes through run() and the with block: the parent's job hears nothing of it."""
    text = """
    children = []
    def fork(event):
        if event.done == 10:
            children.append(os.fork())
            if children[-1] == 0:
                signal.raise_signal(signal.SIGUSR1)
    def leave(number, frame):
        sys.exit(3)
    import signal
    signal.signal(signal.SIGUSR1, leave)
    with runner() as warm:
        warm.on("chunk:processed", fork)
        first = facts(warm.run([f"doc {n}" for n in range(60)], ask))
        second = facts(warm.run([f"again {n}" for n in range(8)], ask))
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    with open(os.environ["HOST_REPORT"], "w") as file:
        json.dump([first, second, codes], file)
    """
    first, second, codes = stage.script(text)
    stage.check(first, docs=[f"doc {n}" for n in range(MANY)])
    stage.check(second, docs=[f"again {n}" for n in range(8)])
    assert {result[2] for result in first["results"]} == {result[2] for result in second["results"]}
    assert codes == [3]
    stage.check_calls(MANY + 8)
