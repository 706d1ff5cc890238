"""models: what can be named, and what is set up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mrengine.cli.model_commands import ROWS
from mrengine.providers.models import catalog
from mrengine.providers.models.model import resolve_models


def test_models_tells_that_a_key_is_set_and_never_the_key(cli: Any) -> None:
    """Neither for people nor as JSON."""
    done = cli("models", "--json", env={"ANTHROPIC_API_KEY": "sk-secret-value"})
    rows = {row["provider"]: row["state"] for row in map(json.loads, done.stdout.splitlines())}
    assert rows["Anthropic"] == "ANTHROPIC_API_KEY is set, through anthropic"
    assert rows["OpenAI"] == "OPENAI_API_KEY is not set, through openai"
    assert rows["Google"] == "GEMINI_API_KEY is not set, without an SDK"
    assert "claude" in done.stderr
    assert "sk-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("row", [row for row in ROWS if row[2]])
def test_the_names_that_are_reported_are_understood(row: tuple[str, str, str]) -> None:
    """By the library, with the key that is told."""
    for pattern in row[0].split(", "):
        (model,) = resolve_models(pattern.replace("*", "x"), env={row[2]: "k"})
        assert model.key_env == row[2]


def test_models_shows_what_is_known(cli: Any, tmp_path: Path) -> None:
    """With the day and the sources, and what the caller's own file says."""
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"sources": ["a contract"], "models": {"mine": {"price": [1.0, 2.0]}}}))
    plain = cli("models")
    (row,) = [line.split() for line in plain.stdout.splitlines() if line.startswith("claude-opus-4-5 ")]
    assert row[1:] == ["200000", "64000", "5", "25", "0.5", "6.25", "10", "0.5"]
    assert catalog.date() in plain.stdout
    assert "https://platform.claude.com/docs/en/about-claude/pricing" in plain.stdout
    own = cli("models", "--price-file", str(file))
    assert "a contract" in own.stdout
    assert "mine *" in own.stdout
    rows = {row["names"]: row for row in map(json.loads, cli("models", "--json").stdout.splitlines())}
    assert rows["claude-opus-4-5"]["price"]["cache_write"] == 6.25
