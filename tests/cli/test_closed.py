"""Standard streams that the shell has closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUNCTION = "def size(chunk, context):\n    print('printed')\n    return len(chunk.text)\n"


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("run text.txt --map function:size >&-", 1, "", "mrengine: stdout: it is closed"),
        ("jobs >&-", 1, "", "mrengine: stdout: it is closed"),
        ("jobs --json >&-", 1, "", "mrengine: stdout: it is closed"),
        ("chunk text.txt >&-", 1, "", "mrengine: stdout: it is closed"),
        ("run text.txt --map function:size 2>&-", 0, "4\n", ""),
        ("run text.txt --map function:size >&- 2>&-", 1, "", ""),
        ("run - --map function:size <&-", 1, "", "mrengine: stdin is closed: there is nothing to read from it"),
    ],
)
def test_a_closed_stream_is_reported_and_nothing_more(
    tmp_path: Path, state_dir: Path, command: str, code: int, out: str, err: str
) -> None:
    """No AttributeError; what the job has done is kept."""
    (tmp_path / "function.py").write_text(FUNCTION)
    (tmp_path / "text.txt").write_text("text")
    subprocess.run(
        [sys.executable, "-m", "mrengine", "run", "text.txt", "--map", "function:size"], cwd=tmp_path, check=True
    )
    shell = ["sh", "-c", f"{sys.executable} -m mrengine {command}"]
    ran = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == out
    assert (ran.stderr.splitlines() or [""])[-1] == err or not err
    assert "AttributeError" not in ran.stderr
