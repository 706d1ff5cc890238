"""What a map function prints is seen: on stderr, as in any program, or where logging shows it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import logging, sys
    from mrengine import MapReduceRunner

    def map_fn(chunk, context):
        print("printed")
        print("complained", file=sys.stderr)
        print("without an end", end="")
        logging.getLogger("own").warning("logged")
        logging.getLogger("own").info("whispered")

    {configure}
    MapReduceRunner(workers=1, progress={progress}).run("text", map_fn)
"""
PLAIN = ["complained", "logged", "printed", "without an end"]


def run(state_dir: Path, configure: str, progress: object = None) -> list[str]:
    program = textwrap.dedent(PROGRAM).format(configure=configure, progress=progress)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == ""
    return sorted(line for line in ran.stderr.splitlines() if not line.startswith("log: job "))  # its own start and end


@pytest.mark.parametrize(
    ("configure", "told"),
    [
        ("", PLAIN),
        ("sys.stdout = None", PLAIN),
        (
            "logging.basicConfig(format='log: %(message)s')",
            ["log: complained", "log: logged", "printed", "without an end"],
        ),
        (
            "logging.basicConfig(format='log: %(message)s', level=logging.INFO)",
            [f"log: {line}" for line in [*PLAIN[:3], "whispered", PLAIN[3]]],
        ),
        ("logging.getLogger('map_fn').setLevel(logging.ERROR)", ["logged"]),
    ],
)
def test_a_print_is_shown_once(state_dir: Path, configure: str, told: list[str]) -> None:
    """By logging where that shows it, else as it is; not where the logger of prints was set to be quiet."""
    assert run(state_dir, configure) == sorted(told)


def test_a_print_goes_above_the_bar(state_dir: Path) -> None:
    """Not into it."""
    assert {"printed", "without an end"} <= {line.strip() for line in run(state_dir, "", progress=True)}


def test_a_host_without_stderr_goes_on(state_dir: Path) -> None:
    """There is nobody to be told."""
    assert run(state_dir, "sys.stderr = None", progress=True) == []
