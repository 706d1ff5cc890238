"""models: what can be named, and what is set up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mrengine.cli.model_commands import ROWS
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
def test_the_names_that_are_told_are_understood(row: tuple[str, str, str]) -> None:
    """By the library, with the key that is told."""
    for pattern in row[0].split(", "):
        (model,) = resolve_models(pattern.replace("*", "x"), env={row[2]: "k"})
        assert model.key_env == row[2]
