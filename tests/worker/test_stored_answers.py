"""Durable calls, as a map function sees them: what is taken from the log, and what is asked anew."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from mrengine import MapReduceRunner, ModelSpec
from mrengine.errors import JobFailed
from mrengine.log.file.call_index import CallIndex
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.outputs.run_result import RunResult
from mrengine.providers.call.structured import schema_of
from mrengine.providers.models.model import resolve_models
from mrengine.records import Request
from mrengine.testing.llm_server import LLMServer
from mrengine.worker.stored_answers import StoredCalls, call_digest, owner_of
from tests.system.forked import Host

pytestmark = pytest.mark.usefixtures("state_dir")
MapFn = Callable[[Any, Any], Any]


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


class Number(BaseModel):
    n: int


class Even(BaseModel):  # the same schema; its validator refuses more
    n: int
    model_config = {"title": "Number"}

    @field_validator("n")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value


def in_turn(*answers: str) -> Callable[[str], str]:
    """Answers one after another, whatever is asked."""
    left = list(answers)
    return lambda prompt: left.pop(0)


def run(map_fn: MapFn, models: Any, documents: Any = "one", **settings: Any) -> RunResult:
    """One run of the job; whatever differs from its earlier runs, what fits is kept."""
    settings = {"strategy": "sequential", "on_mismatch": "recompute", "target_tokens": None, **settings}
    return MapReduceRunner("j", models=models, **settings).run(documents, map_fn)


def broken(map_fn: MapFn, models: Any, documents: Any = "one", **settings: Any) -> None:
    """A run whose map function raises after its calls."""

    def raising(chunk: Any, context: Any) -> None:
        map_fn(chunk, context)
        raise KeyError("a slip in the parsing")

    with pytest.raises(JobFailed):
        run(raising, models, documents, **settings)


def test_who_asks_the_same_thrice_gets_three_answers_and_the_same_three_later(server: LLMServer) -> None:
    """Samples: the n-th call takes the n-th answer, whatever was durable by then."""
    server.reset(answer=in_turn("answer 0", "answer 1", "answer 2"))
    model = f"{server.url}#m"

    def samples(chunk: Any, context: Any) -> list[str]:
        return [context.complete("Q " + chunk.text, temperature=1.0).text for _ in range(3)]

    broken(samples, model)
    assert server.stats().requests == 3
    again = run(samples, model)
    assert again.results[0].result == ["answer 0", "answer 1", "answer 2"]
    assert again.summary.reused_calls == 3
    assert server.stats().requests == 3


def test_chunks_with_the_same_text_are_asked_each_in_one_run_and_none_in_the_next(server: LLMServer) -> None:
    """What a result is does not depend on which of two equal chunks was faster."""
    documents, model = [("same"), ("same")], f"{server.url}#m"
    broken(lambda chunk, context: context.complete("Q " + chunk.text), model, documents)
    assert server.stats().requests == 2
    assert run(lambda chunk, context: context.complete("Q " + chunk.text), model, documents).summary.reused_calls == 2
    assert server.stats().requests == 2


def test_reuse_false_asks_again_and_is_not_stored(server: LLMServer) -> None:
    """Neither taken from the log nor put there for others."""
    model = f"{server.url}#m"
    broken(lambda chunk, context: context.complete("Q", reuse=False), model)
    assert run(lambda chunk, context: context.complete("Q"), model).summary.reused_calls == 0
    run(lambda chunk, context: [context.complete("Q", reuse=False).text, 1], model)
    assert server.stats().requests == 3


@pytest.mark.parametrize("fault", ["400", "empty"])
def test_a_call_that_failed_is_not_stored(server: LLMServer, fault: str) -> None:
    """The next run asks again, and only what failed."""
    server.reset(script=[fault])
    documents, model = ["a", "b"], f"{server.url}#m"

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete("Q " + chunk.text).text)

    first = run(ask, model, documents, backoff_s=0.01)
    again = run(ask, model, documents)
    assert [len(first.failures), len(again.failures)] in ([1, 0], [0, 0])
    assert again.summary.resumed_chunks == 2 - len(first.failures)
    assert server.stats().requests == 3


def test_an_answer_that_had_to_be_asked_again_is_stored_and_the_wrong_one_is_not(server: LLMServer) -> None:
    """The re-ask was paid for; the next run takes its answer alone."""
    server.reset(answer=in_turn("no number", '{"n": 1}'))
    model = f"{server.url}#m"

    def ask(chunk: Any, context: Any) -> Any:
        return context.complete("Q", response_model=Number)

    broken(ask, model)
    asked = server.stats().requests
    assert run(ask, model).results[0].result == {"n": 1}
    assert server.stats().requests == asked


def test_a_stored_answer_that_a_new_validator_refuses_is_asked_for_again(server: LLMServer) -> None:
    """Else the chunk would fail in every run, from the log."""
    server.reset(answer=in_turn('{"n": 1}', '{"n": 2}'))
    model = f"{server.url}#m"
    assert schema_of(Even) == schema_of(Number)
    broken(lambda chunk, context: context.complete("Q", response_model=Number), model)
    again = run(lambda chunk, context: context.complete("Q", response_model=Even), model)
    assert again.results[0].result == {"n": 2}


def test_a_cut_answer_that_was_allowed_is_not_taken_for_a_whole_one(server: LLMServer) -> None:
    """on_truncation is no part of what names a call."""
    server.reset(answer="a long answer of many words")
    model = f"{server.url}#m"
    broken(lambda chunk, context: context.complete("Q", max_tokens=2, on_truncation="allow"), model)
    asked = server.stats().requests
    run(lambda chunk, context: context.complete("Q", max_tokens=2, on_truncation="allow").text, model)
    assert server.stats().requests == asked
    with pytest.raises(JobFailed, match="max_tokens"):
        run(lambda chunk, context: context.complete("Q", max_tokens=2), model)
    assert server.stats().requests == asked + 1


def test_the_answer_of_a_model_that_stood_in_is_found_again(server: LLMServer) -> None:
    """And only as that: asked for by its own name, the model is asked."""
    server.reset(models=["second"])
    second = ModelSpec(f"{server.url}#second")
    models = [ModelSpec(f"{server.url}#first", fallbacks=(second,))]
    broken(lambda chunk, context: context.complete("Q"), models)
    answered = server.stats().ok
    again = run(lambda chunk, context: context.complete("Q"), models)
    assert again.summary.reused_calls == 1
    assert server.stats().ok == answered == 1
    run(lambda chunk, context: context.complete("Q"), [second])
    assert server.stats().ok == 2


@pytest.mark.parametrize("ask_in", ["the task", "a thread of map_fn"])
def test_a_crash_between_two_calls_of_a_chunk_costs_nothing_without_processes_too(
    server: LLMServer, ask_in: str
) -> None:
    """strategy="sequential": an answer is durable before map_fn has it, and an intent stands before the call."""
    model = f"{server.url}#m"

    def twice(chunk: Any, context: Any) -> str:
        def ask(name: str) -> str:
            return str(context.complete(f"{name} {chunk.text}").text)

        def first() -> None:
            ask("first")

        if ask_in == "the task":
            first()
        else:
            thread = threading.Thread(target=first)
            thread.start()
            thread.join()
        if not os.path.exists(os.environ["MRENGINE_STATE_DIR"] + "/again"):
            os.kill(os.getpid(), signal.SIGKILL)
        return ask("second")

    Host(lambda say: run(twice, model)).finish()
    assert server.stats().requests == 1
    Path(os.environ["MRENGINE_STATE_DIR"], "again").touch()
    assert run(twice, model).summary.reused_calls == 1
    assert server.stats().requests == 2


def test_everything_that_an_answer_depends_on_names_the_call() -> None:
    """Model, parameters, prompt, system, schema, chunk, and how manieth of its like."""
    request = Request("m", "p", "s", 10, 0.5, {"a": 1, "b": 2}, 0, "d", 1)
    base = call_digest("m", request, "text")
    assert base == call_digest("m", Request("m", "p", "s", 10, 0.5, {"b": 2, "a": 1}, 7, "e", 3), "text")
    others = [
        call_digest("n", request, "text"),
        call_digest(["m", "n"], request, "text"),
        call_digest("m", request, "texts"),
        call_digest("m", request, "text", 1),
        *(
            call_digest("m", Request("m", *fields, 0, "d", 1), "text")
            for fields in [
                ("q", "s", 10, 0.5, {"a": 1, "b": 2}),
                ("p", None, 10, 0.5, {"a": 1, "b": 2}),
                ("p", "s", 11, 0.5, {"a": 1, "b": 2}),
                ("p", "s", 10, None, {"a": 1, "b": 2}),
                ("p", "s", 10, 0.5, None),
            ]
        ),
    ]
    assert len({base, *others}) == len(others) + 1


def test_a_stored_answer_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    """Damage costs a call, not the chunk."""
    WriteAheadLog.create(tmp_path / "log", "j").close()
    index = CallIndex()
    index.add(bytes(16), 5000)
    with LogReader(tmp_path / "log") as reader:
        assert StoredCalls(reader, index, run_began=0).find(bytes(16), chunk=0, attempt=1) is None


def owner(key: str = "one", **spec: object) -> bytes:
    facts = {"provider": "http", "base_url": "https://llm.example/v1", "api_key_env": "LLM_KEY", **spec}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_KEY", key)
        return owner_of(resolve_models(ModelSpec("m", **facts)))  # type: ignore[arg-type]


def test_the_same_endpoint_and_key_are_one_owner_and_the_digest_shows_neither() -> None:
    """Also in another process."""
    assert owner() == owner()
    assert len(owner()) == 16
    assert b"one" not in owner()


def test_another_key_address_or_header_is_another_owner() -> None:
    """An answer must not pass from one account to another."""
    others = [
        owner("two"),
        owner(base_url="https://other.example/v1"),
        owner(headers={"X-Team": "a"}),
        owner(headers={"X-Team": "b"}),
    ]
    assert len({owner(), *others}) == 5


def test_headers_that_cannot_be_made_belong_to_nobody() -> None:
    """Nothing is shared with a call whose credentials are unknown."""

    def broken() -> dict[str, str]:
        raise RuntimeError("no token")

    assert owner(headers=broken) != owner(headers=broken)
