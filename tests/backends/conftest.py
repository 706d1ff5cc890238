"""A Ray cluster for the tests of this folder: started once, guarded by a token of its own; nodes come as asked for."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_packages


class RayCluster:
    """One that runs. ``environment``: what attaches a process to it."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self._process, self._nodes = process, 1
        assert process.stdout is not None
        self.address = process.stdout.readline().strip()
        assert self.address, "the cluster did not start"
        self.environment = {**environment, "RAY_ADDRESS": self.address}

    def have(self, nodes: int) -> None:
        """Add nodes until there are so many."""
        while self._nodes < nodes:
            self._tell("add")
            self._nodes += 1

    def kill(self) -> None:
        """Kill the newest node."""
        self._tell("kill")
        self._nodes -= 1

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "done"


@contextlib.contextmanager
def running() -> Iterator[RayCluster]:
    """A cluster of one node on this machine; nothing is left of it."""
    require_packages("ray")
    with tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        theirs = {name: value for name, value in os.environ.items() if name != "MRENGINE_STATE_DIR"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.cluster"],
            env={**theirs, **own, "RAY_TMPDIR": folder},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            yield RayCluster(process, own)
        finally:
            process.stdin and process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout and process.stdout.close()


@pytest.fixture(scope="session", name="ray_cluster")
def _ray_cluster() -> Iterator[RayCluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture(name="attached")
def _attached(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    """This process finds the cluster as a user's would."""
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return ray_cluster


@pytest.fixture(name="nodes")
def _nodes(attached: RayCluster) -> RayCluster:
    """The cluster has two."""
    attached.have(2)
    return attached
