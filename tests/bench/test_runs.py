"""Small runs of the benchmarks themselves: real processes, a real server, real kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.machine import ROOT


def bench(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    environment = {**os.environ, "BENCH_RESULTS": str(results)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280)


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return found


def test_a_tool_that_is_missing_is_a_row_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CURATOR_PYTHON", sys.executable)
    done = bench("faults", "--tools", "curator", "--faults", "hang", results=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "faults.json")
    assert "bespokelabs-curator is not installed" in row["missing_tool"]


def test_wrong_words_are_refused_with_the_right_ones(tmp_path: Path) -> None:
    done = bench("compare", "nonsense", results=tmp_path)
    assert done.returncode == 2
    assert "durable" in done.stderr
    done = bench("pipeline", "--file", "no-such-file", results=tmp_path)
    assert (done.returncode, done.stderr) == (2, "bench pipeline: there is no no-such-file\n")


@pytest.mark.system
@pytest.mark.timeout(300)
def test_load_counts_successes_and_failures(tmp_path: Path) -> None:
    """404 is final: those calls fail, and the others' latencies are at least the server's."""
    arguments = ("--concurrent", "4", "--requests", "40", "--latency-s", "0.02", "--fault", "404=0.3")
    done = bench("load", *arguments, results=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "load.json")
    assert row["succeeded"] + row["failed"] == row["requests"] == 40
    assert 0 < row["failed"] < 40
    assert len(row["samples"]) == row["succeeded"]
    assert 20 <= row["min"] <= row["median"] <= row["p95"] <= row["p99"] <= row["max"]


@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_pipeline_says_where_the_time_went(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text("The patient is well. " * 100)
    done = bench("pipeline", "--file", str(report), "--export", str(tmp_path / "out.json"), results=tmp_path)
    assert done.returncode == 0, done.stderr
    first, again = rows(tmp_path / "out.json")
    assert {"read", "cut", "call", "map function", "commit", "reduce"} <= set(first["stages"])
    assert (again["resumed"], "call" in again["stages"]) == (first["chunks"], False)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_faults_over_this_engine_and_a_peer(tmp_path: Path) -> None:
    """After a real SIGKILL of everything, mrengine buys at most what was in flight again, and loses nothing."""
    tools = ["mrengine", *(["asyncio and the SDK"] if find_spec("openai") else [])]
    done = bench("faults", "--tools", *tools, "--faults", "kill all", "--calls", "40", results=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {row["tool"]: row for row in rows(tmp_path / "faults.json")}
    assert (found["mrengine"]["lost"], found["mrengine"]["missing"], found["mrengine"]["wrong"]) == (0, 0, 0)
    assert found["mrengine"]["bought_twice"] <= 8
    assert found["mrengine"]["announced"] > 0
    if len(tools) > 1:
        assert found["asyncio and the SDK"]["lost"] == found["asyncio and the SDK"]["announced"] > 0
