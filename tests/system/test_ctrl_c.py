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
import sys, time
from mrengine import MapReduceRunner

def sleeps(chunk, context):
    time.sleep(3600)

print("begins", flush=True)
try:
    MapReduceRunner("job", workers=2, drain_s=5.0).run(list("abcd"), sleeps)
except KeyboardInterrupt:
    pass
finally:
    print("over", flush=True)
    while True:  # the folder is looked at while this process lives: its end would take away what is left to it
        try:
            sys.stdin.read()
            break
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.parametrize("seed", [1, 2, 3, *(pytest.param(n, marks=pytest.mark.system) for n in range(4, 40))])
def test_ctrl_c_again_and_again_leaves_nothing(tmp_path: Path, state_dir: Path, seed: int) -> None:
    """Five times within a second: the second one kills, the others wait until what was killed is cleared up."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as temp:
        host = subprocess.Popen(
            [sys.executable, "-c", HOST], cwd=tmp_path, env={**os.environ, "TMPDIR": temp},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert host.stdout is not None
            assert host.stdin is not None
            host.stdout.readline()
            wait_for(lambda: os.listdir(temp))
            time.sleep(dice.random())  # anywhere between its start and its calls
            for _ in range(5):
                host.send_signal(signal.SIGINT)
                time.sleep(0.005 + dice.random() ** 3 / 5)
            assert host.stdout.readline() == "over\n"
            wait_for(lambda: len(marked(state_dir)) <= 1)  # the host itself
            assert os.listdir(temp) == []
        finally:
            host.kill()
            host.communicate()
            wait_for(lambda: not marked(state_dir))
