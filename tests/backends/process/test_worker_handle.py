"""A worker process from outside."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, resource
from mrengine.backends.process.worker_handle import WorkerHandle
from mrengine.log.file.call_index import CallIndex
from mrengine.log.view.call_totals import CallTotals
index = CallIndex.build(CallTotals(), expected=1)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
def opened():
    return set(os.listdir("/proc/self/fd"))
before = opened()
room = max(map(int, before))
for more in range(6):  # the first pipe fails, or the second, or that of its life
    resource.setrlimit(resource.RLIMIT_NOFILE, (room + more, hard))
    try:
        WorkerHandle(0, 1, index, 1, 2, 0)
    except OSError:
        pass
    else:
        raise AssertionError(more)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room + 99, hard))
    assert opened() == before, (more, opened() - before)
print("whole")
"""


def test_a_worker_that_cannot_be_started_leaves_no_descriptor_open() -> None:
    """The supervisor lives on, and the next job wants them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr
