"""What the pages show is what happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine.jobs import list_jobs

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str = "python") -> str:
    """The examples of a page, one after another."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


def run(code: str, folder: Path) -> str:
    """What a script with this code prints."""
    script = folder / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=100, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.usefixtures("state_dir")
def test_the_page_on_summaries_runs_as_it_stands(tmp_path: Path) -> None:
    run(blocks("docs/summaries.md"), tmp_path)


@pytest.mark.usefixtures("state_dir")
def test_the_page_on_seeing_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_packages: Callable[..., None]
) -> None:
    """Its examples need a file and a model, and leave what they say: statistics, an export, a job to show."""
    require_packages("opentelemetry.sdk", "prometheus_client")
    monkeypatch.setenv("MRENGINE_MODELS", "fake")
    (tmp_path / "notes.txt").write_text("The patient slept well. " * 50)
    told = run(blocks("docs/seeing.md"), tmp_path)
    assert "p95" in told
    exported = json.loads((tmp_path / "profile.json").read_text())
    assert {"read", "cut", "call", "map function", "commit", "prepare"} <= set(exported["statistics"])
    assert any(name.endswith("parse") for name in exported["statistics"])


@pytest.fixture
def shell(tmp_path: Path, state_dir: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run lines in sh, in a copy of ``examples``, where ``mrengine`` is this one."""
    command = tmp_path / "bin" / "mrengine"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mrengine "$@"\n')
    command.chmod(0o755)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MRENGINE_STATE_DIR": str(state_dir)}

    def run(lines: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-e"], input=lines, env={**env, **more}, cwd=tmp_path / "examples", capture_output=True, text=True,
            timeout=100,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.system)])
def test_the_tutorial_runs_as_it_stands_and_again_when_purged(
    tmp_path: Path, state_dir: Path, shell: Any, times: int
) -> None:
    """All its examples, one after another, in a fresh process; purged by the line that it gives."""
    (line,) = re.findall("`(mrengine purge .*)`", (ROOT / "docs/tutorial.md").read_text())
    for _ in range(times):
        run(blocks("docs/tutorial.md"), tmp_path)
        purged = shell(line)
        assert purged.returncode == 0, purged.stderr
        assert not {job.job_id for job in list_jobs(state_dir)} & set(line.split())


@pytest.mark.usefixtures("state_dir")
def test_the_examples_of_the_readme_run(tmp_path: Path, require_packages: Callable[..., None]) -> None:
    """As they stand, without a key, a network or a file."""
    require_packages("pandas")
    told = run(blocks("README.md"), tmp_path)
    assert "100%" in told
    assert "visit-0 " in told


def test_the_commands_of_the_readme_run(shell: Any, tmp_path: Path) -> None:
    """In a shell, over the texts that are shipped, with a model that needs no key."""
    done = shell(blocks("README.md", "sh"), MRENGINE_MODELS="fake")
    assert done.returncode == 0, done.stderr
    examples = tmp_path / "examples"
    assert sorted(entry.name for entry in (examples / "summaries").iterdir()) == ["notes.md", "report.md"]
    assert len((examples / "records.jsonl").read_text().splitlines()) == 3
    assert "\nchunks: " in done.stdout
    assert '"chunks"' in done.stdout
    assert "\nJOB " in done.stdout


def test_the_first_command_prints_what_the_readme_says(shell: Any) -> None:
    """The embedded model is deterministic at temperature 0; the facts are the same where a CPU rounds otherwise."""
    pytest.importorskip("xllamacpp")
    page = (ROOT / "README.md").read_text()
    assert "mrengine summarize examples/report.txt" in page
    said = " ".join("".join(re.findall(r"^>(.*)$", page, re.MULTILINE)).split())
    outputs = [shell(f"mrengine summarize report.txt --model local --job-id {name}").stdout for name in "ab"]
    assert outputs[0] == outputs[1]
    for fact in ("ferry between the island and the mainland", "cancelled", "Tuesday", "storm"):
        assert fact in said
        assert fact in outputs[0]


def test_the_readme_gives_the_two_commands() -> None:
    """Exactly: .ci/run and a newcomer rely on them. A clone comes first, and users install no tree."""
    page = (ROOT / "README.md").read_text()
    assert "python -m pip install -e '.[local]' && mrengine summarize README.md" in page
    assert "python -m pip install tox && tox" in page
    assert page.index("git clone ") < page.index("python -m pip install '.[local]'") < page.index("install -e")
