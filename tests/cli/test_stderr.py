"""What is said on stderr, and how on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_what_a_map_function_prints_is_a_note(cli: Any, tmp_path: Path) -> None:
    """On stderr, so that stdout stays data; with --quiet not at all, but what it writes to stderr is."""
    code = "import sys\ndef f(chunk, context):\n    print('looking')\n    print('odd', file=sys.stderr)\n    return 7\n"
    (tmp_path / "own.py").write_text(code)
    done = cli("run", "visit.txt", "--map", "own:f")
    assert done.stdout == "7\n"
    assert {"looking", "odd"} <= set(done.stderr.splitlines())
    quiet = cli("run", "visit.txt", "--map", "own:f", "--quiet", "--job-id", "anew")
    assert (quiet.stdout, quiet.stderr) == ("7\n", "odd\n")


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_a_bar_and_notes_stand_clear_of_it(cli: Any, no_color: bool) -> None:
    """No bar without a terminal; without colour where NO_COLOR is set."""
    args = ["run", "visit.txt", "--prompt", "x", "--model", "fake", "--target-tokens", "100"]
    env = {"TERM": "xterm", **({"NO_COLOR": "1"} if no_color else {})}
    main, side = pty.openpty()
    process = cli(*args, start=True, env=env, stderr=side, stdout=subprocess.DEVNULL)
    os.close(side)
    shown = _read_all(main)
    assert process.wait(timeout=30) == 0
    assert b"chunks" in shown
    assert b"\r\x1b[2Kjob auto-" in shown
    assert (b"\x1b[9" in shown) is not no_color
    assert "\x1b" not in cli(*args, env=env).stderr


def _read_all(fd: int) -> bytes:
    shown = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:  # Linux: the other side is closed
            data = b""
        if not data:
            os.close(fd)
            return shown
        shown += data
