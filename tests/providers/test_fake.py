"""The fake provider: keyed by the request, the same in every process and order."""

from __future__ import annotations

import cloudpickle
import pytest

from mrengine.errors import ModelUnavailable, RateLimited
from mrengine.providers import Provider
from mrengine.providers.call.answers import answer
from mrengine.providers.connect import connect
from mrengine.providers.models.model import resolve_models
from mrengine.records import Completion, ModelSpec, Request
from mrengine.testing import fake


def made(spec: str | ModelSpec) -> Provider:
    (model,) = resolve_models(spec, env={})
    return connect(cloudpickle.loads(cloudpickle.dumps(model)))


def test_the_plain_fake_answers_by_the_prompt_alone() -> None:
    """The same prompt, the same answer; another, another."""
    one, other = made("fake"), made("fake")
    first = one.complete(Request("fake", "a prompt"))
    assert first == other.complete(Request("fake", "a prompt"))
    assert first.text != one.complete(Request("fake", "b prompt")).text
    assert first.usage.input_tokens == 2
    assert isinstance(one, Provider)


def test_an_answer_is_a_text_a_function_or_an_exception() -> None:
    """A function sees the request; an exception that it returns is raised."""
    assert made(fake("always")).complete(Request("fake", "x")).text == "always"
    provider = made(
        fake(lambda r: RateLimited("slow") if r.attempt == 1 else f"{r.chunk_id}: {r.prompt.upper()}", name="f")
    )
    with pytest.raises(RateLimited):
        provider.complete(Request("f", "x", chunk_id=3))
    completion = provider.complete(Request("f", "x", chunk_id=3, attempt=2))
    assert (completion.text, completion.model) == ("3: X", "f")
    whole = Completion("as it is", finish_reason="length")
    assert made(fake(lambda r: whole)).complete(Request("fake", "x")) == whole


def test_it_cuts_at_max_tokens_and_answers_schemas() -> None:
    """As a real model would, so that both can be tested without a server."""
    completion = made(fake("one two three")).complete(Request("fake", "x", max_tokens=2))
    assert (completion.text, completion.finish_reason, completion.usage.output_tokens) == ("one two", "length", 2)
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    request = Request("fake", "x", schema=schema)
    assert answer(made("fake").complete, request, response_model=schema).parsed == {"n": 3}


def test_latency_ends_at_the_timeout() -> None:
    """A fake that is too slow for the call is unavailable, as a server would be."""
    with pytest.raises(ModelUnavailable):
        made(fake("x", latency_s=5)).complete(Request("fake", "x", timeout_s=0.01))
    assert made(fake("x", latency_s=0.01)).complete(Request("fake", "x")).text == "x"
