"""The disk that forgets: what the fault benchmark takes for a power cut is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.faults.disk import Disk, compiler

PROGRAM = """
import os, sys
state = sys.argv[1]
synced = open(state + "/synced", "w")
synced.write("kept")
synced.flush()
os.fsync(synced.fileno())
synced.write(" lost")
synced.flush()
open(state + "/never", "w").write("lost")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    if compiler() is None:
        assert not os.environ.get("CI"), "a C compiler belongs to the machine that tests"
        pytest.skip("no C compiler")
    (tmp_path / "state").mkdir()
    return Disk(tmp_path / "state", tmp_path / "control")


def play(disk: Disk, state: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(state)]
    environment = {**os.environ, **disk.environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_power_cut_leaves_what_was_synced(disk: Disk, tmp_path: Path) -> None:
    assert play(disk, tmp_path / "state").returncode == 0
    assert (tmp_path / "state" / "synced").read_text() == "kept lost"
    disk.cut_power()
    assert (tmp_path / "state" / "synced").read_text() == "kept"
    assert (tmp_path / "state" / "never").read_text() == ""


def test_a_disk_that_lies_keeps_nothing(disk: Disk, tmp_path: Path) -> None:
    disk.lie()
    assert play(disk, tmp_path / "state").returncode == 0
    disk.cut_power()
    assert (tmp_path / "state" / "synced").read_text() == ""


def test_a_full_disk_refuses_writes_there_and_nowhere_else(disk: Disk, tmp_path: Path) -> None:
    disk.fill()
    done = play(disk, tmp_path / "state")
    assert "No space left on device" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    assert play(disk, other).returncode == 0
    disk.mend()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state").mkdir()
    assert play(disk, tmp_path / "state").returncode == 0
