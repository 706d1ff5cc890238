"""The test server's batch APIs: the vendors' own SDKs take them, and a test moves their clock through every state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mrengine.testing import BatchRules, LLMServer

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def slow(**rules: Any) -> BatchRules:
    """Only ``advance()`` moves the clock."""
    return BatchRules(**{"speed": 0, "validating_s": 10, "work_s": 100, "finalizing_s": 10, **rules})


class OpenAIShape:
    def __init__(self, server: LLMServer) -> None:
        self.client = openai.OpenAI(base_url=server.url, api_key="k", max_retries=0)

    def create(self, prompts: list[str], **fields: Any) -> Any:
        lines = [
            {
                "custom_id": f"id-{at}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "any", "max_tokens": 20, "messages": [{"role": "user", "content": prompt}]},
            }
            for at, prompt in enumerate(prompts)
        ]
        data = "\n".join(map(json.dumps, lines)).encode()
        file = self.client.files.create(file=("in.jsonl", data), purpose="batch")
        return self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"job": "j"}
        )

    def lines(self, name: str | None) -> dict[str, Any]:
        if name is None:
            return {}
        text = self.client.files.content(name).text
        return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


def test_openais_sdk_takes_a_batch_through_its_states(shared: LLMServer) -> None:
    """validating → in_progress → finalizing → completed; successes and failures stand in two files."""
    shared.reset(batches=slow(statuses=lambda prompt: 400 if "three" in prompt else None))
    side = OpenAIShape(shared)
    batch = side.create(["one", "two", "three", "four"])
    seen = [batch.status]
    for seconds in (10, 50, 50, 10):
        shared.advance(seconds)
        seen.append(side.client.batches.retrieve(batch.id).status)
    assert seen == ["validating", "in_progress", "in_progress", "finalizing", "completed"]
    batch = side.client.batches.retrieve(batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed, batch.metadata) == (3, 1, {"job": "j"})
    good, errors = side.lines(batch.output_file_id), side.lines(batch.error_file_id)
    assert sorted(good) == ["id-0", "id-1", "id-3"]
    assert list(errors) == ["id-2"]
    assert errors["id-2"]["response"]["status_code"] == 400
    assert [one.id for one in side.client.batches.list()] == [batch.id]
    assert shared.stats().batched == 3


def test_a_batch_that_expires_or_is_cancelled_keeps_what_it_has_done(shared: LLMServer) -> None:
    """Half of the work is done and billed; the rest stands in the error file of an expired one."""
    shared.reset(batches=slow(window_s=60))
    side = OpenAIShape(shared)
    expired = side.create([f"prompt {n}" for n in range(10)])
    shared.advance(61)
    expired = side.client.batches.retrieve(expired.id)
    assert expired.status == "expired"
    codes = {line["error"]["code"] for line in side.lines(expired.error_file_id).values()}
    assert (len(side.lines(expired.output_file_id)), codes) == (5, {"batch_expired"})
    shared.reset(batches=slow(cancelling_s=10))
    cancelled = side.create([f"prompt {n}" for n in range(10)])
    shared.advance(60)
    assert side.client.batches.cancel(cancelled.id).status == "cancelling"
    shared.advance(1000)
    cancelled = side.client.batches.retrieve(cancelled.id)
    assert (cancelled.status, len(side.lines(cancelled.output_file_id))) == ("cancelled", 5)
    assert shared.stats().batched == 5


def test_too_many_enqueued_tokens_and_lost_answers(shared: LLMServer) -> None:
    """The limit fails the batch in validation; a create whose answer is lost has created it all the same."""
    shared.reset(batches=slow(enqueued_tokens=5, create=["ok", "ok", "lost", "dropped"]))
    side = OpenAIShape(shared)
    first, second = side.create(["one two three"]), side.create(["one two three"])
    shared.advance(10)
    assert side.client.batches.retrieve(first.id).status == "in_progress"
    failed = side.client.batches.retrieve(second.id)
    assert (failed.status, failed.errors.data[0].code) == ("failed", "token_limit_exceeded")
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError):
            side.create(["one"])
    assert len(shared.batches()) == 3


def test_anthropics_sdk_takes_a_batch_through_its_states(shared: LLMServer) -> None:
    """in_progress → ended, canceling → ended; results in any order, each with its own end."""
    shared.reset(batches=slow(statuses=lambda prompt: 529 if "two" in prompt else None, cancelling_s=5))
    client = anthropic.Anthropic(base_url=shared.root, api_key="k", max_retries=0)
    requests = [
        {
            "custom_id": f"id-{at}",
            "params": {"model": "any", "max_tokens": 9, "messages": [{"role": "user", "content": prompt}]},
        }
        for at, prompt in enumerate(["one", "two", "three", "four"])
    ]
    batch = client.messages.batches.create(requests=requests)
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 4)
    shared.advance(60)
    assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
    shared.advance(5)
    batch = client.messages.batches.retrieve(batch.id)
    counts = batch.request_counts
    assert (batch.processing_status, counts.succeeded, counts.errored, counts.canceled) == ("ended", 1, 1, 2)
    results = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
    assert {name: result.type for name, result in results.items()} == {
        "id-0": "succeeded",
        "id-1": "errored",
        "id-2": "canceled",
        "id-3": "canceled",
    }
    assert results["id-0"].message.usage.input_tokens == 1
    assert [one.id for one in client.messages.batches.list()] == [batch.id]
