"""How much memory a whole job takes for a large table, as rows and as one text."""
# The short form counts what is held for each row; the long one measures the processes.

from __future__ import annotations

import csv
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrengine import Document, MapReduceRunner
from mrengine.host import prepare, rounds, row_stream
from mrengine.log.format.job_records import DocumentRow

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


def held(rows: int) -> int:
    """The most of a job's documents that are held while they are asked for."""
    found = []

    def count() -> int:
        gc.collect()  # what an earlier run has left
        return sum(type(one) is DocumentRow for one in gc.get_objects())

    def documents() -> Iterator[Document]:
        for row in range(rows):
            if row % 1_000 == 0:
                found.append(count())
            yield Document(f"row {row}", f"Row {row} says what is known of it.")
        found.append(count())

    runner = MapReduceRunner(f"of-{rows}", backend="sequential", durability="flush", models="fake")
    assert len(runner.run(documents(), lambda chunk, context: len(chunk.text)).results) == rows
    return max(found) - found[0]


@pytest.mark.usefixtures("state_dir")
def test_rows_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than stand in two groups, where all of them would be if they were kept."""
    monkeypatch.setattr(prepare, "READ_S", 0.0)
    monkeypatch.setattr(prepare, "FIRST_S", 0.0)
    monkeypatch.setattr(row_stream, "SLICE_S", 0.001)
    monkeypatch.setattr(row_stream, "LONGEST_S", 0.002)
    monkeypatch.setattr(rounds, "AHEAD", 50)
    assert held(4_000) < 2_000


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["rows", "one"])
def test_a_large_table_takes_no_more_memory_than_its_rows_are_many(kind: str, state_dir: Path, tmp_path: Path) -> None:
    """At four times the size: nothing more as one text; at most 0.4 KB for each document, as rows."""
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    rows = 10_000, 40_000
    chars = table(small, rows[0]), table(large, rows[1])
    first = peaks(kind, small, state_dir / "small")
    second = peaks(kind, large, state_dir / "large")
    if kind == "rows":
        assert (first[0], second[0]) == chars
    allowed = 30_000_000 + (400 * (rows[1] - rows[0]) if kind == "rows" else 0)
    assert second[1] - first[1] < allowed
    assert second[2] - first[2] < allowed
