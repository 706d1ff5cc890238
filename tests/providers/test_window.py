"""Context windows: told by servers, checked before sending."""

from __future__ import annotations

import time

import pytest

from mrengine.errors import ContextOverflow
from mrengine.providers.connect import connect
from mrengine.providers.models import resolve_models
from mrengine.providers.window import check, size, with_windows
from mrengine.records import ModelSpec
from mrengine.testing import LLMServer
from tests.providers.conftest import Connect, ask


def test_what_surely_fits_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is a byte at least: no tokenizer is loaded for short prompts."""
    monkeypatch.setattr("mrengine.chunking.tokens.count", lambda text: pytest.fail("counted"))
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


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_a_server_tells_its_window_to_the_host_and_to_the_worker(
    shape: str, server: LLMServer, connected: Connect
) -> None:
    """/v1/models, max_model_len; asked once, and only for long prompts."""
    server.reset(context_window=5000, models=["model-1"])
    base = server.url if shape == "openai" else server.root
    models = resolve_models(ModelSpec("model-1", provider=f"http:{shape}", base_url=base))
    assert models[0].context_window is None
    assert with_windows(models)[0].context_window == 5000
    provider = connect(models[0])
    provider.complete(ask("short"))
    for _ in range(2):
        with pytest.raises(ContextOverflow) as caught:
            provider.complete(ask("a word " * 6000))
        assert caught.value.context_window == 5000
    provider.close()
    assert server.stats().requests == 1


def test_a_server_that_does_not_tell_is_no_error(server: LLMServer) -> None:
    """Nor one that is not there: the window stays unknown, and long prompts are sent."""
    (known,) = with_windows(resolve_models(f"{server.url}#any"))
    assert known.context_window is None
    provider = connect(known)
    assert provider.complete(ask("a word " * 6000)).text
    provider.close()
    started = time.monotonic()
    (unknown,) = with_windows(resolve_models("http://127.0.0.1:1/v1#any"))
    assert unknown.context_window is None
    assert time.monotonic() - started < 5


def test_models_that_are_known_or_not_remote_are_not_asked() -> None:
    """No traffic for a window that the spec or the table tells."""
    models = resolve_models(["fake", ModelSpec("x", base_url="http://127.0.0.1:1/v1", context_window=7)])
    assert with_windows(models) == models
