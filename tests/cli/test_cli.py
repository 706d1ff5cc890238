"""The command line as a user meets it: a real process, its two streams, its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing.server import LLMServer

ROOT = Path(__file__).parents[2]
TEXT = "The fever fell on Tuesday. The patient slept well. " * 60


@pytest.fixture
def cli(state_dir: Path, tmp_path: Path) -> Any:
    """Run ``mrengine`` in a folder of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "MRENGINE_STATE_DIR": str(state_dir)}
    (tmp_path / "visit.txt").write_text(TEXT)

    def run(*args: str, start: bool = False, **more: Any) -> Any:
        command = [sys.executable, "-m", "mrengine", *args]
        settings: dict[str, Any] = {"cwd": tmp_path, "env": env, "text": True, **more}
        if start:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
        return subprocess.run(command, capture_output=True, timeout=60, check=False, **settings)

    return run


def test_a_run_prints_data_on_stdout_and_the_rest_on_stderr(cli: Any) -> None:
    """The job id comes first on stderr, and that the same command resumes."""
    done = cli("run", "visit.txt", "--prompt", "Say: $text", "--model", "fake", "--target-tokens", "200")
    assert done.returncode == 0
    assert all(line.startswith("An answer of the fake model") for line in done.stdout.splitlines())
    assert re.match(r"job auto-[0-9a-f]{16}: \d+ chunks, 0 done; the same command resumes", done.stderr)
    again = cli("run", "visit.txt", "--prompt", "Say: $text", "--model", "fake", "--target-tokens", "200")
    assert again.stdout == done.stdout
    assert ", 0 done" not in again.stderr


def test_json_is_a_line_for_each_record(cli: Any) -> None:
    """Results as objects, with their usage."""
    done = cli("run", "visit.txt", "--prompt", "Say: $text", "--model", "fake", "--json", "--quiet")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["type"] == "result"
    assert records[0]["usage"]["output_tokens"] > 0
    assert done.stderr == ""


def test_summaries_are_written_whole(cli: Any, tmp_path: Path) -> None:
    """STEM.md for each source, nothing else beside it."""
    (tmp_path / "other.txt").write_text(TEXT.upper())
    done = cli("summarize", "visit.txt", "other.txt", "--model", "fake", "-o", "out")
    assert done.returncode == 0
    assert done.stdout == ""
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["other.md", "visit.md"]


def test_stdin_is_a_source(cli: Any) -> None:
    """-"""
    done = cli("summarize", "-", "--model", "fake", input="Some text. It goes on.")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_failed_chunks_withhold_the_answer(cli: Any, tmp_path: Path) -> None:
    """Exit code 3, records are written all the same; --max-failed accepts them."""
    (tmp_path / "triage.py").write_text("def odd(chunk, context):\n    return 1 / (chunk.id % 2)\n")
    options = ["run", "visit.txt", "--map", "triage:odd", "--target-tokens", "200", "--model", "fake"]
    done = cli(*options, "--reduce", "collect")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "--max-failed" in done.stderr
    records = cli(*options, "--json")
    assert records.returncode == 3
    assert {json.loads(line)["type"] for line in records.stdout.splitlines()} == {"result", "failure"}
    assert cli(*options, "--reduce", "collect", "--max-failed", "99").returncode == 0


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["run", "nofile", "--prompt", "x", "--model", "fake"], 1, "no such file"),
        (["run", "visit.txt"], 2, "--prompt"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gtp"], 2, "unknown model"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gpt-4o"], 2, "OPENAI_API_KEY"),
        (["summarize", "https://example.org/a", "--model", "fake"], 2, "URL"),
        (["show", "nope"], 1, "no job"),
        (["show", "../x"], 2, "job id"),
        (["run", "visit.txt", "--prompt", "x", "--model", "fake", "--limits", "nonsense"], 2, "tpm"),
    ],
)
def test_errors_are_one_line_and_a_code(cli: Any, args: list[str], code: int, told: str) -> None:
    """No traceback."""
    done = cli(*args)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_jobs_are_listed_shown_exported_verified_and_purged(cli: Any, state_dir: Path) -> None:
    """A job's life after its run."""
    cli("run", "visit.txt", "--prompt", "x $text", "--model", "fake", "--job-id", "j1", "--target-tokens", "200")
    assert cli("jobs").stdout.startswith("j1\tdone\t")
    shown = json.loads(cli("show", "j1", "--json").stdout)
    assert shown["done"] == shown["total"] > 1
    assert len(cli("export", "j1").stdout.splitlines()) == shown["total"]
    assert cli("verify", "j1").returncode == 0
    resumed = cli("resume", "j1")
    assert resumed.returncode == 0
    assert len(resumed.stdout.splitlines()) == shown["total"]
    log = state_dir / "jobs" / "j1" / "log"
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    log.write_bytes(damaged)
    broken = cli("verify", "j1")
    assert broken.returncode == 1
    assert "damaged" in broken.stdout
    assert cli("prune", "--older-than", "30d").stdout == ""
    assert cli("purge", "j1").returncode == 0
    assert cli("jobs").stdout == ""


def test_a_dry_run_calls_nothing(cli: Any) -> None:
    """It says chunks, calls and tokens."""
    done = cli("run", "visit.txt", "--prompt", "x $text", "--model", "fake", "--dry-run", "--target-tokens", "200")
    assert json.loads(done.stdout)["chunks"] > 1
    assert cli("jobs").stdout == ""


def test_chunk_prints_the_chunks(cli: Any) -> None:
    """They tile the document."""
    rows = [line.split("\t") for line in cli("chunk", "visit.txt", "--target-tokens", "100").stdout.splitlines()]
    assert rows[0][2] == "0"
    assert rows[-1][3] == str(len(TEXT))
    assert all(int(row[5]) <= 100 for row in rows)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_same_command_resumes(cli: Any, signum: int, code: int, tmp_path: Path) -> None:
    """What was in flight is kept; nothing is asked twice."""
    (tmp_path / "lines.txt").write_text("".join(f"line {i}\n" for i in range(60)))
    with LLMServer(latency_s=0.15) as server:
        model = f"{server.url}#m"
        options = ["run", "lines.txt", "--each-line", "--prompt", "Say $text", "--model", model, "--workers", "2"]
        process = cli(*options, start=True)
        deadline = time.monotonic() + 30
        while server.stats().ok < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signum)
        _, told = process.communicate(timeout=30)
        assert process.returncode == code
        assert "same command resumes" in told
        assert "Traceback" not in told
        assert 6 <= server.stats().ok < 60
        done = cli(*options)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 60
        assert server.stats().paid_twice == 0


def test_timeout_and_busy_have_codes_of_their_own(cli: Any) -> None:
    """4 and 5."""
    with LLMServer(latency_s=0.4) as server:
        options = ["run", "visit.txt", "--prompt", "Say $text", "--model", f"{server.url}#m", "--job-id", "slow"]
        options += ["--target-tokens", "60", "--workers", "1"]
        process = cli(*options, "--timeout", "4", start=True)
        deadline = time.monotonic() + 30
        while server.stats().requests < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cli(*options).returncode == 5
        process.communicate(timeout=30)
        assert process.returncode == 4


def test_help_tells_examples_codes_and_environment(cli: Any) -> None:
    """In one page."""
    told = cli("--help").stdout
    assert all(word in told for word in ("Examples", "Exit codes", "Environment", "MRENGINE_", "summarize"))
    assert cli("--version").stdout.startswith("mrengine, version ")
