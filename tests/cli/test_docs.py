"""What the pages show is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/operations.md",
    "docs/design.md",
    "docs/log-format.md",
    "docs/providers.md",
)


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
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """All its examples, one after another, in a fresh process."""
    run(blocks("docs/tutorial.md"), tmp_path)


@pytest.mark.usefixtures("state_dir")
def test_the_examples_of_the_readme_run(tmp_path: Path) -> None:
    """With the model that needs no key."""
    (tmp_path / "records.txt").write_text("Fever on Monday. Cough on Tuesday. " * 30)
    code = blocks("README.md")
    assert "gpt-4o-mini" in code
    assert "100%" in run(code.replace("gpt-4o-mini", "fake"), tmp_path)


@pytest.mark.usefixtures("state_dir")
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """In a shell, as they stand, with the model that needs no key."""
    for name in ("report.txt", "notes.txt", "visits.jsonl"):
        (tmp_path / name).write_text("Fever on Monday.\nCough on Tuesday.\n")
    command = tmp_path / "bin" / "mrengine"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mrengine "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MRENGINE_MODELS": "fake"}
    done = subprocess.run(
        ["sh", "-e"], input=blocks("README.md", "sh"), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert sorted(entry.name for entry in (tmp_path / "summaries").iterdir()) == ["notes.md", "report.md"]
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 2
    assert '"chunks"' in done.stdout


def test_the_readme_gives_the_two_commands() -> None:
    """Exactly: .ci/run and a newcomer rely on them."""
    page = (ROOT / "README.md").read_text()
    assert "python -m pip install -e '.[local]' && mrengine summarize README.md" in page
    assert "python -m pip install tox && tox" in page


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """Those of the repository itself."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target
