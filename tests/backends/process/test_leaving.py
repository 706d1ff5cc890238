"""A worker ends in order: what user code has registered to be run at exit is run, in bounded time."""

from __future__ import annotations

import atexit
import gzip
import multiprocessing
import os
import tempfile
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner

pytestmark = pytest.mark.usefixtures("state_dir")

KEPT: dict[str, Any] = {}


class Thing:
    """What a finalizer is for."""


def _leaves(chunk: Any, context: Any) -> list[Any]:
    """Once a worker: a folder, shared memory, files, threads, a child, and handlers that write theirs."""
    folder = Path(chunk.text)
    if not KEPT:
        KEPT["folder"] = tempfile.TemporaryDirectory()
        KEPT["file"] = gzip.open(folder / "buffered.gz", "wt")  # noqa: SIM115
        KEPT["file"].write("all of it")
        KEPT["named"] = tempfile.NamedTemporaryFile(dir=folder, prefix="named")  # noqa: SIM115
        KEPT["threads"] = ThreadPoolExecutor(1)
        KEPT["threads"].submit(lambda: (time.sleep(0.2), (folder / "submitted").touch()))
        KEPT["memory"] = shared_memory.SharedMemory(create=True, size=100)
        KEPT["thing"] = Thing()
        weakref.finalize(KEPT["thing"], (folder / "finalized").touch)
        atexit.register((folder / "atexit").touch)
        KEPT["child"] = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,), daemon=True)
        KEPT["child"].start()
    return [KEPT["folder"].name, f"/dev/shm/{KEPT['memory'].name}", KEPT["child"].pid]


def _hangs(chunk: Any, context: Any) -> int:
    atexit.register(time.sleep, 100)
    return os.getpid()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_map_function_registers_is_run_at_the_end(tmp_path: Path) -> None:
    """Nothing of it is left when run() returns, as where an interpreter ends."""
    folder, memory, child = MapReduceRunner(workers=1).run(str(tmp_path), _leaves).results[0].result
    assert not os.path.exists(folder)
    assert not os.path.exists(memory)
    assert not _lives(child)
    assert (tmp_path / "finalized").exists()
    assert (tmp_path / "atexit").exists()
    assert (tmp_path / "submitted").exists()
    assert gzip.decompress((tmp_path / "buffered.gz").read_bytes()) == b"all of it"
    assert not list(tmp_path.glob("named*"))


def test_a_warm_pool_keeps_it_until_it_is_closed(tmp_path: Path) -> None:
    """What a worker holds is for all runs of the pool."""
    with MapReduceRunner(workers=1) as runner:
        folder, memory, child = runner.run(str(tmp_path), _leaves).results[0].result
        assert os.path.exists(folder)
        assert os.path.exists(memory)
        assert _lives(child)
    assert not os.path.exists(folder)
    assert not os.path.exists(memory)


def test_a_handler_that_never_ends_is_not_waited_for() -> None:
    """Its worker is killed, and run() returns."""
    pid = MapReduceRunner(workers=1).run("text", _hangs).results[0].result
    assert not _lives(pid)
