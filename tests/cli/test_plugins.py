"""Models of other packages on the command line: named by their provider, listed, resumed by the job's id."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
from mrengine.records import Completion, Usage

class Upper:
    def __init__(self, spec):
        self.name = spec.name

    def complete(self, request):
        said = f"{self.name}/{request.model} of {len(request.prompt)}"
        return Completion(said, usage=Usage(5, 2), model=request.model)

    def close(self):
        pass
"""
ENTRIES = "[mrengine.providers]\nlab = lab_models:Upper\nbroken = lab_models:Missing\n"


@pytest.fixture
def lab(cli: Any, tmp_path: Path) -> Any:
    """The command line where the package lab-models 2.1 is installed."""
    site = tmp_path / "site"
    info = site / "lab_models-2.1.dist-info"
    info.mkdir(parents=True)
    (site / "lab_models.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-models\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    path = os.pathsep.join([str(ROOT), str(site), os.environ.get("PYTHONPATH", "")])
    return lambda *args: cli(*args, env={"PYTHONPATH": path})


def test_models_lists_the_plugins(lab: Any) -> None:
    """With the package that brings them; one that cannot be loaded says why and breaks nothing."""
    done = lab("models", "--json")
    rows = {row["names"]: (row["provider"], row["state"]) for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0
    assert rows["lab, lab:MODEL"] == ("plugin lab-models 2.1", "ready")
    assert "cannot be loaded" in rows["broken, broken:MODEL"][1]
    assert "lab, lab:MODEL" in lab("models").stdout


def test_a_plugin_model_is_named_by_its_provider(lab: Any) -> None:
    """In --model, with limits and a price of its own, in a dry run, and when the job goes on by its id."""
    options = ["run", "visit.txt", "--prompt", "Say $text", "--model", "lab:large", "--job-id", "j"]
    dry = lab(*options, "--price", "lab:large=1:2", "--dry-run", "--json")
    assert json.loads(dry.stdout)["cost_usd"] > 0
    done = lab(*options, "--limits", "lab:large:tpm=600000", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["result"].startswith("large/large of")
    assert record["model"] == "large"
    again = lab("resume", "j", "--json")
    assert (again.returncode, json.loads(again.stdout)["result"]) == (0, record["result"])
    assert lab("run", "visit.txt", "--prompt", "x", "--model", "lab").stdout.startswith("lab/lab of")


def test_an_unknown_model_names_the_plugins(lab: Any) -> None:
    done = lab("run", "visit.txt", "--prompt", "x", "--model", "acme:large")
    assert done.returncode == 2
    assert "lab:NAME" in done.stderr
