"""A system without pidfds (macOS, Linux before 5.3, a filter of system calls): whoever dies is noticed all the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner
from mrengine.backends.process import supervisor_handle
from mrengine.testing import fake
from tests.system.forked import Host, Say
from tests.system.processes import alive, tree, wait_for, wait_until_gone

pytestmark = pytest.mark.usefixtures("state_dir")


@pytest.fixture(autouse=True)
def _no_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the supervisor and in what is forked from it."""
    boot = supervisor_handle._BOOT.replace("main(fd, facts)", "import os\ndel os.pidfd_open\nmain(fd, facts)")
    assert boot != supervisor_handle._BOOT
    monkeypatch.setattr(supervisor_handle, "_BOOT", boot)


def test_a_worker_that_dies_costs_its_own_chunk(tmp_path: Path) -> None:
    """The death is seen, though a child of the worker holds all that it had open; both are gone."""

    def forks(chunk: Any, context: Any) -> str:
        if chunk.id == 1:
            if (pid := os.fork()) == 0:
                time.sleep(3600)
            (tmp_path / "pid").write_text(str(pid))
            os._exit(0)
        return str(context.complete("x").text)

    run = MapReduceRunner(workers=2, models=fake("ok"), max_attempts=1).run(list("abcd"), forks)
    assert [result.result for result in run.results] == ["ok"] * 3
    assert [(failure.chunk_id, failure.kind) for failure in run.failures] == [(1, "crash")]
    assert not alive(int((tmp_path / "pid").read_text()))


def test_the_death_of_the_host_ends_its_supervisor(tmp_path: Path) -> None:
    """A fork of the host holds its end of the connection; drain_s later nothing is left."""

    def host(say: Say) -> None:
        def hangs(chunk: Any, context: Any) -> None:
            (tmp_path / "began").touch()
            time.sleep(3600)

        runner = MapReduceRunner(workers=1, models="fake", drain_s=0.5)
        runner.initialize()
        if (pid := os.fork()) == 0:
            time.sleep(3600)
        say(pid)
        runner.run("a", hangs)

    running = Host(host)
    (fork,) = running.hear() or [0]
    try:
        wait_for((tmp_path / "began").exists)
        below = [pid for pid in tree(running.pid)[1:] if pid != fork]
        assert len(below) >= 3
        running.kill()
        os.waitpid(running.pid, 0)
        wait_until_gone(lambda: [pid for pid in below if alive(pid)], within_s=12)
    finally:
        os.kill(fork, signal.SIGKILL)
    running.close()
