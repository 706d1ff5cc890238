"""Host programs: a model server for all of them, and a stage for each that must be empty when it is over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrengine.testing.llm_server import LLMServer
from tests.system.hosts.stage import Stage
from tests.system.processes import is_mapped, wait_for

SHM = Path("/dev/shm")


@pytest.fixture(scope="session")
def model_server() -> Iterator[LLMServer]:
    """One for all host programs: it counts from nought for each."""
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(model_server: LLMServer) -> LLMServer:
    """Answers in capitals after 30 ms."""
    model_server.reset(latency_s=0.03, answer=lambda prompt: prompt.upper())
    return model_server


@contextlib.contextmanager
def set_up(folder: Path, server: LLMServer) -> Iterator[Stage]:
    """A stage; afterwards no process, no socket, no temporary folder and no shared memory is left of what played."""
    shared = set(SHM.iterdir()) if SHM.is_dir() else set()
    temp = Path(tempfile.mkdtemp(prefix="h-"))  # short: the engine leaves a TMPDIR that is too long for sockets
    stage = Stage(folder, server, temp)
    try:
        yield stage
        stage.check_nothing_left()
        if SHM.is_dir():  # other programs of the machine come and go, and hold what is theirs
            wait_for(
                lambda: not [entry for entry in set(SHM.iterdir()) - shared if not is_mapped(entry)],
                what="something is left in /dev/shm",
            )
    finally:
        for pid in stage.left():  # of a test that failed: its calls would be counted in the next one
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture
def stage(tmp_path: Path, server: LLMServer) -> Iterator[Stage]:
    """A stage for one test."""
    with set_up(tmp_path, server) as ready:
        yield ready


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory, model_server: LLMServer) -> Iterator[Stage]:
    """A stage for a module whose host is slow to start; its tests ask for ``server``, too, which counts anew."""
    with set_up(tmp_path_factory.mktemp("stage"), model_server) as ready:
        yield ready
