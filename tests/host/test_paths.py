"""What workers import is what the host would import, wherever it has gone since."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MAKES = """
import os, sys
os.mkdir("lib"); os.mkdir("elsewhere")
for name in ("first", "second"):
    with open(f"lib/{name}.py", "w") as file:
        file.write(f"def map_fn(chunk, context):\\n    import {name}_inner\\n    return {name}_inner.VALUE\\n")
    with open(f"lib/{name}_inner.py", "w") as file:
        file.write(f"VALUE = {name!r}\\n")
from mrengine import MapReduceRunner
"""


def run(tmp_path: Path, state_dir: Path, code: str) -> str:
    program = textwrap.dedent(MAKES) + textwrap.dedent(code)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("entry", ["lib", "./lib", "elsewhere/../lib"])
def test_a_relative_entry_is_where_it_was_when_it_was_used(tmp_path: Path, state_dir: Path, entry: str) -> None:
    """As Python has it: after chdir() the host still imports from there."""
    code = f"""
    sys.path.insert(0, {entry!r})
    import first
    os.chdir("elsewhere")
    print(MapReduceRunner(workers=1).run("a", first.map_fn).results[0].result)
    """
    assert run(tmp_path, state_dir, code) == "first"


def test_a_warm_pool_learns_of_a_path_that_is_added_later(tmp_path: Path, state_dir: Path) -> None:
    """Each run has the host's path of its time."""
    code = """
    with MapReduceRunner(workers=1) as runner:
        runner.run("a", lambda chunk, context: 1)
        sys.path.insert(0, "lib")
        import second
        os.chdir("elsewhere")
        print(runner.run("a", second.map_fn).results[0].result)
    """
    assert run(tmp_path, state_dir, code) == "second"
