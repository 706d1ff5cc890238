"""Providers of others: a class, and an installed package that nobody here has heard of, in a whole job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, collect, map_prompt
from mrengine.errors import ConfigError, JobFailed
from mrengine.records import Completion, Request, Usage

TEXT = "One line. " * 300
PACKAGE = """
from mrengine.providers import Completion, Request

class Upper:
    def __init__(self, spec):
        self.prefix = spec.params["prefix"]

    def complete(self, request: Request) -> Completion:
        return Completion(self.prefix + str(len(request.prompt)), model=request.model)

    def close(self) -> None:
        pass
"""
BUILD = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
"""
SETUP = """
[metadata]
name = lab-models
version = 1
[options]
py_modules = lab_models
[options.entry_points]
mrengine.providers =
    lab = lab_models:Upper
    broken = lab_models:Missing
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with entry points, installed by pip into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "lab_models.py").write_text(PACKAGE)
    (source / "setup.cfg").write_text(SETUP)
    (source / "pyproject.toml").write_text(BUILD)
    command = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    ]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, capture_output=True, timeout=100)
    return target


def test_an_installed_package_brings_a_provider(
    installed: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, in the workers too, with the spec's params."""
    monkeypatch.syspath_prepend(str(installed))
    spec = ModelSpec("their-model", provider="lab", params={"prefix": "lab "})
    run = MapReduceRunner(models=spec, workers=2, target_tokens=400).run(TEXT, map_prompt("$text"), collect)
    assert run.summary.failed_chunks == 0
    assert all(str(result.result).startswith("lab ") for result in run.results)
    with pytest.raises(ConfigError, match=r"'broken' \(lab_models:Missing\) cannot be loaded: AttributeError"):
        MapReduceRunner(models=ModelSpec("m", provider="broken")).run(TEXT, map_prompt("$text"), collect)
    with pytest.raises(ConfigError, match=r"there are openai, .*broken, lab"):
        MapReduceRunner(models=ModelSpec("m", provider="nobody")).run(TEXT, map_prompt("$text"), collect)


class Counting:
    """A provider by its class; one a worker, for all threads of it."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def complete(self, request: Request) -> Completion:
        return Completion(f"{id(self)} {request.timeout_s > 0}", usage=Usage(3, 1))

    def close(self) -> None:
        pass


class Wrong(Counting):
    def complete(self, request: Request) -> Any:
        return "just a text"


class Raises(Counting):
    def complete(self, request: Request) -> Completion:
        raise RuntimeError(f"about {request.prompt}")


class Unfinished:
    def complete(self, request: Request) -> Any:
        return None


def test_a_class_is_made_once_a_worker(state_dir: Path) -> None:
    """And its usage is counted like everybody's."""
    run = MapReduceRunner(models=ModelSpec("c", provider=Counting), workers=2, slots=4, target_tokens=400).run(
        TEXT, map_prompt("$text"), collect
    )
    makers = {(result.worker_id, str(result.result).split()[0]) for result in run.results}
    assert len(makers) == len({worker for worker, _ in makers})
    assert run.summary.usage["c"] == Usage(3 * run.summary.total_chunks, run.summary.total_chunks)


@pytest.mark.parametrize(
    ("provider", "told"), [(Wrong, "gave a str, not a Completion"), (Raises, "raised RuntimeError")]
)
def test_what_a_provider_does_wrong_is_reported(provider: Any, told: str, state_dir: Path) -> None:
    """As the failure of a chunk, without the prompt that its message repeats."""
    with pytest.raises(JobFailed, match=told) as caught:
        MapReduceRunner(models=ModelSpec("c", provider=provider), workers=1).run("One line.", map_prompt("$text"))
    assert "One line" not in str(caught.value)


def test_a_class_without_its_methods_is_a_config_error() -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=r"complete\(request\) and close\(\)"):
        MapReduceRunner(models=ModelSpec("c", provider=Unfinished)).run("x", map_prompt("$text"))


class Thinks:
    """Thinks aloud before each answer; the first time it does nothing else."""

    asked = 0

    def __init__(self, spec: ModelSpec) -> None:
        pass

    def complete(self, request: Request) -> Completion:
        Thinks.asked += 1
        answer = "" if Thinks.asked == 1 else "fine"
        return Completion(f"<think>hm</think>{answer}", usage=Usage(10, 4), model=request.model)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("reasoning", "text"), [("drop", "fine"), ("keep", "<think>\nhm\n</think>\n\nfine")])
def test_thoughts_are_no_answer_of_anybodys(reasoning: str, text: str, tmp_path: Path) -> None:
    """As of our own providers: they are left out, and alone they are asked for again, and paid for."""
    Thinks.asked = 0
    spec = ModelSpec("deep", provider=Thinks, reasoning=reasoning)
    runner = MapReduceRunner("j", models=spec, state_dir=tmp_path, strategy="sequential", backoff_s=0.01)
    run = runner.run("one", map_prompt("$text"), collect)
    assert run.result == [text]
    assert Thinks.asked == 2
    assert run.summary.usage["deep"].total_tokens == 28
