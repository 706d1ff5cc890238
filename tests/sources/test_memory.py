"""How much memory a whole job takes for a large table, as rows and as one text."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
JOB = """
import resource, sys
from mrengine import MapReduceRunner, read_table
from pathlib import Path

def size(chunk, context):
    return len(chunk.text)

if __name__ == "__main__":
    kind, path, state = sys.argv[1:]
    with MapReduceRunner("big", state_dir=state, workers=1, progress=False) as runner:
        source = read_table(path, text="note", id="id") if kind == "rows" else Path(path)
        total = runner.run(source, size, lambda results: sum(one.result for one in results)).result
    host, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(total, host * 1024, others * 1024)
"""
NOTE = "Visit {}: the fever fell on Tuesday and the patient slept well. " * 40


def table(path: Path, rows: int) -> int:
    """A CSV file; the characters of its texts."""
    total = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "age", "note"])
        for row in range(rows):
            note = NOTE.replace("{}", str(row))
            total += len(note)
            writer.writerow([f"v{row}", row % 90, note])
    return total


def peaks(kind: str, path: Path, state: Path) -> tuple[int, int, int]:
    """What the job made, and the most bytes of its host and of the largest of its other processes."""
    command = [sys.executable, "-c", JOB, kind, os.fspath(path), os.fspath(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    total, host, others = map(int, done.stdout.split())
    return total, host, others


@pytest.mark.parametrize("kind", ["rows", "one"])
def test_a_large_table_takes_no_more_memory_than_its_rows_are_many(kind: str, state_dir: Path, tmp_path: Path) -> None:
    """At ten times the size: nothing more as one text; at most 2 KB for each document, as rows."""
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    rows = 1_000, 10_000
    chars = table(small, rows[0]), table(large, rows[1])
    first = peaks(kind, small, state_dir / "small")
    second = peaks(kind, large, state_dir / "large")
    if kind == "rows":
        assert (first[0], second[0]) == chars
    allowed = 30_000_000 + (2_000 * (rows[1] - rows[0]) if kind == "rows" else 0)
    assert second[1] - first[1] < allowed
    assert second[2] - first[2] < allowed
