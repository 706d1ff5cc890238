"""The command line as a user meets it: a real process, its two streams, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing.llm_server import LLMServer
from tests.cli.ready import ReadyProcess

ROOT = Path(__file__).parents[2]
TEXT = "".join(f"On day {day} the fever fell. The patient slept well. " for day in range(60))


PATH = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="session")
def ready() -> Iterator[ReadyProcess]:
    """A process that has the command line imported."""
    process = ReadyProcess(PATH)
    yield process
    process.close()


@pytest.fixture
def cli(ready: ReadyProcess, state_dir: Path, tmp_path: Path) -> Any:
    """Run ``mrengine`` in a folder of its own, where visit.txt is; ``start=True``: give the process.

    What is asked of the process beside its arguments, a folder and variables is asked of one that was started for it.
    """
    base = {**os.environ, "PYTHONPATH": PATH, "MRENGINE_STATE_DIR": str(state_dir)}
    (tmp_path / "visit.txt").write_text(TEXT)

    def run(
        *args: str, start: bool = False, env: dict[str, str] | None = None, module: bool = True, **more: Any
    ) -> Any:
        if not start and module and more.keys() <= {"cwd"} and not any(name.startswith("PYTHON") for name in env or {}):
            return ready.run(args, {**base, **(env or {})}, more.get("cwd", tmp_path), 60)
        command = [sys.executable, *(["-m", "mrengine"] if module else []), *args]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings: dict[str, Any] = {"cwd": tmp_path, "env": {**base, **(env or {})}, "text": True, **streams, **more}
        return subprocess.Popen(command, **settings) if start else subprocess.run(command, timeout=60, **settings)

    return run


@pytest.fixture
def answered() -> Callable[[LLMServer, int], None]:
    """Wait until a server has answered so often."""

    def wait(server: LLMServer, times: int) -> None:
        deadline = time.monotonic() + 30
        while server.stats().ok < times:
            assert time.monotonic() < deadline, "the server is not asked"
            time.sleep(0.02)

    return wait
