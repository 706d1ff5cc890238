"""jobs, show, cancel, export, verify, purge, prune: a job's life after its run."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, map_prompt
from mrengine.cli.output import rounded
from mrengine.testing.llm_server import LLMServer


@pytest.fixture
def job(cli: Any) -> str:
    """A finished one."""
    options = ["--prompt", "x $text", "--model", "fake", "--job-id", "j1", "--target-tokens", "200"]
    assert cli("run", "visit.txt", *options).returncode == 0
    return "j1"


def test_jobs_are_listed_shown_and_exported(cli: Any, job: str, state_dir: Path) -> None:
    """For people and as JSON."""
    header, line = cli("jobs").stdout.splitlines()
    assert header.split() == ["JOB", "STATE", "CHUNKS", "SIZE", "CHANGED", "MODEL", "SOURCE", "PROMPT"]
    assert re.match(r"j1 +done +(\d+)/\1 +[\d.]+ kB .* fake +visit.txt +x \$text$", line)
    shown = json.loads(cli("show", job, "--json").stdout)
    assert shown["done"] == shown["total"] > 1
    page = cli("show", job).stdout
    assert f"{shown['total']} done" in page
    rows = dict(re.findall(r"^([a-z ]+): +(.*)$", page, re.MULTILINE))
    assert (rows["model"], rows["source"], rows["prompt"]) == ("fake", "visit.txt", "x $text")
    assert rows["folder"] == str(state_dir / "jobs" / job) == shown["folder"]
    used = shown["usage"]
    assert rows["tokens"].startswith(f"{used['input_tokens'] + used['output_tokens']:,}: ")
    assert shown["size_bytes"] > 1000
    records = [json.loads(line) for line in cli("export", job).stdout.splitlines()]
    assert [record["chunk_id"] for record in records] == list(range(shown["total"]))


def test_failures_are_shown_with_what_the_model_had_said(cli: Any, tmp_path: Path) -> None:
    """For people, and as JSON; the run itself keeps quiet about it."""
    (tmp_path / "s.json").write_text(json.dumps({"type": "object", "required": ["dose"]}))
    with LLMServer(answer="I do not know.\nSorry.") as server:
        options = ["--prompt", "x $text", "--model", f"{server.url}#m", "--job-id", "j2", "--schema", "s.json"]
        ran = cli("run", "visit.txt", *options)
    assert ran.returncode != 0
    assert "Sorry" not in ran.stdout + ran.stderr
    shown = cli("show", "j2", "--failures").stdout
    assert shown.count("InvalidAnswer") == 1
    assert "answer 1 of 1:\n    I do not know.\n    Sorry.\n" in shown
    record = json.loads(cli("show", "j2", "--failures", "--json").stdout)
    assert record["answers"] == ["I do not know.\nSorry."]


def test_an_id_may_be_shortened_to_what_no_other_begins_with(cli: Any, job: str) -> None:
    """Wherever one is taken; where it is not enough, those that begin so are named, and nothing is done."""
    for name in ("visits-1", "visits-2", "visits"):
        MapReduceRunner(name, models="fake", workers=1).run("A text.", map_prompt("x $text"))
    for command in ("show", "export", "verify", "cancel", "uncancel", "resume"):
        several = cli(command, "visits-")
        assert several.returncode == 2
        assert "2 jobs begin with 'visits-': visits-1, visits-2" in several.stderr
    assert cli("verify", "j").returncode == 0
    assert cli("show", "visits").stdout.startswith("job:       visits\n")
    purged = cli("purge", "nope", "visits-2", "none", "j")
    assert purged.returncode == 1
    assert "purged visits-2\n" in purged.stderr
    assert "no job 'nope'" in purged.stderr
    assert "no job 'none'" in purged.stderr.splitlines()[-1]
    left = [json.loads(line)["job_id"] for line in cli("jobs", "--json").stdout.splitlines()]
    assert left == ["visits-1", "visits"]


def test_a_shell_completes_jobs_and_models(cli: Any, job: str) -> None:
    """As --help says; where nothing can be listed it hears of no error."""

    def completed(*words: str, **env: str) -> list[str]:
        told = {"_MRENGINE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        code = "import sys; sys.argv[0] = 'mrengine'; from mrengine.__main__ import main; main()"
        done = cli("-c", code, module=False, env={**told, **env})
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert completed("mrengine", "show", "j") == [job]
    assert completed("mrengine", "purge", "x", "") == [job]
    assert completed("mrengine", "show", "j", MRENGINE_STATE_DIR="/dev/null") == []
    assert "gpt-4o-mini" in completed("mrengine", "run", "a.txt", "--model", "gpt-4o")
    assert "_MRENGINE_COMPLETE=bash_source mrengine" in cli("--help").stdout


def test_what_is_done_is_not_cancelled(cli: Any, job: str) -> None:
    """It is said, and nothing changed; costs are printed without the noise of binary fractions."""
    assert "nothing to cancel" in cli("cancel", job).stderr
    assert json.loads(cli("show", job, "--json").stdout)["state"] == "done"
    assert "may run again" in cli("uncancel", job).stderr
    assert rounded(0.0052111499999999995) == 0.00521115


def test_verify_names_what_is_damaged(cli: Any, job: str, state_dir: Path) -> None:
    """Exit code 1, and where."""
    assert cli("verify", job).returncode == 0
    log = state_dir / "jobs" / job / "log"
    damaged = bytearray(log.read_bytes())
    place = damaged.index(b"An answer of the fake model") + 5
    damaged[place] ^= 0xFF
    log.write_bytes(damaged)
    broken = cli("verify", job, "--json")
    assert broken.returncode == 1
    ((start, stop),) = json.loads(broken.stdout)["damage"]
    assert start <= place < stop
    assert f"damaged: bytes {start} to {stop}" in cli("verify", job).stdout


def test_prune_removes_what_is_old_and_purge_what_is_named(cli: Any, job: str, state_dir: Path) -> None:
    """A dry run only says which."""
    assert cli("prune", "--older-than", "30d").stdout == ""
    long_ago = time.time() - 31 * 86400
    os.utime(state_dir / "jobs" / job / "log", (long_ago, long_ago))
    assert cli("prune", "--older-than", "30d", "--dry-run").stdout == f"{job}\n"
    assert cli("prune", "--older-than", "30d").stdout == f"{job}\n"
    assert cli("jobs").stdout == ""
    assert cli("purge", job).returncode == 1


def test_a_running_job_is_busy_followed_and_cancelled(
    cli: Any, answered: Callable[[LLMServer, int], None], tmp_path: Path
) -> None:
    """5 for the second run and for purge; 4 for the cancelled one, and for runs after it, until uncancel."""
    (tmp_path / "lines.txt").write_text("".join(f"line {i}\n" for i in range(60)))
    with LLMServer(latency_s=1.0) as server:
        options = ["run", "lines.txt", "--each-line", "--prompt", "Say $text", "--model", f"{server.url}#m"]
        options += ["--job-id", "slow", "--workers", "2"]
        process = cli(*options, start=True)
        answered(server, 2)
        follower = cli("show", "slow", "--follow", "--json", start=True)
        reader = cli("show", "slow", "--follow", start=True)
        told = ""
        while not re.search(r"\n\d\d:\d\d:\d\d \d+/60 chunks.* tokens/s", told):
            told += reader.stdout.readline() or pytest.fail(f"it ended after: {told}")
        busy = cli(*options)
        assert (busy.returncode, busy.stdout) == (5, "")
        assert cli("purge", "slow").returncode == 5
        assert cli("cancel", "slow").returncode == 0
        process.communicate(timeout=30)
        assert process.returncode == 4
        states = [json.loads(line)["state"] for line in follower.communicate(timeout=30)[0].splitlines()]
        told += reader.communicate(timeout=30)[0]
        assert told.startswith("job:       slow\nstate:     running")
        assert "state:     cancelled" in told
        assert states[0] == "running"
        assert states[-1] == "cancelled"
        again = cli(*options)
        assert again.returncode == 4
        assert "mrengine uncancel slow" in again.stderr
        assert cli("uncancel", "slow").returncode == 0
        server.reset(latency_s=0.0)
        assert cli(*options).returncode == 0
