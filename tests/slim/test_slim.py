"""Without SDKs, rich and click: what works all the same, and what is said where it does not (``tox -e slim``)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrengine import Document, MapReduceRunner, ModelSpec, collect, map_prompt, safe_chunk
from mrengine.errors import ConfigError
from mrengine.testing import LLMServer

LEFT_OUT = ("openai", "anthropic", "httpx2", "pydantic", "click", "rich")
if present := [name for name in LEFT_OUT if importlib.util.find_spec(name) is not None]:
    pytest.skip(f"{', '.join(present)} is installed: tox -e slim", allow_module_level=True)

TEXT = "The patient takes 40 mg of the drug. " * 400
SCHEMA = {"type": "object", "properties": {"dose": {"type": "integer"}}, "required": ["dose"]}


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(record=5) as server:
        yield server


@pytest.fixture(autouse=True)
def _vendors(server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-anthropic")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)


def test_documents_are_cut() -> None:
    """The tokenizer is there."""
    assert "".join(chunk.text[chunk.overlap :] for chunk in safe_chunk(TEXT, target_tokens=500)) == TEXT


def test_the_fake_model_runs_a_whole_job(state_dir: Path) -> None:
    """Supervisor, workers, budget and log."""
    runner = MapReduceRunner(models="fake", workers=2, target_tokens=500)
    for resumed in (False, True):
        summary = runner.run(TEXT, map_prompt("Doses in: $text"), collect, job_id="slim").summary
        assert summary.failed_chunks == 0
        assert (summary.resumed_chunks > 1) is resumed


@pytest.mark.parametrize("name", ["gpt-4o-mini", "claude-haiku-4-5", "{url}#any"])
def test_models_are_reached_without_an_sdk(name: str, server: LLMServer, state_dir: Path) -> None:
    """With ``provider="http"`` or by an address, with the key of each; a schema is validated without pydantic."""
    server.reset(record=1)
    model = ModelSpec(name.format(url=server.url), provider="http")
    runner = MapReduceRunner(models=model, workers=2, target_tokens=500)
    run = runner.run(TEXT, map_prompt("Dose: $text", response_model=SCHEMA), collect)
    assert run.summary.failed_chunks == 0
    assert {tuple(result.result) for result in run.results} == {("dose",)}
    if not name.startswith("{"):
        assert "sk-canary-" in str(server.requests()[0]["headers"])


@pytest.mark.parametrize(("name", "sdk"), [("gpt-4o-mini", "openai"), ("claude-haiku-4-5", "anthropic")])
def test_a_model_whose_sdk_is_missing_says_so(name: str, sdk: str, server: LLMServer, state_dir: Path) -> None:
    """Before anything is started, with both ways out; an estimate needs no client."""
    server.reset(record=1)
    runner = MapReduceRunner(models=name, workers=2, target_tokens=500)
    assert runner.estimate(TEXT, map_prompt("Dose: $text")).calls > 1
    with pytest.raises(ConfigError, match=f'pip install {sdk};.*provider="http"'):
        runner.run(TEXT, map_prompt("Dose: $text"), collect)
    assert server.requests() == []


@pytest.mark.parametrize(
    "command", [["-m", "mrengine", "summarize", "x"], ["-c", "from mrengine.__main__ import main; main()"]]
)
def test_the_command_line_says_what_it_needs(command: list[str]) -> None:
    """One line, with the way out, and the code of a usage error."""
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert "pip install click" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_bar_that_was_asked_for_says_what_it_needs(state_dir: Path) -> None:
    """By default there is none, and nothing is said."""
    runner = MapReduceRunner(models="fake", progress=True)
    with pytest.raises(ConfigError, match="pip install rich"):
        runner.run([Document("a", TEXT)], map_prompt("$text"), collect)
