"""Whole jobs against vendors in their moods: what ends a job, what a chunk, and what nobody notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, MapReduceRunner, ModelSpec, RateLimit, collect, consensus_aggregator
from mrengine.errors import JobFailed
from tests.providers.vendor import Asked, Reply, Vendor, answer, error

TEXTS = [Document(f"d{number}", f"Text number {number} of the case.") for number in range(12)]


def summarise(chunk: Any, context: Any) -> str:
    return str(context.complete(f"Summarise: {chunk.text}"))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """run(models, reduce_fn, **settings): a job over twelve texts."""

    def start(models: Any, reduce_fn: Any = collect, **settings: Any) -> Any:
        documents = settings.pop("documents", TEXTS)
        defaults = {"workers": 2, "state_dir": tmp_path, "backoff_s": 0.05, "target_tokens": None, "progress": False}
        if settings.get("workers") == 1:  # nothing of it hangs on processes
            defaults["strategy"] = "sequential"
        told = settings.pop("told", [])
        runner = MapReduceRunner(models=models, **(defaults | settings))
        for name in ("chunk:processed", "chunk:failed"):
            runner.on(name, lambda event: told.append(event.name))
        return runner.run(documents, summarise, reduce_fn)

    return start


def at(vendor: Vendor, name: str = "m", **spec: Any) -> ModelSpec:
    return ModelSpec(name, base_url=vendor.url, **spec)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_one_sporadic_refusal_after_answers_is_asked_again(status: int, run: Callable[..., Any]) -> None:
    """Gateways have such moods."""
    with Vendor(lambda asked: error(status) if asked.number in (5, 8) else answer()) as vendor:
        result = run(at(vendor))
    assert result.summary.processed_chunks == 12
    assert len(vendor.asked) == 14


@pytest.mark.parametrize("status", [401, 404])
def test_a_model_that_never_answered_is_given_up_at_once(status: int, run: Callable[..., Any]) -> None:
    """One request of each slot, none of them repeated."""
    with (
        Vendor(lambda asked: error(status, "nothing here")) as vendor,
        pytest.raises(JobFailed, match="no model is left"),
    ):
        run(at(vendor), workers=1)
    assert len(vendor.asked) <= 3


def test_a_key_that_is_revoked_ends_the_job_and_no_chunk(run: Callable[..., Any]) -> None:
    """Several in a row say so; the chunks are pending, and a later run does them."""
    with Vendor(lambda asked: answer() if asked.number < 5 else error(401)) as vendor:  # noqa: SIM117  # read after it
        with pytest.raises(JobFailed) as failed:
            run(at(vendor))
    assert len(vendor.asked) <= 5 + 8
    assert failed.value.summary is not None
    assert failed.value.summary.failed_chunks == 0


def test_a_firewall_that_dislikes_one_text_costs_that_chunk(run: Callable[..., Any]) -> None:
    """With its own words, and after few tries."""

    def blocked(asked: Asked) -> Reply:
        return (403, {}, "<html>Request blocked</html>") if "number 7 " in asked.prompt else answer()

    with Vendor(blocked) as vendor:
        result = run(at(vendor))
    assert (result.summary.processed_chunks, result.summary.failed_chunks) == (11, 1)
    assert "status 403" in result.failures[0].message
    assert len(vendor.asked) <= 11 + 3


def test_moderation_costs_its_chunk_at_once(run: Callable[..., Any]) -> None:
    """No final refusal is repeated."""
    said = error(403, "Your input was flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "x"})
    with Vendor(lambda asked: said if "number 0 " in asked.prompt else answer()) as vendor:
        result = run(at(vendor), workers=1)
    assert (result.summary.processed_chunks, len(vendor.asked)) == (11, 12)
    assert "flagged" in result.failures[0].message


@pytest.mark.parametrize(
    "said",
    [
        error(500, "Insufficient Balance"),
        error(429, "insufficient balance"),
        error(429, "quota", type="insufficient_quota"),
        error(429, "slow", headers={"retry-after": "86400"}),
        error(429, "slow", headers={"x-ratelimit-reset": "99999999999", "x-ratelimit-remaining": "0"}),
    ],
)
def test_what_no_wait_mends_ends_the_job_at_once(said: Reply, run: Callable[..., Any]) -> None:
    """No money, or a limit of a day: it is not knocked at once more for each chunk."""
    with Vendor(lambda asked: said) as vendor, pytest.raises(JobFailed) as failed:
        run(at(vendor), workers=1)
    assert len(vendor.asked) == 1
    assert "UTC" in str(failed.value) or "quota" in str(failed.value) or "billing" in str(failed.value)


@pytest.mark.parametrize(
    "said",
    [
        error(429, "You exceeded your current quota, please check your plan and billing details",
              status="RESOURCE_EXHAUSTED", details=[{"@type": "google.rpc.RetryInfo", "retryDelay": "0.3s"}]),
        error(429, "Rate limit reached. Upgrade at https://console.groq.com/settings/billing",
              headers={"retry-after": "0.3"}, code="rate_limit_exceeded"),
        error(498, "capacity"),
        error(500, "internal"),
    ],
)  # fmt: skip
def test_a_passing_mood_is_waited_for(said: Reply, run: Callable[..., Any]) -> None:
    """Whatever it advertises."""
    with Vendor(lambda asked: said if asked.number == 0 else answer()) as vendor:
        result = run(at(vendor), workers=1)
    assert (result.summary.processed_chunks, len(vendor.asked)) == (12, 13)
    if said[0] == 429:
        assert vendor.asked[1].at - vendor.asked[0].at >= 0.3


def test_a_text_that_is_too_long_goes_to_a_model_that_holds_it(run: Callable[..., Any]) -> None:
    """Not to one that is known to hold no more."""

    def short(asked: Asked) -> Reply:
        if "number 3 " in asked.prompt:
            return error(400, "maximum context length is 8192 tokens", code="context_length_exceeded")
        return answer("short")

    with Vendor(short) as small, Vendor(lambda asked: answer("wide")) as wide, Vendor(lambda asked: answer()) as same:
        fallbacks = (at(same, "same", context_window=8192), at(wide, "wide", context_window=100_000))
        result = run(at(small, fallbacks=fallbacks), workers=1)
        assert result.result.count("wide") == 1
        assert (len(wide.asked), len(same.asked)) == (1, 0)
        result = run(at(small, fallbacks=fallbacks, fallbacks_on=("unavailable",)), documents=TEXTS[3:5], workers=1)
        assert (result.summary.failed_chunks, len(wide.asked)) == (1, 1)


def test_a_content_filter_asks_another_only_where_that_is_wished(run: Callable[..., Any]) -> None:
    """Another vendor is another judge; not everybody wants to ask it."""
    refused = error(400, "filtered", code="content_filter")
    with Vendor(lambda asked: refused) as first, Vendor(lambda asked: answer("second")) as second:
        with pytest.raises(JobFailed):
            run(at(first, fallbacks=(at(second, "n"),)), documents=TEXTS[:1], workers=1)
        spec = at(first, fallbacks=(at(second, "n"),), fallbacks_on=("unavailable", "filtered"))
        assert run(spec, documents=TEXTS[:1], workers=1).result == ["second"]


def test_consensus_with_one_model_down_is_not_held_up(run: Callable[..., Any]) -> None:
    """Its tasks wait aside and fail together; the sound models are done before the first of them does."""
    told: list[str] = []

    def sound(asked: Asked) -> Reply:
        return answer("yes")

    with Vendor(sound) as a, Vendor(sound) as b, Vendor(lambda asked: error(503, "down")) as c:
        models = [at(a, "a"), at(b, "b"), at(c, "c")]
        settings = {"workers": 2, "slots": 2, "chunk_timeout_s": 4.0, "backoff_s": 0.2}
        result = run(models, consensus_aggregator(quorum=2), told=told, **settings)
    entries = result.result["consensus_results"]
    assert [entry["consensus_prediction"] for entry in entries] == ["yes"] * 12
    assert (len(a.asked), len(b.asked)) == (12, 12)
    assert result.summary.failed_chunks == 12
    assert len(c.asked) < 40
    assert told == ["chunk:processed"] * 24 + ["chunk:failed"] * 12
    assert {failure.model for failure in result.failures} == {"c"}
    assert "503" in result.failures[0].message


def test_consensus_goes_on_when_the_model_comes_back(run: Callable[..., Any]) -> None:
    """Nothing is lost by an outage that is shorter than a task may take."""
    asks: list[float] = []

    def down(asked: Asked) -> Reply:
        asks.append(time.monotonic())
        return error(503, "down") if time.monotonic() - asks[0] < 1.5 else answer("yes")

    with Vendor(lambda asked: answer("yes")) as a, Vendor(down) as b:
        result = run([at(a, "a"), at(b, "b")], consensus_aggregator, chunk_timeout_s=60.0)
    assert [entry["confidence"] for entry in result.result["consensus_results"]] == [1.0] * 12, result.failures


def test_several_keys_carry_a_job_together(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has limits of its own; one that has no money leaves the work to the other."""
    monkeypatch.setenv("A", "sk-aaaaaaaaaaaa")
    monkeypatch.setenv("B", "sk-bbbbbbbbbbbb")
    spec = {"api_key_env": ["A", "B"], "limits": RateLimit(rpm=100_000)}
    with Vendor(lambda asked: answer()) as vendor:
        assert run(at(vendor, **spec), slots=2).summary.processed_chunks == 12
    used = {asked.headers["authorization"] for asked in vendor.asked}
    assert used == {"Bearer sk-aaaaaaaaaaaa", "Bearer sk-bbbbbbbbbbbb"}

    def poor(asked: Asked) -> Reply:
        return error(402, "no credits") if "aaaa" in asked.headers["authorization"] else answer()

    with Vendor(poor) as vendor:
        assert run(at(vendor, **spec)).summary.processed_chunks == 12


def test_a_query_of_the_base_url_is_sent_with_each_call(run: Callable[..., Any]) -> None:
    """Azure wants its version so."""
    with Vendor(lambda asked: answer()) as vendor:
        run(
            ModelSpec("d", base_url=f"{vendor.url}/chat/completions?api-version=2024-10-21"),
            documents=TEXTS[:1],
            workers=1,
        )
    assert vendor.asked[0].path == "/v1/chat/completions?api-version=2024-10-21"


def test_requests_per_second_are_kept(run: Callable[..., Any]) -> None:
    """A vendor that counts them by the second, and is a little lenient with what comes late, refuses none."""
    times: list[float] = []
    lock = threading.Lock()

    def strict(asked: Asked) -> Reply:
        with lock:
            times.append(asked.at)
            recent = [at for at in times if at > asked.at - 1.0]
        return error(429, "too fast", headers={"retry-after": "1"}) if len(recent) > 8 else answer()

    with Vendor(strict) as vendor:
        run(at(vendor, limits=RateLimit(rps=5)), slots=4)
    assert vendor.replied == [200] * 12


@pytest.mark.parametrize(
    "headers",
    [{}, pytest.param({"retry-after": "1"}, marks=pytest.mark.system)],
    ids=["no time told", "the same time told to all"],
)
def test_a_limit_of_which_nothing_is_known_is_tried_by_one_and_not_by_all(
    headers: dict[str, str], run: Callable[..., Any]
) -> None:
    """Twenty in flight are refused once; then one call tries, and more follow with each that is answered."""
    lock, bucket = threading.Lock(), [5.0, time.monotonic()]

    def twenty_a_second(asked: Asked) -> Reply:
        with lock:
            now = time.monotonic()
            bucket[:] = [min(5.0, bucket[0] + (now - bucket[1]) * 20), now]
            admitted = bucket[0] >= 1
            bucket[0] -= admitted
        if not admitted:
            return error(429, "slow down", headers=headers)
        time.sleep(0.2)
        return answer()

    documents = [Document(f"d{number}", f"Text number {number}.") for number in range(40)]
    with Vendor(twenty_a_second) as vendor:
        result = run(at(vendor), documents=documents, slots=10, backoff_s=0.3)
    assert result.summary.processed_chunks == 40
    assert vendor.replied.count(429) <= 45


@pytest.mark.parametrize(("code", "reason"), [(1008, "billing"), (1004, "API key")])
def test_a_final_refusal_with_status_200_is_one(code: int, reason: str, run: Callable[..., Any]) -> None:
    """MiniMax says all so."""
    said = (200, {}, {"choices": None, "base_resp": {"status_code": code, "status_msg": "no"}})
    with Vendor(lambda asked: said) as vendor, pytest.raises(JobFailed, match=reason):
        run(at(vendor), workers=1)
    assert len(vendor.asked) <= 3
