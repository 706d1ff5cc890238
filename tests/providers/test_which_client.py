"""Which client speaks: by the name, as a server sees it in whole jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, map_prompt
from mrengine.testing import LLMServer


@pytest.fixture(scope="module")
def server() -> Any:
    with LLMServer(record=5) as server:
        yield server


@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("gpt-4o-mini", "OpenAI/Python"),
        ("o4-mini", "OpenAI/Python"),
        ("claude-haiku-4-5", "Anthropic/Python"),
        (ModelSpec("gpt-4o-mini", provider="http"), None),
        (ModelSpec("claude-haiku-4-5", provider="http"), None),
        ("{url}#gpt-4o-mini", None),
        ("{url}#any", None),
    ],
    ids=str,
)
def test_a_name_goes_by_its_sdk_and_an_address_straight(
    model: str | ModelSpec, agent: str | None, server: LLMServer, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDKs name themselves to the server; the workers' client is the same with and without them."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)
    server.reset(record=5)
    given = model.format(url=server.url) if isinstance(model, str) else model
    run = MapReduceRunner(models=given, workers=1).run("A short text.", map_prompt("Repeat: $text"))
    assert run.summary.failed_chunks == 0
    (request,) = server.requests()
    headers = {name.lower(): value for name, value in request["headers"].items()}
    if agent is None:
        assert not [name for name in headers if name.startswith("x-stainless")]
        assert "/Python" not in headers.get("user-agent", "")
    else:
        assert headers["user-agent"].startswith(agent)
