"""What one task closes of its output is open again for the next."""

from __future__ import annotations

import subprocess
import sys

import pytest


def printed(program: str) -> str:
    """What a process prints that has opened its streams as a worker does."""
    start = (
        "import os, sys\nfrom mrengine.backends.process import standard_streams as streams\nstreams.open_streams()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize("closes", ["os.close(1)", "sys.stdout.close()", "sys.stdout.close(); os.close(1)"])
def test_what_was_closed_is_open_for_the_next_task(closes: str) -> None:
    """The descriptor, the stream, or both."""
    assert printed(f"print('one')\nstreams.flush()\n{closes}\nstreams.flush()\nstreams.restore()\nprint('two')\n") == (
        "one\ntwo\n"
    )


def test_a_descriptor_of_user_code_is_left_alone() -> None:
    """It may be a socket by now, whose number is 1."""
    program = "read, write = os.pipe()\nos.dup2(write, 1)\nstreams.restore()\nos.write(1, b'mine')\n"
    assert printed(program + "print(os.read(read, 9).decode(), file=sys.stderr)\nsys.exit(0)\n") == ""


def test_a_line_without_an_end_is_written() -> None:
    """Before the outcome, though the process is then killed."""
    assert printed("import signal\nprint('begun', end='')\nstreams.flush()\nos._exit(0)\n") == "begun"
