"""Real SDKs and the http provider against a real server: answers, every kind of fault, keys and text that stay
inside.
"""

from __future__ import annotations

import gc
import json
import logging
import time
import traceback
from typing import Any

import pytest

from mrengine.errors import (
    ContextOverflow,
    InvalidAnswer,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    RateLimited,
    TruncatedAnswer,
)
from mrengine.providers.call.answers import answer
from mrengine.testing import LLMServer
from tests.providers.conftest import KEY, ROADS, Connect, ask, persist

TRANSIENT = [
    ("408", ModelUnavailable),
    ("409", ModelUnavailable),
    ("429", RateLimited),
    ("500", ModelUnavailable),
    ("502", ModelUnavailable),
    ("503", ModelUnavailable),
    ("529", ModelUnavailable),
    ("drop", ModelUnavailable),
    ("reset", ModelUnavailable),
    ("truncate", ModelUnavailable),
    ("garbage", ModelUnavailable),
    ("non_json", ModelUnavailable),
    ("empty", ModelUnavailable),
    ("wrong_shape", ModelUnavailable),
]
FINAL = [("400", "chunk"), ("404", "model"), ("413", "chunk"), ("401", "model"), ("403", "model"), ("quota", "model")]

pytestmark = pytest.mark.parametrize("road", ROADS)


def test_an_answer_has_text_usage_model_and_reason(road: str, server: LLMServer, connected: Connect) -> None:
    """What a provider says of its answer arrives in one shape."""
    completion = connected(road).complete(ask("one two three"))
    assert completion.text.startswith("An answer to prompt")
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (3, len(completion.text.split()))
    assert (completion.model, completion.finish_reason) == ("model-1", "stop")
    assert completion.latency_ms > 0


def test_every_part_of_a_request_reaches_the_server(road: str, server: LLMServer, connected: Connect) -> None:
    """Prompt, system, temperature, max_tokens, params and turns are sent."""
    server.reset(record=1)
    provider = connected(road, params={"top_p": 0.5})
    turns = (("assistant", "so far"), ("user", "go on"))
    provider.complete(ask("the prompt", system="the system", temperature=0.25, max_tokens=77, turns=turns))
    body = server.requests()[0]["body"]
    messages = [(message["role"], message["content"]) for message in body["messages"]]
    if "anthropic" in road:
        assert body["system"] == "the system"
    else:
        assert messages.pop(0) == ("system", "the system")
    assert messages == [("user", "the prompt"), *turns]
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.25, 77, 0.5)


def test_odd_text_arrives_as_valid_utf8(road: str, server: LLMServer, connected: Connect) -> None:
    """NUL, a split surrogate pair and a lone surrogate: the pair is one character again, the lone one U+FFFD."""
    server.reset(record=1)
    connected(road).complete(ask("\0 é \ud83d\ude00 \udc80 end"))
    assert server.requests()[0]["body"]["messages"][-1]["content"] == "\0 é 😀 \ufffd end"


@pytest.mark.parametrize(("fault", "error"), TRANSIENT)
def test_a_transient_failure_is_one_and_is_tried_again(
    road: str, fault: str, error: type[ModelError], server: LLMServer, connected: Connect
) -> None:
    """Each fault is told as what it is, and the call succeeds after it; the server was asked just twice."""
    server.reset(script=[fault], retry_after_s=0.05)
    seen: list[ModelError] = []
    completion = persist(connected(road), on_retry=lambda failed, attempt, wait: seen.append(failed))
    assert completion.text.startswith("An answer")
    assert [type(failed) for failed in seen] == [error]
    assert seen[0].transient
    stats = server.stats()
    assert (stats.requests, stats.ok, stats.early) == (2, 1, 0)


@pytest.mark.parametrize(("fault", "scope"), FINAL)
def test_a_final_failure_ends_the_chunk_or_the_model_at_once(
    road: str, fault: str, scope: str, server: LLMServer, connected: Connect
) -> None:
    """400, 413 end the chunk; 401, 403, 404 and an empty account end the model; nothing is tried again."""
    server.reset(script=[fault])
    with pytest.raises(ModelRefused) as caught:
        persist(connected(road))
    assert caught.value.scope == scope
    assert caught.value.attempts == 1
    assert server.stats().requests == 1


def test_a_call_that_hangs_ends_in_time(road: str, server: LLMServer, connected: Connect) -> None:
    """A server that never answers costs the request's timeout, not more."""
    server.reset(script=["hang"])
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match="in time"):
        connected(road).complete(ask(timeout_s=0.2))
    assert time.monotonic() - started < 5


def test_no_server_at_all_is_unavailable_and_not_sent(road: str, server: LLMServer, connected: Connect) -> None:
    """A refused connection cannot have cost anything."""
    with pytest.raises(ModelUnavailable) as caught:
        connected(road, base_url="http://127.0.0.1:1/v1").complete(ask())
    assert not caught.value.sent


def test_retry_after_is_kept_to_the_millisecond(road: str, server: LLMServer, connected: Connect) -> None:
    """No retry comes earlier than told, and what was told is in the error."""
    server.reset(script=["429", "503", "529"], retry_after_s=0.15)
    told: list[float | None] = []
    persist(connected(road), on_retry=lambda failed, attempt, wait: told.append(failed.retry_after_s))
    stats = server.stats()
    assert told == [0.15] * 3
    assert stats.early == 0
    assert stats.span_s >= 0.45


def test_limits_in_headers_are_observed(road: str, server: LLMServer, connected: Connect) -> None:
    """x-ratelimit-* arrive with an answer and with a 429."""
    server.reset(tpm=6000, input_tokens=100)
    provider = connected(road)
    completion = provider.complete(ask(max_tokens=4000))
    assert completion.observed is not None
    assert completion.observed.limit_tokens == 6000
    assert 1900 <= (completion.observed.remaining_tokens or 0) <= 2000
    with pytest.raises(RateLimited) as caught:
        provider.complete(ask(max_tokens=4000))
    assert caught.value.observed is not None
    assert caught.value.observed.retry_after_s == caught.value.retry_after_s
    assert 15 < (caught.value.retry_after_s or 0) < 25


def test_an_unknown_model_ends_the_model(road: str, server: LLMServer, connected: Connect) -> None:
    """A 404 that names the model is final for the model, not for one chunk."""
    server.reset(models=["another"])
    with pytest.raises(ModelRefused) as caught:
        connected(road).complete(ask())
    assert (caught.value.status, caught.value.scope) == (404, "model")


def test_an_overflow_that_only_the_provider_saw_has_its_numbers(
    road: str, server: LLMServer, connected: Connect
) -> None:
    """The provider's own count decides; its numbers are read from its message, the prompt in it is not."""
    server.reset(context_window=500)
    with pytest.raises(ContextOverflow) as caught:
        connected(road).complete(ask("secret " * 400, max_tokens=200))
    assert (caught.value.context_window, caught.value.tokens) == (500, 600)
    assert "secret" not in str(caught.value)


def test_a_prompt_over_the_window_is_not_sent(road: str, server: LLMServer, connected: Connect) -> None:
    """With a known window the refusal comes before the request, with our count."""
    with pytest.raises(ContextOverflow) as caught:
        connected(road, context_window=100).complete(ask("many words " * 100, max_tokens=50))
    assert caught.value.context_window == 100
    assert caught.value.tokens >= 250
    assert server.stats().requests == 0


def test_a_schema_is_sent_natively_and_the_answer_validated(road: str, server: LLMServer, connected: Connect) -> None:
    """response_model becomes response_format or a forced tool, and a parsed value."""
    schema = {"type": "object", "properties": {"dose": {"type": "integer"}}, "required": ["dose"]}
    server.reset(record=1)
    completion = answer(connected(road).complete, ask(schema=schema), response_model=schema)
    body = server.requests()[0]["body"]
    assert ("tools" if "anthropic" in road else "response_format") in body
    assert completion.parsed == {"dose": 0}


def test_an_endpoint_without_schemas_is_asked_in_words(road: str, server: LLMServer, connected: Connect) -> None:
    """After one refusal of the parameter, this and all later prompts carry the schema themselves."""
    schema = {"type": "object", "properties": {"dose": {"type": "integer"}}}
    server.reset(record=3, native_schema=False, answer='{"dose": 4}')
    provider = connected(road)
    for _ in range(2):
        completion = answer(provider.complete, ask(schema=schema), response_model=schema)
        assert completion.parsed == {"dose": 4}
    bodies = [request["body"] for request in server.requests()]
    assert len(bodies) == 3
    assert "JSON Schema" in bodies[2]["messages"][-1]["content"]


def test_a_cut_answer_is_continued_to_the_whole(road: str, server: LLMServer, connected: Connect) -> None:
    """Parts of 10 words make the answer of 35, and all of them are paid for."""
    words = " ".join(f"w{number}" for number in range(35))
    server.reset(answer=words)
    completion = answer(connected(road).complete, ask(max_tokens=10), on_truncation="continue")
    assert completion.text == words
    assert completion.finish_reason == "stop"
    assert completion.usage.output_tokens == 35
    assert server.stats().requests == 4


def test_a_cut_structured_answer_is_continued_to_the_whole(road: str, server: LLMServer, connected: Connect) -> None:
    """Its parts are joined before they are validated; without leave to go on it is a TruncatedAnswer."""
    schema = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
    note = " ".join(f"w{number}" for number in range(25))
    server.reset(answer=json.dumps({"note": note}))
    asked = ask(max_tokens=10, schema=schema)
    whole = answer(connected(road).complete, asked, response_model=schema, on_truncation="continue")
    assert whole.parsed == {"note": note}
    with pytest.raises(TruncatedAnswer):
        answer(connected(road).complete, asked, response_model=schema)


def test_a_model_that_never_fits_ends_as_invalid(road: str, server: LLMServer, connected: Connect) -> None:
    """After three questions, with what they cost, and nothing of what it said."""
    schema = {"type": "object", "properties": {"dose": {"type": "integer"}}, "required": ["dose"]}
    server.reset(answer='{"dose": "a secret"}')
    with pytest.raises(InvalidAnswer, match='/dose: violates type "integer"') as caught:
        answer(connected(road).complete, ask(schema=schema), response_model=schema)
    assert server.stats().requests == 3
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens > 0
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_sent_and_shows_nowhere_else(
    road: str, server: LLMServer, connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors, their contexts and attributes, reprs and logs hold neither key nor prompt; the server does get the
    key.
    """
    caplog.set_level(logging.DEBUG, logger="mrengine")
    server.reset(api_key=KEY)
    provider = connected(road)
    prompt = "the patient's secret"
    assert provider.complete(ask(prompt)).text
    shown = [repr(provider), str(vars(provider)["_headers"]), repr(vars(provider)["_model"])]
    for fault in ("401", "400", "500", "429", "drop", "truncate", "non_json", "wrong_shape"):
        server.reset(api_key=KEY, script=[fault])
        with pytest.raises(ModelError) as caught:
            provider.complete(ask(prompt))
        shown += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
        shown += [str(value) for value in vars(caught.value).values()]
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    shown += [record.getMessage() for record in caplog.records if record.name.startswith("mrengine")]
    for text in shown:
        assert KEY not in text
        assert prompt not in text


def test_a_wrong_key_is_refused_without_showing_it(road: str, server: LLMServer, connected: Connect) -> None:
    """A server that repeats the key in its message does not get it into ours."""
    server.reset(api_key="another")
    with pytest.raises(ModelRefused, match="API key") as caught:
        connected(road).complete(ask())
    assert KEY not in repr(vars(caught.value)) + str(caught.value)


def test_an_endpoint_without_a_key_is_sent_none(road: str, server: LLMServer, connected: Connect) -> None:
    """Not even the stand-in that an SDK insists on; nor the vendor's own, wherever the SDK would find it."""
    server.reset(record=1)
    connected(road, api_key_env=None).complete(ask())
    assert not {"authorization", "x-api-key", "api-key"} & server.requests()[0]["headers"].keys()


def test_credentials_in_headers_replace_the_key(road: str, server: LLMServer, connected: Connect) -> None:
    """A gateway's token goes alone, under whatever name."""
    server.reset(record=1)
    connected(road, headers={"X-Api-Key": "token-of-a-gateway"}).complete(ask())
    sent = server.requests()[0]["headers"]
    assert sent["x-api-key"] == "token-of-a-gateway"
    assert KEY not in str(sent)


def test_expired_headers_are_asked_again_after_a_401(road: str, server: LLMServer, connected: Connect) -> None:
    """A callable gives headers once, and again only when the server says that they have expired."""
    asked: list[int] = []

    def headers() -> dict[str, str]:
        asked.append(1)
        token = "old" if len(asked) == 1 else "new"
        return {"Authorization": f"Bearer {token}", "X-Api-Key": token}

    server.reset(api_key="new")
    provider = connected(road, headers=headers, api_key_env=None)
    for _ in range(3):
        assert provider.complete(ask()).text
    assert len(asked) == 2
    assert server.stats().statuses == {"401": 1, "200": 3}


def test_headers_expand_variables_of_the_environment(
    road: str, server: LLMServer, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """${VAR} is read in the worker."""
    monkeypatch.setenv("TEAM", "blue")
    server.reset(record=1)
    connected(road, headers={"X-Team": "team-${TEAM}"}).complete(ask())
    assert server.requests()[0]["headers"]["x-team"] == "team-blue"


def test_many_threads_share_one_provider(road: str, server: LLMServer, connected: Connect) -> None:
    """Eight threads at once: each gets its own answer, over at most as many connections."""
    from concurrent.futures import ThreadPoolExecutor

    server.reset(latency_s=0.01)
    before = server.stats().connections
    provider = connected(road, slots=8)

    def one(number: int) -> Any:
        return provider.complete(ask(" ".join(["word"] * number))).usage.input_tokens == number

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(1, 65)))
    assert server.stats().connections - before <= 8
    gc.collect()
