"""Calls that a map function makes with a client of its own: real SDKs, a real server, both backends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mrengine import Budget, Job, MapReduceRunner, ModelSpec, Retry
from mrengine.errors import BudgetExhausted, JobFailed
from mrengine.records import Price, Usage
from mrengine.testing import LLMServer

TEXT = "The patient slept well. The fever fell on Tuesday. Nothing else was seen. " * 12
pytestmark = pytest.mark.usefixtures("state_dir")


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def server(shared: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    shared.reset(input_tokens=80)
    monkeypatch.setenv("OWN_URL", shared.url)
    return shared


@pytest.fixture(params=["parallel", "sequential"])
def make(request: pytest.FixtureRequest, server: LLMServer) -> Any:
    def build(**settings: Any) -> MapReduceRunner:
        spec = ModelSpec("own", base_url=server.url, price=Price(1.0, 2.0))
        return MapReduceRunner(
            models=spec, strategy=request.param, **{"workers": 1, "target_tokens": 60, "overlap_tokens": 0, **settings}
        )

    return build


def call(chunk: Any, context: Any, *, reserve: int = 100, tell: bool = True) -> str:
    """A map function with the OpenAI SDK."""
    import os

    import openai

    client = openai.OpenAI(api_key="none", base_url=os.environ["OWN_URL"], max_retries=0)
    with context.budget(reserve) as grant:
        answer = client.chat.completions.create(model="own", messages=[{"role": "user", "content": chunk.text}])
        if tell:
            grant.used(answer)
    return str(answer.choices[0].message.content)


def test_its_usage_is_counted_like_that_of_our_own(make: Any, server: LLMServer) -> None:
    """In results and summary, with its cost, and in the log."""
    run = make().run(TEXT, call, job_id="own")
    stats = server.stats()
    assert run.summary.processed_chunks == stats.requests > 2
    used = run.summary.usage["own"]
    assert used.input_tokens == 80 * stats.requests
    assert used == sum((result.usage for result in run.results), Usage())
    assert run.summary.cost_usd == pytest.approx(Price(1.0, 2.0).cost(used))
    assert Job("own").status().cost_usd == pytest.approx(run.summary.cost_usd)


def test_it_never_exceeds_the_budget_over_several_runs(make: Any, server: LLMServer) -> None:
    """What is not told counts as it was reserved, and the log remembers it."""

    def silent(chunk: Any, context: Any) -> str:
        return call(chunk, context, tell=False)

    for _ in range(2):
        with pytest.raises(BudgetExhausted):
            make(budget=Budget(max_tokens=350)).run(TEXT, silent, job_id="capped")
        assert server.stats().requests == 3


def test_what_was_turned_away_is_given_back(make: Any, server: LLMServer) -> None:
    """The client's own exception says so; the others count as they were reserved."""
    import openai

    server.reset(input_tokens=80, script=["429", "429", "500"])

    def again(chunk: Any, context: Any) -> str:
        try:
            return call(chunk, context)
        except openai.APIStatusError as error:
            raise Retry("later", after_s=0.01) from error

    run = make(target_tokens=2000, max_attempts=5).run("A short text.", again)
    assert run.summary.usage["own"].input_tokens == 100 + 80


def test_a_wrong_usage_is_reported(make: Any, server: LLMServer) -> None:
    """As the failure of its chunk, by its type."""

    def wrong(chunk: Any, context: Any) -> None:
        with context.budget(10) as grant:
            grant.used("a secret answer")

    with pytest.raises(JobFailed, match=r"not str") as caught:
        make().run("A short text.", wrong)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"prompt": b"x"}, "prompt is a str, not of type bytes"), ({"system": 3}, "system is a str"),
     ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": True}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"),
     ({"temperature": float("nan")}, "temperature"), ({"temperature": "hot"}, "temperature"),
     ({"on_truncation": "maybe"}, "'error', 'allow', 'continue'"), ({"model": "gpt-7"}, "the job has no model 'gpt-7'"),
     ({"response_model": 5}, "JSON schema")],
)  # fmt: skip
def test_what_no_model_can_be_asked_is_reported(asked: Any, told: str, server: LLMServer) -> None:
    """Before anything is sent."""

    def ask(chunk: Any, context: Any) -> Any:
        return context.complete(**({"prompt": "Tell me."} | asked)).text

    runner = MapReduceRunner(models=f"{server.url}#m", strategy="sequential")
    with pytest.raises(JobFailed, match=told):
        runner.run("A short text.", ask)
    assert server.stats().requests == 0


def test_no_model_is_asked_for_more_than_it_can_say(server: LLMServer) -> None:
    """Its provider would refuse the whole call."""
    server.reset(record=1)
    runner = MapReduceRunner(models=ModelSpec("m", base_url=server.url, max_output=50), strategy="sequential")
    runner.run("A short text.", lambda chunk, context: context.complete(chunk.text, max_tokens=900).text)
    assert server.requests()[0]["body"]["max_tokens"] == 50
