"""How commands end: one line, a code, no traceback; signals drain, and the same command resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing.server import LLMServer

ASK = ["--prompt", "x", "--model", "fake"]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["run", "nofile", *ASK], 1, "no such file"),
        (["run", ".", *ASK], 1, "is a folder"),
        (["run", "empty.txt", *ASK], 1, "empty"),
        (["run", "visit.txt", "visit.txt", *ASK], 2, "given twice"),
        (["run", "visit.txt"], 2, "--prompt"),
        (["run", "visit.txt", "--map", "nomodule:f"], 2, "cannot be imported"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gtp"], 2, "unknown model"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gpt-4o"], 2, "OPENAI_API_KEY"),
        (["run", "visit.txt", *ASK, "--limits", "nonsense"], 2, "tpm"),
        (["run", "visit.txt", *ASK, "--timeout", "-1"], 2, "--timeout"),
        (["run", "visit.txt", *ASK, "--job-id", "../x"], 2, "job id"),
        (["summarize", "https://example.org/a", "--model", "fake"], 2, "URL"),
        (["show", "nope"], 1, "no job"),
    ],
)
def test_errors_are_one_line_and_a_code(cli: Any, args: list[str], code: int, told: str, tmp_path: Path) -> None:
    """No traceback."""
    (tmp_path / "empty.txt").write_text("")
    done = cli(*args)
    assert done.returncode == code
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_errors_of_a_users_function_are_one_line_too(cli: Any, tmp_path: Path) -> None:
    """--debug, wherever it stands, shows where; the job stays resumable."""
    (tmp_path / "own.py").write_text("def f(chunk, context):\n    return 1\ndef r(results):\n    raise KeyError('k')\n")
    options = ["run", "visit.txt", "--map", "own:f", "--reduce", "own:r"]
    done = cli(*options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("mrengine: KeyError: 'k'")
    assert "Traceback" not in done.stderr
    told = cli(*options, "--debug")
    assert "1 chunk, 1 done" in told.stderr
    assert 'own.py", line 4, in r' in told.stderr


def test_all_chunks_failed_is_1(cli: Any, tmp_path: Path) -> None:
    """And says why, once."""
    (tmp_path / "own.py").write_text("def f(chunk, context):\n    raise KeyError('k')\n")
    done = cli("run", "visit.txt", "--map", "own:f")
    assert done.returncode == 1
    assert "KeyError" in done.stderr.splitlines()[-1]


def test_an_unwritable_home_is_told(cli: Any, tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "file").write_text("")
    done = cli("run", "visit.txt", *ASK, env={"MRENGINE_STATE_DIR": "", "XDG_STATE_HOME": "", "HOME": "file/home"})
    assert done.returncode == 2
    assert "MRENGINE_STATE_DIR" in done.stderr


def test_a_reader_that_goes_is_no_error(cli: Any) -> None:
    """No complaint; what the run was is still in its code."""
    for args in (["chunk", "visit.txt", "--target-tokens", "2"], ["run", "visit.txt", *ASK, "--target-tokens", "2"]):
        process = cli(*args, start=True)
        process.stdout.close()
        told = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=30) == 0
        assert "rror" not in told


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_stdout_is_one(cli: Any) -> None:
    """Said once, not again when python ends."""
    with open("/dev/full", "w") as full:
        done = cli("chunk", "visit.txt", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "mrengine: stdout: No space left on device\n"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_same_command_resumes(
    cli: Any, answered: Callable[[LLMServer, int], None], signum: int, code: int, tmp_path: Path
) -> None:
    """What was in flight is kept; nothing is asked twice."""
    (tmp_path / "lines.txt").write_text("".join(f"line {i}\n" for i in range(40)))
    with LLMServer(latency_s=0.2) as server:
        options = ["run", "lines.txt", "--each-line", "--prompt", "Say $text", "--model", f"{server.url}#m"]
        options += ["--workers", "2", "--slots", "2"]
        process = cli(*options, start=True)
        answered(server, 4)
        process.send_signal(signum)
        out, told = process.communicate(timeout=30)
        assert process.returncode == code
        assert out == ""
        assert told.splitlines()[-1].endswith("; the same command resumes")
        assert "Traceback" not in told
        assert 4 <= server.stats().ok < 40
        done = cli(*options)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 40
        assert server.stats().paid_twice == 0


def test_a_signal_before_the_run_ends_at_once(cli: Any) -> None:
    """SIGTERM while stdin is read: there is nothing to drain, and nothing that resumes."""
    process = cli("summarize", "-", "--model", "fake", start=True, stdin=subprocess.PIPE)
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + 30
    while not int(next(x for x in status.read_text().splitlines() if x.startswith("SigCgt"))[8:], 16) >> 14 & 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert process.stderr.read() == "terminated\n"
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_a_timeout_is_4(cli: Any) -> None:
    """The job can be resumed."""
    with LLMServer(latency_s=0.3) as server:
        options = ["--prompt", "Say $text", "--model", f"{server.url}#m", "--target-tokens", "60", "--workers", "1"]
        done = cli("run", "visit.txt", *options, "--timeout", "1.5")
    assert done.returncode == 4
    assert "resumed" in done.stderr


def test_help_tells_examples_codes_and_environment(cli: Any) -> None:
    """In one page."""
    told = cli("--help").stdout
    assert all(word in told for word in ("Examples", "Exit codes", "Environment", "MRENGINE_", "summarize"))
    assert cli("--version").stdout.startswith("mrengine, version ")
