"""A run inside of a map function belongs to the outer run: it goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.system.processes import alive, marked, tree, wait_for

HOST = """
import json, os, sys, time
from mrengine import MapReduceRunner

def sleeps(chunk, context):
    with open(f"inner-{os.getpid()}", "w"):
        time.sleep(3600)

def map_fn(chunk, context):
    if context.attempt == 1:
        MapReduceRunner("inner", workers=2, drain_s=60).run(["x", "y"], sleeps)
    return chunk.text

outer = MapReduceRunner("outer", workers=1)
outer.on("worker:respawned", print)
outer.initialize()
print(outer._pool.open().pid, flush=True)
run = outer.run(["a"], map_fn)
print(json.dumps([result.result for result in run.results]), flush=True)
"""


def test_a_nested_run_ends_when_the_outer_supervisor_is_killed(tmp_path: Path, state_dir: Path) -> None:
    """At once, and not after its own drain: its host was a worker, and the outer host goes on with another."""
    host = subprocess.Popen([sys.executable, "-c", HOST], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout is not None
        supervisor = int(host.stdout.readline())
        wait_for(lambda: len(list(tmp_path.glob("inner-*"))) == 2)
        below = [pid for pid in tree(supervisor) if pid != supervisor]
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, below)), within_s=25)
    finally:
        host.kill()
        host.communicate()
        wait_for(lambda: not marked(state_dir))
