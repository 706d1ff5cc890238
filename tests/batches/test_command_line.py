"""The nightly command and the morning one: what they print, their exit codes, and what show and cancel say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mrengine import Job
from mrengine.cli import main
from mrengine.testing import BatchRules, LLMServer


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


class Shell:
    def __init__(self, folder: Path, server: LLMServer) -> None:
        self.folder, self.model = folder, f"{server.url}#any"
        (folder / "visits.txt").write_text("one\ntwo\nthree\n")

    def __call__(self, *words: str) -> Any:
        return CliRunner().invoke(main, [*words, "--state-dir", str(self.folder)])

    def night(self, *more: str) -> Any:
        source = str(self.folder / "visits.txt")
        what = [
            "--each-line",
            "--prompt",
            "Sum up: $text",
            "--model",
            self.model,
            "--price",
            "1:2",
            "--job-id",
            "night",
        ]
        return self("run", source, *what, *more)


@pytest.fixture
def shell(tmp_path: Path, shared: LLMServer) -> Shell:
    shared.reset(batches=BatchRules(work_s=10, speed=0), prices={"": {"input": 1.0, "output": 2.0}})
    return Shell(tmp_path, shared)


def test_the_nightly_job_and_the_morning_one(shell: Shell, shared: LLMServer) -> None:
    """Nothing lives between them; the results come once, in the morning."""
    night = shell.night("--batch", "--detach")
    assert (night.exit_code, night.stdout) == (0, "")
    assert "3 requests to any" in night.stderr
    assert "'mrengine resume night' collects" in night.stderr
    shown = shell("show", "night")
    assert "waiting" in shown.stdout
    assert "batch_2: 3 requests to any, since" in shown.stdout
    early = shell("resume", "night", "--detach", "--price", "1:2")
    assert (early.exit_code, early.stdout) == (6, "")
    shared.advance(20)
    morning = shell("resume", "night", "--json", "--price", "1:2")
    assert morning.exit_code == 0
    assert len([json.loads(line) for line in morning.stdout.splitlines()]) == 3
    assert "done: 3 chunks" in morning.stderr
    stats, status = shared.stats(), Job("night", state_dir=shell.folder).status()
    assert (stats.batched, stats.ok) == (3, 3)
    assert status.cost_usd == pytest.approx(stats.billed_usd)


def test_cancel_ends_what_is_under_way_and_keeps_what_is_done(shell: Shell, shared: LLMServer) -> None:
    """Though nobody runs the job, and the command knows no price."""
    assert shell.night("--batch", "--detach").exit_code == 0
    shared.advance(7)
    cancelled = shell("cancel", "night")
    assert cancelled.exit_code == 0
    assert "is cancelled" in cancelled.stderr
    assert shared.batches()[0]["state"] == "cancelled"
    stats, status = shared.stats(), Job("night", state_dir=shell.folder).status()
    assert stats.batched == 2
    assert (status.state, status.cost_usd) == ("cancelled", pytest.approx(stats.billed_usd))


def test_a_dry_run_shows_both_prices(shell: Shell) -> None:
    """For people and for programs."""
    told = shell.night("--dry-run").stdout
    assert "in batches (--batch)" in told
    facts = json.loads(shell.night("--dry-run", "--json").stdout)
    assert facts["batch_cost_usd"] == pytest.approx(facts["cost_usd"] / 2, rel=0.01)
