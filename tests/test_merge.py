"""Jobs that are parts of one: their outcomes in order, sums, and what must not be merged unseen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mrengine
from mrengine import Document, Job, MapReduceRunner, ModelSpec, Price, merge_results
from mrengine.errors import ConfigError, JobCancelled, JobError, JobMismatch, JobNotFound
from mrengine.outputs.merged import in_two_jobs

pytestmark = pytest.mark.usefixtures("state_dir")
MODEL = ModelSpec("fake", provider="fake", price=Price(1.0, 2.0))


def part(number: int, names: str, **settings: Any) -> MapReduceRunner:
    runner = MapReduceRunner(f"part-{number}", models=MODEL, strategy="sequential", target_tokens=None, **settings)
    runner.run([Document(name, f"Text of {name}") for name in names], ask)
    return runner


def ask(chunk: Any, context: Any) -> str:
    if chunk.document_id == "d":
        raise LookupError("no such visit")
    return f"{chunk.document_id}: {context.complete(chunk.text, max_tokens=20).text}"


def test_parts_are_merged_in_order_with_their_failures_and_sums(tmp_path: Path) -> None:
    """Chunk ids begin anew in each; rows tell the job."""
    part(0, "ab")
    part(1, "cde")
    merged = merge_results(["part-1", Job("part-0")])
    assert [one.document_id for one in merged.results] == ["c", "e", "a", "b"]
    assert [one.document_id for one in merged.results[1:-1]] == ["e", "a"]
    assert merged.results[-1].document_id == "b"
    with pytest.raises(IndexError):
        merged.results[4]
    assert [one.document_id for one in merged.failures] == ["d"]
    rows = [(row["job_id"], row["chunk_id"], row["document_id"], row["failure"] is None) for row in merged.rows()]
    assert rows[:3] == [("part-1", 0, "c", True), ("part-1", 1, "d", False), ("part-1", 2, "e", True)]
    assert rows[3:] == [("part-0", 0, "a", True), ("part-0", 1, "b", True)]
    statuses = [Job(f"part-{number}").status() for number in range(2)]
    assert merged.usage == statuses[0].usage + statuses[1].usage
    assert merged.cost_usd == pytest.approx(sum(status.cost_usd or 0 for status in statuses))
    assert merged.cost_usd
    lines = merged.export(tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["job_id"] for line in lines] == ["part-1"] * 3 + ["part-0"] * 2
    assert list(mrengine.merge_results([]).rows()) == []


def test_a_document_that_two_parts_have_is_refused_by_name() -> None:
    """It would count twice, and be paid for twice, unseen."""
    part(0, "abc")
    part(1, "xbc")
    with pytest.raises(JobMismatch, match="would count twice: 'b' is in part-0 and part-1; 'c' is in"):
        merge_results(["part-0", "part-1"])
    assert len(merge_results(["part-0", "part-1"], duplicates="keep").results) == 6
    with pytest.raises(ConfigError, match="'part-0' is named twice"):
        merge_results(["part-0", Job("part-0")])
    with pytest.raises(ConfigError, match="duplicates='drop'"):
        merge_results(["part-0"], duplicates="drop")  # type: ignore[arg-type]
    with pytest.raises(JobNotFound):
        merge_results(["part-7"])


def test_ids_are_compared_as_they_are() -> None:
    """Lone surrogates, too; a document may be in its own job twice."""
    assert in_two_jobs([("a", ["\ud800", "x", "x"]), ("b", ["y"])]) == []
    assert in_two_jobs([("a", ["\ud800"]), ("b", ["é"]), ("c", ["é", "\ud800"])]) == [
        ("é", "b", "c"),
        ("\ud800", "a", "c"),
    ]


def test_a_part_that_is_not_done_is_merged_only_when_asked_for() -> None:
    """Else results would be missing unseen."""
    part(0, "ab")
    stopped = MapReduceRunner("part-1", models=MODEL, strategy="sequential", target_tokens=None)
    stopped.on("chunk:processed", lambda event: stopped.stop())
    with pytest.raises(JobCancelled):
        stopped.run([Document(name, name) for name in "cefg"], ask)
    with pytest.raises(JobError, match=r"1 of 2 jobs are not done: part-1 is stopped \(1 of 4\)"):
        merge_results(["part-0", "part-1"])
    assert len(merge_results(["part-0", "part-1"], partial=True).results) == 3


def test_the_command_merges_jobs_of_other_machines(tmp_path: Path, state_dir: Path) -> None:
    """By the paths of their folders; sums go to stderr."""

    def run_cli(*args: str) -> Any:
        command = [sys.executable, "-m", "mrengine", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    part(0, "ab")
    part(1, "cde")
    there = tmp_path / "there" / "jobs"
    there.mkdir(parents=True)
    shutil.move(state_dir / "jobs" / "part-1", there / "part-1")
    done = run_cli("merge", "part-0", os.fspath(there / "part-1"))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["job_id"], one["document_id"], one["type"]) for one in records] == [
        ("part-0", "a", "result"),
        ("part-0", "b", "result"),
        ("part-1", "c", "result"),
        ("part-1", "e", "result"),
        ("part-1", "d", "failure"),
    ]
    assert "2 jobs: 4 results, 1 failures," in done.stderr
    assert run_cli("merge", "part-0", "-o", os.fspath(tmp_path / "out.csv")).returncode == 0
    assert (tmp_path / "out.csv").read_text().startswith("job_id,document_id,")
    shutil.copytree(there / "part-1", state_dir / "jobs" / "part-2")
    refused = run_cli("merge", "part-0", "part-2", os.fspath(there / "part-1"))
    assert refused.returncode == 1
    assert "keep both with --keep-duplicates" in refused.stderr
    assert "the folder of a job is …/jobs/JOB" in run_cli("merge", "./part-0").stderr
