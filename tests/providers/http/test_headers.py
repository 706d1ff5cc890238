"""Headers and keys: where they come from, when they are asked again."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path

import pytest

from mrengine import MapReduceRunner, map_prompt
from mrengine.errors import ConfigError, ModelError, ModelRefused, ModelUnavailable
from mrengine.providers.http.client import Response
from mrengine.providers.http.headers import Headers
from mrengine.providers.models.model import resolve_models
from mrengine.records import ModelSpec
from mrengine.testing import LLMServer


def headers(spec: ModelSpec, env: dict[str, str] | None = None) -> Headers:
    (model,) = resolve_models(spec, env=env or {})
    return Headers(model, env=env or {})


def test_each_shape_carries_its_key() -> None:
    """A bearer token or x-api-key; an SDK gets the key itself; none where there is no key."""
    env = {"K": "secret"}
    url = "http://h:1/v1"
    assert headers(ModelSpec("m", base_url=url, api_key_env="K"), env).current == {"authorization": "Bearer secret"}
    anthropic = headers(ModelSpec("m", provider="http:anthropic", base_url=url, api_key_env="K"), env).current
    assert anthropic["x-api-key"] == "secret"
    sdk = headers(ModelSpec("m", provider="openai", base_url=url, api_key_env="K"), env)
    assert (sdk.current, sdk.key) == ({}, "secret")
    assert headers(ModelSpec("m", base_url=url)).current == {}


def test_the_specs_headers_win_over_the_key() -> None:
    """Whatever their case."""
    given = headers(
        ModelSpec("m", base_url="http://h:1", api_key_env="K", headers={"Authorization": "Basic x"}), {"K": "s"}
    )
    assert given.current == {"authorization": "Basic x"}


def test_a_variable_that_is_missing_is_named() -> None:
    """Before any call."""
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE"):
        headers(ModelSpec("m", base_url="http://h:1", headers={"x": "a ${NO_SUCH_VARIABLE} b"}))


def test_many_threads_that_meet_the_same_401_renew_once() -> None:
    """The first asks, the others use its answer."""
    asked: list[int] = []

    def fresh() -> dict[str, str]:
        asked.append(1)
        return {"authorization": str(len(asked))}

    given = headers(ModelSpec("m", base_url="http://h:1", headers=fresh))
    refused = threading.Barrier(20)
    answers: list[int] = []

    def call() -> None:
        statuses = iter((401, 200))

        def send() -> Response:
            status = next(statuses)
            if status == 401:
                refused.wait(60)
            return Response(status, {}, b"")

        answers.append(given.renewed(send).status)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    assert len(asked) == 2
    assert given.current == {"authorization": "2"}


def test_headers_without_a_callable_are_not_sent_again() -> None:
    """The same key would be refused again."""
    sent: list[int] = []
    given = headers(ModelSpec("m", base_url="http://h:1", headers={"authorization": "1"}))
    assert given.renewed(lambda: sent.append(1) or Response(401, {}, b"")).status == 401
    assert sent == [1]


def test_a_repr_shows_the_model_only() -> None:
    """No header, no key."""
    assert repr(headers(ModelSpec("m", base_url="http://h:1", api_key_env="K"), {"K": "s3cret"})) == "Headers('m')"


@pytest.mark.parametrize("name", ["openai", "anthropic", "http:openai", "http:anthropic"])
@pytest.mark.parametrize("own", ["authorization", "X-Api-Key", "Api-Key"])
def test_credentials_of_the_callers_own_are_the_only_ones(name: str, own: str) -> None:
    """A gateway's token, under whatever name, goes without the vendor's key beside it."""
    spec = ModelSpec("m", provider=name, base_url="http://h:1", api_key_env="K", headers={own: "token"})
    given = headers(spec, {"K": "s3cret"})
    assert "s3cret" not in repr(given.current)
    assert given.current[own.lower()] == "token"
    assert given.key is None or given.key not in given.current.values()


def test_the_line_break_at_the_end_of_a_secret_is_dropped() -> None:
    """Files of secrets end with one."""
    spec = ModelSpec("m", base_url="http://h:1", api_key_env="K", headers={"x": "${T}"})
    assert headers(spec, {"K": "key\n", "T": "token\r\n"}).current == {"authorization": "Bearer key", "x": "token"}


@pytest.mark.parametrize("given", [{"x": "a\r\nb: c"}, {"x": "é"}, {"x": 1}, ["x"], {"a\nb": "c"}])
def test_what_no_header_can_hold_is_a_config_error(given: object) -> None:
    """It names the model, before any call, and shows no value."""
    with pytest.raises(ConfigError, match="headers of m") as caught:
        headers(ModelSpec("m", base_url="http://h:1", headers=lambda: given))  # type: ignore[arg-type, return-value]
    assert "b: c" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind"), [(ConnectionResetError(), ModelUnavailable), (KeyError("sk-canary"), ModelRefused)]
)
def test_a_callable_that_raises_is_reported_without_what_it_said(raised: Exception, kind: type[ModelError]) -> None:
    """A token server that is away is tried again; a mistake ends the model. Nothing was sent."""

    def broken() -> dict[str, str]:
        raise raised

    with pytest.raises(kind) as caught:
        headers(ModelSpec("m", base_url="http://h:1", headers=broken))
    assert caught.value.sent is False
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_token_server_that_comes_back_costs_no_chunk(server: LLMServer, state_dir: Path) -> None:
    """The provider is made in the retry loop."""
    asked: list[int] = []

    def token() -> dict[str, str]:
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionRefusedError
        return {"authorization": "Bearer right"}

    server.reset(api_key="right")
    spec = ModelSpec("m", base_url=server.url, headers=token, context_window=8000)
    runner = MapReduceRunner(models=spec, strategy="sequential", backoff_s=0.01)
    assert runner.run("A text.", map_prompt("$text")).summary.failed_chunks == 0
    assert server.stats().statuses == {"200": 1}
