"""How commands end: one line, a code, no traceback; signals drain, and the same command resumes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine.testing.llm_server import LLMServer

ASK = ["--prompt", "x", "--model", "fake"]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["run", "nofile", *ASK], 1, "no such file"),
        (["run", "nofolder/", *ASK], 1, "no such file"),
        (["run", "empty.txt", *ASK], 1, "empty"),
        (["run", "visit.txt", "visit.txt", *ASK], 2, "given twice"),
        (["run", "visit.txt"], 2, "--prompt"),
        (["run", "visit.txt", "--map", "nomodule:f"], 2, "cannot be imported"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gtp"], 2, "unknown model"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gtp"], 2, "http(s)://host:port/v1#name"),
        (
            ["run", "visit.txt", *ASK, "--max-cost", "1"],
            2,
            "give it with --price IN:OUT, or limit --max-tokens-total instead",
        ),
        (["run", "visit.txt", *ASK, "--target-tokens", "10", "--overlap-tokens", "350"], 2, "--overlap-tokens 350"),
        (["run", "visit.txt", "--prompt", "x", "--model", "gpt-4o"], 2, "OPENAI_API_KEY"),
        (["run", "visit.txt", *ASK, "--limits", "nonsense"], 2, "tpm"),
        (["run", "visit.txt", *ASK, "--timeout", "-1"], 2, "--timeout"),
        (["run", "visit.txt", *ASK, "--job-id", "../x"], 2, "job id"),
        (["summarize", "https://user@example.org/a", "--model", "fake"], 1, "a name and password"),
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
    assert "its only chunk failed (error): KeyError" in done.stderr.splitlines()[-1]
    several = cli("run", "visit.txt", "--map", "own:f", "--target-tokens", "200").stderr.splitlines()
    assert re.search(r"all \d+ chunks failed; the first one \(error\): KeyError", several[-1])
    assert re.fullmatch(r"failed: 0 of (\d+) chunks, \1 failed, [\d.]+ s, no tokens; job auto-\w+", several[-2])


def test_where_a_function_failed_is_reported(cli: Any, tmp_path: Path) -> None:
    """The file and line of its own last frame, how the rest is seen; accepted failures, too, are told in commands."""
    (tmp_path / "own.py").write_text(
        "import json\ndef f(chunk, context):\n    return json.loads('{' * chunk.id or '1')\n"
    )
    options = ["run", "visit.txt", "--map", "own:f", "--target-tokens", "200", "--job-id", "mine"]
    done = cli(*options)
    assert done.returncode == 3
    assert " at own.py:3\n" in done.stderr
    assert "'mrengine export mine'" in done.stderr
    accepted = cli(*options, "--max-failed", "99")
    assert accepted.returncode == 0
    assert "'mrengine export mine'" in accepted.stderr
    (tmp_path / "own.py").write_text("def f(chunk, context):\n    raise KeyError('k')\n")
    every = cli(*options, "--on-mismatch", "restart").stderr.splitlines()[-1]
    assert " at own.py:2; 'mrengine export mine'" in every
    assert "KeyError: 'k'" in cli("show", "mine").stdout


def test_messages_speak_of_options(cli: Any, tmp_path: Path) -> None:
    """And offer what can work: 'extend' where documents were added, a decoder where bytes are no UTF-8."""
    ask = ["--job-id", "j", "--model", "fake"]
    cli("run", "visit.txt", *ASK, "--job-id", "j")
    prompt = cli("run", "visit.txt", "--prompt", "y", *ask).stderr
    assert "--on-mismatch 'recompute'" in prompt
    assert "another --job-id" in prompt
    assert "extend" not in prompt
    (tmp_path / "more.txt").write_text("more")
    assert "--on-mismatch 'extend'" in cli("run", "visit.txt", "more.txt", "--prompt", "x", *ask).stderr
    (tmp_path / "latin.txt").write_bytes(b"fine \xe4")
    assert "iconv -f latin1 -t utf-8 latin.txt | mrengine" in cli("run", "latin.txt", *ASK).stderr
    with LLMServer(latency_s=0.3) as server:
        late = [
            "--prompt",
            "x",
            "--model",
            f"{server.url}#m",
            "--target-tokens",
            "20",
            "--workers",
            "1",
            "--job-id",
            "late",
        ]
        assert "--timeout is over" in cli("run", "visit.txt", *late, "--timeout", "1").stderr
    assert "--timeout is over" in cli("show", "late").stdout


def test_the_model_that_nobody_named_is_reported(cli: Any) -> None:
    """On stderr, after the job; where it was named, nothing."""
    with LLMServer() as server:
        env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.url, "MRENGINE_MODELS": ""}
        for command in (["run", "visit.txt", "--prompt", "x"], ["summarize", "visit.txt"]):
            assert "\nmodel: gpt-4o-mini, as none was named" in cli(*command, env=env).stderr
    assert "model:" not in cli("run", "visit.txt", *ASK).stderr


def test_an_unwritable_home_is_reported(cli: Any, tmp_path: Path) -> None:
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
        assert re.fullmatch(
            r"stopped: \d+ of 40 chunks, [\d.]+ s, [\d,]+ tokens, .+; job auto-\w+", told.splitlines()[-2]
        )
        assert "Traceback" not in told
        assert 4 <= server.stats().ok < 40
        done = cli(*options)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 40
        assert server.stats().paid_twice == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(:", "'own:f' cannot be imported: SyntaxError: invalid syntax (own.py, line 1)"),
        ("1 / 0", "'own:f' cannot be imported: ZeroDivisionError: division by zero"),
        ("f = 5", "'own:f' is of type int, not a function"),
        ("def f(chunk):\n    return 1", "the function of --map f(chunk) is called with (chunk, context): too many"),
    ],
)
def test_a_function_that_is_none_is_reported_before_the_work(cli: Any, tmp_path: Path, code: str, told: str) -> None:
    """In one line, as a mistake in the command; nothing is run."""
    (tmp_path / "own.py").write_text(code)
    done = cli("run", "visit.txt", "--map", "own:f", "--model", "fake")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"mrengine: {told}")


def test_a_reduce_that_fails_has_its_end_line(cli: Any, tmp_path: Path) -> None:
    """The chunks are done and paid for, and that is said before the error."""
    (tmp_path / "own.py").write_text("def broken(results):\n    raise KeyError('x')\n")
    done = cli("run", "visit.txt", *ASK, "--reduce", "own:broken")
    assert done.returncode == 1
    end, error = done.stderr.splitlines()[-2:]
    assert end.startswith("failed: 1 chunk, ")
    assert "KeyError" in error


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
