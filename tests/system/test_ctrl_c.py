"""However often Ctrl-C comes, and whenever: nothing is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.system.processes import marked, wait_for

HOST = """
import signal, sys, time
from mrengine import MapReduceRunner

def sleeps(chunk, context):
    time.sleep(3600)

print("begins", flush=True)
begun = []
while True:
    try:
        if not begun:
            begun.append(1)
            MapReduceRunner("job", workers=2, drain_s=5.0).run(list("abcd"), sleeps)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        break
    except KeyboardInterrupt:
        pass
print("over", flush=True)
sys.stdin.read()  # the folder is looked at while this process lives: its end would take away what is left to it
"""


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.system) for n in range(2, 40))])
def test_ctrl_c_again_and_again_leaves_nothing(tmp_path: Path, state_dir: Path, seed: int) -> None:
    """Five times within a second, microseconds apart: the second one kills, the others wait until what was killed is
    cleared up.
    """
    rng = random.Random(seed)
    state = state_dir / ("d" * 90)  # too long for a socket: there is a folder under TMPDIR
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as temp:
        env = {"TMPDIR": temp, "MRENGINE_STATE_DIR": str(state)}
        host = subprocess.Popen(
            [sys.executable, "-c", HOST], cwd=tmp_path, env={**os.environ, **env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert host.stdout is not None
            assert host.stdin is not None
            host.stdout.readline()
            wait_for(lambda: os.listdir(temp))
            time.sleep(rng.random())  # anywhere between its start and its calls
            for _ in range(5):
                host.send_signal(signal.SIGINT)
                wait_s = rng.choice((0.0, 1e-5, 1e-4, 1e-3, 0.2)) * rng.random()
                until = time.monotonic() + wait_s
                while time.monotonic() < until:  # a sleep has no microseconds
                    pass
            assert host.stdout.readline() == "over\n"
            wait_for(lambda: len(marked(state)) <= 1)  # the host itself
            assert os.listdir(temp) == []
        finally:
            host.kill()
            host.communicate()
            wait_for(lambda: not marked(state))
