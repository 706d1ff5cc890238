"""FakeContext: a map function is tested without a runner, and gives what a job would store."""

from __future__ import annotations

import datetime
import inspect
import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import mrengine
from mrengine import Chunk, Context, MapReduceRunner, Usage, map_prompt
from mrengine.errors import ConfigError, InvalidAnswer, InvalidResult, ModelUnavailable, TruncatedAnswer
from mrengine.testing import FakeContext, fake, fake_chunk


class Visit(BaseModel):
    day: datetime.date
    who: str = ""


@dataclass
class Found:
    words: int
    said: str


def find(chunk: Chunk, context: Context) -> Found:
    """As a user would annotate it."""
    completion = context.complete(f"Who? {chunk.fenced}", system="Be short", max_tokens=20)
    return Found(len(chunk.text.split()), completion.text)


def test_a_map_function_is_called_with_an_answer() -> None:
    """Its requests can be looked at, and its value is that of a job."""
    context = FakeContext("Ada")
    assert isinstance(context, Context)
    assert context.run(find, "three small words") == {"words": 3, "said": "Ada"}
    assert context.run(find, "three small words", result_type=Found) == Found(3, "Ada")
    request = context.requests[0]
    assert (request.system, request.max_tokens, request.chunk_id, request.document_id) == (
        "Be short",
        20,
        0,
        "document",
    )
    assert "three small words" in request.prompt


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("value", [(1, "a"), {"day": datetime.date(2024, 1, 1)}, Found(1, "x"), None, b"x"])
def test_the_value_is_the_one_of_a_job(value: Any) -> None:
    """Tuples are lists, dates are strings, as in every run."""
    run = MapReduceRunner(strategy="sequential").run("text", lambda chunk, context: value)
    assert FakeContext().run(lambda chunk, context: value, "text") == run.results[0].result


def test_the_answer_may_depend_on_the_request() -> None:
    """A callable, an exception, a model of fake(), or the fake model's own answer."""
    context = FakeContext(lambda request: request.prompt.upper(), model="gpt-4o", attempt=2, worker_id=3, job_id="j")
    assert context.complete("hi").text == "HI"
    assert (context.model, context.attempt, context.worker_id, context.job_id) == ("gpt-4o", 2, 3, "j")
    assert FakeContext(fake("yes", name="m")).complete("hi", model="other").text == "yes"
    assert FakeContext().complete("hi").text.startswith("An answer of the fake model")
    with pytest.raises(ModelUnavailable):
        FakeContext(lambda request: ModelUnavailable("gone")).complete("hi")


def test_structured_answers_are_validated_and_asked_again() -> None:
    """As a real call: parsed, two re-asks, and the error of the third."""
    said = json.dumps({"day": "2024-02-29"})
    prompt = map_prompt("When? $text", response_model=Visit)
    assert FakeContext(said).run(prompt, "text") == Visit(day=datetime.date(2024, 2, 29))
    assert isinstance(FakeContext().run(map_prompt("$text", response_model={"type": "string"}), "text"), str)
    context = FakeContext("no JSON")
    with pytest.raises(InvalidAnswer):
        context.run(prompt, "text")
    assert len(context.requests) == 3
    with pytest.raises(TruncatedAnswer):
        FakeContext("one two three").complete("hi", max_tokens=2)


def test_a_budget_is_granted_at_once() -> None:
    def own(_chunk: Chunk, context: Context) -> int:
        with context.budget(100, max_tokens=20) as grant:
            grant.used(Usage(90, 10))
        return grant.granted

    context = FakeContext()
    assert context.run(own, "text") == 120
    assert context.grants[0].usage == Usage(90, 10)
    with pytest.raises(ConfigError):
        context.run(lambda chunk, c: c.budget(-1).__enter__(), "text")


def test_what_a_job_could_not_store_is_an_error() -> None:
    """And what is no result_type; wrong arguments of complete() are those of a real one."""
    with pytest.raises(TypeError, match="object"):
        FakeContext().run(lambda chunk, context: object(), "text")
    with pytest.raises(InvalidResult, match="Found"):
        FakeContext().run(lambda chunk, context: {"words": 1}, "text", result_type=Found)
    with pytest.raises(ConfigError, match="max_tokens"):
        FakeContext().complete("hi", max_tokens=0)


def test_a_chunk_of_ones_own() -> None:
    chunk = fake_chunk("more text", id=3, document_id="visit", start=10, overlap=5)
    assert (chunk.id, chunk.start, chunk.end, chunk.overlap, chunk.tokens) == (3, 10, 14, 5, 2)
    assert FakeContext().run(lambda c, _: [c.id, c.document_id, c.text], chunk) == [3, "visit", "more text"]
    assert mrengine.Context is Context


@pytest.mark.parametrize("name", [name for name in vars(Context) if not name.startswith("_")])
def test_its_methods_take_what_those_of_a_real_context_take(name: str) -> None:
    """A map function that passes its tests must not fail for an argument that only one of the two knows."""
    fake_one, real_one = getattr(FakeContext, name), getattr(Context, name)
    assert name in vars(FakeContext)  # overridden: the real one would look for services that a fake has not
    if not isinstance(real_one, property):
        assert inspect.signature(fake_one) == inspect.signature(real_one)
