"""The test server itself: it behaves as told, counts right, and never outlives its test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.testing import LLMServer
from mrengine.testing.behaviour import Behaviour, Bucket, Simulator


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def server(shared: LLMServer) -> LLMServer:
    shared.reset()
    return shared


def post(
    server: LLMServer, prompt: str = "hi there", path: str = "/v1/chat/completions", **fields: Any
) -> tuple[int, Any]:
    body = {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": 10, **fields}
    request = urllib.request.Request(server.root + path, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers)


def test_it_speaks_both_shapes_and_lists_models(server: LLMServer) -> None:
    """The same answer in either shape."""
    server.reset(answer="forty two", models=["any"], context_window=99)
    _, chat = post(server)
    _, message = post(server, path="/v1/messages")
    assert chat["choices"][0]["message"]["content"] == message["content"][0]["text"] == "forty two"
    assert chat["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    with urllib.request.urlopen(server.url + "/models", timeout=10) as response:
        assert json.load(response)["data"][0] == {"id": "any", "object": "model", "max_model_len": 99}


def test_it_counts_what_it_was_asked_and_how_often_the_same(server: LLMServer) -> None:
    """Three requests, two of them the same and both paid."""
    for prompt in ("a", "a", "b"):
        post(server, prompt)
    stats = server.stats()
    assert (stats.requests, stats.ok, stats.distinct, stats.paid_twice) == (3, 3, 2, 1)
    assert stats.statuses == {"200": 3}
    assert stats.models == {"any": 3}
    assert stats.span_s > 0


def test_a_script_is_followed_in_order(server: LLMServer) -> None:
    """Faults first, as listed; then none."""
    server.reset(script=["429", "ok", "500"], retry_after_s=0.5)
    answers = [post(server) for _ in range(4)]
    assert [status for status, _ in answers] == [429, 200, 500, 200]
    assert answers[0][1]["retry-after"] == "0.5"


def test_a_retry_that_comes_too_early_is_counted(server: LLMServer) -> None:
    """Per request: another one may come at any time."""
    server.reset(script=["429"], retry_after_s=5.0)
    post(server, "a")
    post(server, "b")
    assert server.stats().early == 0
    post(server, "a")
    assert server.stats().early == 1


def test_a_limit_is_enforced_with_headers(server: LLMServer) -> None:
    """110 tokens a call, 250 a minute: two calls, then 429 with the time that is missing."""
    server.reset(tpm=250, input_tokens=100)
    assert [post(server)[0] for _ in range(3)] == [200, 200, 429]
    _, headers = post(server)
    assert 18 < float(headers["retry-after"]) <= 19.2
    assert headers["x-ratelimit-limit-tokens"] == "250"
    assert server.stats().rate_limited == 2


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(1, 100)), max_size=60))
def test_a_bucket_never_gives_more_than_its_rule(steps: list[tuple[float, float]]) -> None:
    """In any window grants sum to at most the capacity and what refills."""
    now, taken = 0.0, []
    bucket = Bucket(100, now)
    for pause, amount in steps:
        now += pause
        if bucket.wait_s(amount, now) == 0:
            bucket.take(amount)
            taken.append((now, amount))
    for index, (start, _) in enumerate(taken):
        for end, _ in taken[index:]:
            window = sum(amount for at, amount in taken if start <= at <= end)
            assert window <= 100 + (end - start) * 100 / 60 + 1e-6


def test_faults_come_as_often_as_told_and_again_with_the_same_seed() -> None:
    """The same seed, the same faults; another seed, others."""

    def faults(seed: int) -> list[int]:
        simulator = Simulator(Behaviour(faults={"500": 0.2, "429": 0.1}, seed=seed), 0.0)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        return [simulator.decide("/v1/chat/completions", {}, body, float(n)).status for n in range(1000)]

    first = faults(1)
    assert first == faults(1) != faults(2)
    assert 140 < first.count(500) < 260
    assert 60 < first.count(429) < 140


@pytest.mark.parametrize("options", [{"chunked": True}, {"interim": True}])
def test_framings_of_all_kinds_are_valid_http(server: LLMServer, options: dict[str, bool]) -> None:
    """Our own reader takes them: chunks with extensions and trailers, interim answers."""
    from mrengine.providers.connect import connect
    from mrengine.providers.models.model import resolve_models
    from mrengine.records import Request

    server.reset(answer="fine", **options)
    (model,) = resolve_models(f"{server.url}#any")
    provider = connect(model)
    assert [provider.complete(Request("any", "x")).text for _ in range(3)] == ["fine"] * 3
    provider.close()


def test_latency_is_a_number_a_distribution_or_a_function(server: LLMServer) -> None:
    """Drawn for each call."""
    for latency in (0.05, (0.05, 0.01), lambda rng: 0.05 + rng.random() * 0):
        server.reset(latency_s=latency)
        started = time.monotonic()
        assert post(server)[0] == 200
        assert time.monotonic() - started > 0.045


def test_a_port_that_is_taken_is_reported(server: LLMServer) -> None:
    """At once, not by silence."""
    with pytest.raises(RuntimeError, match="cannot listen"):
        LLMServer(port=server.port)


def test_it_ends_with_the_process_that_started_it() -> None:
    """Also when that is killed: no server is left behind."""
    program = "import time; from mrengine.testing import LLMServer; s = LLMServer(); print(s._process.pid, flush=True); time.sleep(60)"  # noqa: E501
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("the server is still there")


def test_the_program_behind_it_says_what_it_is() -> None:
    """Asked for help it would wait on its standard input, for ever on a terminal."""
    command = [sys.executable, "-m", "mrengine.testing.serve", "--help"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "usage" in process.stderr.read()
        assert process.wait(timeout=30) == 1
