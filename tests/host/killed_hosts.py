"""Hosts that are killed at random instants of their run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path


def kill_hosts(script: Path, *arguments: Path, times: int, instants: random.Random) -> None:
    """Start a script and kill it, several times, each within two seconds of the line that it prints before its run."""
    # Not of its start: on a busy machine an interpreter and its imports may take longer than that.
    for _ in range(times):
        with subprocess.Popen(
            [sys.executable, script, *arguments], env={**os.environ, "PYTHONPATH": os.getcwd()}, stdout=subprocess.PIPE
        ) as host:
            assert host.stdout is not None
            assert host.stdout.readline() == b"begins\n"
            time.sleep(instants.uniform(0.0, 2.0))
            host.kill()
