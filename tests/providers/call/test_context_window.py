"""Context windows: told by servers, checked before sending."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from mrengine import MapReduceRunner, map_prompt, tree_reduce
from mrengine.errors import ContextOverflow
from mrengine.providers.call.context_window import ask_windows, check, room_beside, size
from mrengine.providers.connect import connect
from mrengine.providers.http.client import HttpClient
from mrengine.providers.models.model import resolve_models
from mrengine.records import ModelSpec, Request
from mrengine.testing import LLMServer
from tests.providers.conftest import ROADS, Connect, ask


def test_what_surely_fits_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is a byte at least: no tokenizer is loaded for short prompts."""
    monkeypatch.setattr("mrengine.chunking.tokens.tokenizer.count", lambda text: pytest.fail("counted"))
    check(ask("é" * 400, max_tokens=100), name="m", window=900)
    with pytest.raises(pytest.fail.Exception):
        check(ask("é" * 401, max_tokens=100), name="m", window=900)


def test_tokens_decide_where_bytes_leave_a_doubt() -> None:
    """The error has our count, the answer's room included, and the window."""
    request = ask("hello world " * 100, system="be brief", turns=(("assistant", "a"), ("user", "b")), max_tokens=50)
    assert size(request) == 1200 + 8 + 2
    check(request, name="m", window=300)
    with pytest.raises(ContextOverflow, match="m: 25[0-9] tokens") as caught:  # noqa: RUF043
        check(request, name="m", window=200)
    assert caught.value.context_window == 200
    assert "hello" not in str(caught.value)


def test_a_schema_takes_room() -> None:
    """However it is told: as a parameter, as a tool, in words."""
    schema = {"type": "object", "description": "word " * 400}
    plain = Request("m", "hello", max_tokens=10)
    check(plain, name="m", window=300)
    with pytest.raises(ContextOverflow):
        check(replace(plain, schema=schema), name="m", window=300)
    assert room_beside(plain) == 0
    assert room_beside(replace(plain, schema=schema, turns=(("user", "a"),))) > 2000


@pytest.mark.parametrize("road", ROADS)
def test_a_server_tells_its_window_to_the_host_and_to_the_worker(
    road: str, server: LLMServer, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/v1/models, max_model_len; asked once, with the key, and only for long prompts."""
    monkeypatch.setenv("CANARY", "sk-canary-1")
    server.reset(context_window=5000, models=["model-1"])
    base = server.root if "anthropic" in road else server.url
    (model,) = resolve_models(ModelSpec("model-1", provider=road, base_url=base))
    assert model.context_window is None
    assert ask_windows((model,)) == [5000]
    provider = connected(road)
    provider.complete(ask("short"))
    for _ in range(2):
        with pytest.raises(ContextOverflow) as caught:
            provider.complete(ask("a word " * 6000))
        assert caught.value.context_window == 5000
    assert server.stats().requests == 1


def test_a_server_that_does_not_tell_is_no_error(server: LLMServer) -> None:
    """Nor one that is not there: the window stays unknown, and long prompts are sent."""
    known = resolve_models(f"{server.url}#any")
    assert ask_windows(known) == []
    provider = connect(known[0])
    assert provider.complete(ask("a word " * 6000)).text
    provider.close()
    assert ask_windows(resolve_models("http://127.0.0.1:1/v1#any")) == []


def test_models_that_are_known_or_not_remote_are_not_asked() -> None:
    """No traffic for a window that the spec or the table tells, nor to vendors, who do not tell."""
    models = resolve_models(
        ["fake", ModelSpec("x", base_url="http://127.0.0.1:1/v1", context_window=7), "gpt-new"],
        env={"OPENAI_API_KEY": "k"},
    )
    with mock.patch.object(HttpClient, "send", side_effect=AssertionError):
        assert ask_windows(models) == []


def test_chunks_are_cut_to_what_the_server_holds(state_dir: Path) -> None:
    """With no size given. The job needs nobody to tell it again: it is done also when the server is gone."""
    words = " ".join(f"word{number}" for number in range(6000))
    with LLMServer(context_window=3000) as server:
        runner = MapReduceRunner(models=ModelSpec("m", base_url=server.url), workers=2)
        run = runner.run(words, map_prompt("Sum up: $text"), tree_reduce("Join: $text"), job_id="small")
        assert run.summary.failed_chunks == 0
        assert run.summary.total_chunks > 6
        url = server.url
    again = MapReduceRunner(models=ModelSpec("m", base_url=url), workers=2)
    second = again.run(words, map_prompt("Sum up: $text"), tree_reduce("Join: $text"), job_id="small")
    assert second.result == run.result
    assert second.summary.processed_chunks == 0
