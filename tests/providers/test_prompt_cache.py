"""Prompt caches, at a server that enforces their rules: what all chunks have in common is written once, and read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, map_prompt, tree_reduce
from mrengine.errors import ConfigError
from mrengine.providers.http import anthropic_messages, openai_chat
from mrengine.providers.http.quirks import Quirks
from mrengine.records import ModelSpec, Price, Request
from mrengine.summarizer import summarize
from mrengine.testing import FakeContext
from mrengine.testing.llm_server import LLMServer

pytestmark = pytest.mark.usefixtures("state_dir")
RATES = {"input": 3.0, "output": 15.0, "cached": 0.3, "cache_write": 3.75, "cache_write_1h": 6.0}
PRICE = Price(*RATES.values())
LONG = "Read what follows as a careful reader of many years would read it. " * 90
DOCUMENTS = [f"document number {n} of some words" for n in range(40)]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(shared: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    monkeypatch.setenv("KEY_A", "sk-a-3141592653589793")
    monkeypatch.setenv("KEY_B", "sk-b-3141592653589793")
    shared.reset(**USUAL)
    return shared


USUAL: dict[str, Any] = {"cache_min": 1024, "prices": {"": RATES}, "latency_s": 0.1}


def spec(server: LLMServer, road: str, keys: Any = "KEY_A") -> ModelSpec:
    base_url = server.root if "anthropic" in road else server.url
    return ModelSpec("m", provider=road, base_url=base_url, api_key_env=keys, price=PRICE)


def run(server: LLMServer, road: str, prompt: Any, *, keys: Any = "KEY_A", job: str = "j", **settings: Any) -> Any:
    settings = {"workers": 4, "slots": 4, "target_tokens": None, "backoff_s": 0.01, **settings}
    return MapReduceRunner(job, models=spec(server, road, keys), **settings).run(DOCUMENTS, prompt)


@pytest.mark.parametrize("road", ["openai", "anthropic", "http:anthropic", "http:openai"])
@pytest.mark.parametrize("trouble", [(), ("500", "429"), ("drop",)])
def test_all_calls_after_the_first_read_the_prefix(server: LLMServer, road: str, trouble: tuple[str, ...]) -> None:
    """Sixteen at a time, whatever becomes of the first calls; usage, cost and the server's bill agree."""
    server.reset(**USUAL, script=trouble, retry_after_s=0.05)
    summary = run(server, road, map_prompt(f"{LONG}\n\n$text", system="Be brief.", max_tokens=50)).summary
    stats, usage = server.stats(), summary.usage["m"]
    assert stats.ok == len(DOCUMENTS)
    assert stats.read_calls >= 0.95 * (len(DOCUMENTS) - 1)
    assert usage.cached_tokens == stats.read_tokens > 1024 * 0.95 * (len(DOCUMENTS) - 1)
    assert (usage.cache_write_tokens > 0) == ("anthropic" in road)
    assert summary.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


def test_each_key_has_a_cache_of_its_own(server: LLMServer) -> None:
    """One call goes first for each; a resumed run, whose manager knows nothing, begins alike."""
    prompt = map_prompt(f"{LONG}\n\n$text", max_tokens=50)
    summary = run(server, "http:anthropic", prompt, keys=["KEY_A", "KEY_B"]).summary
    stats = server.stats()
    assert stats.read_calls == len(DOCUMENTS) - 2
    assert sum(usage.cache_write_tokens for usage in summary.usage.values()) == stats.written_tokens
    more = MapReduceRunner("j", models=spec(server, "http:anthropic", ["KEY_A", "KEY_B"]), target_tokens=None)
    more.run(DOCUMENTS, prompt)
    assert server.stats().requests == stats.requests


@pytest.mark.parametrize("how", ["schema", "system", "nothing before", "off", "short", "one hour", "words"])
def test_what_is_a_prefix(server: LLMServer, how: str) -> None:
    """Schema, system and instructions; nothing is marked where it is too short, or not wanted."""
    prompts: dict[str, Any] = {
        "schema": map_prompt(f"{LONG}\n\n$text", response_model=SCHEMA),
        "words": map_prompt(f"{LONG}\n\n$text", response_model=SCHEMA),
        "system": map_prompt("Summarize: $text", system=LONG),
        "nothing before": map_prompt("$text\n\nSummarize it.", system=LONG),
        "off": map_prompt(f"{LONG}\n\n$text", cache="off"),
        "short": map_prompt("Summarize: $text", system="Be brief."),
        "one hour": map_prompt(f"{LONG}\n\n$text", cache="1h"),
    }
    server.reset(**USUAL, native_schema=how != "words", record=100, answer='{"n": 1}' if how == "words" else None)
    summary = run(server, "http:anthropic", prompts[how]).summary
    stats = server.stats()
    marked = sum("cache_control" in str(kept["body"]) for kept in server.requests())
    if how in ("off", "short"):
        assert (marked, stats.read_calls, stats.written_tokens) == (0, 0, 0)
    else:
        assert stats.read_calls >= 0.95 * (len(DOCUMENTS) - 1)
    assert (summary.usage["m"].cache_write_1h_tokens > 0) == (how == "one hour")
    assert summary.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


def test_summaries_have_prefixes_too(server: LLMServer) -> None:
    """A long question stands before the text in each of their calls."""
    text = "The harbour was quiet that morning, and the boats lay still.\n\n" * 3000
    settings: dict[str, Any] = {"models": spec(server, "http:anthropic"), "target_tokens": 2000, "workers": 4}
    summarize(text, query=LONG, **settings)
    stats = server.stats()
    assert stats.read_calls > 10
    assert stats.read_calls >= stats.ok - 4


@pytest.mark.system
def test_reduce_rounds_ensembles_and_resumed_runs_read_their_prefixes(server: LLMServer) -> None:
    """Each model and each prompt writes once; what a later run lacks reads what is there, or writes once more."""
    two = [
        ModelSpec(n, provider="http:anthropic", base_url=server.root, api_key_env="KEY_A", price=PRICE) for n in "mn"
    ]
    ask, join = map_prompt(f"{LONG}\n\n$text", max_tokens=50), tree_reduce(f"{LONG} Join them.\n\n$text", max_tokens=60)
    server.reset(**USUAL, answer="some words of an answer " * 6)
    settings: dict[str, Any] = {"workers": 4, "slots": 4, "target_tokens": 400, "backoff_s": 0.01}
    done = MapReduceRunner("tree", models=two[0], **settings).run(DOCUMENTS, ask, join)
    stats = server.stats()
    assert stats.ok > len(DOCUMENTS) + 3
    assert stats.read_calls >= stats.ok - 2
    assert done.summary.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)
    server.reset(**USUAL)
    MapReduceRunner("both", models=two, balance="all", **settings).run(DOCUMENTS, ask)
    assert (server.stats().ok, server.stats().read_calls) == (2 * len(DOCUMENTS), 2 * len(DOCUMENTS) - 2)
    server.reset(**USUAL)
    for part in (20, 40):
        MapReduceRunner("later", models=two[0], on_mismatch="recompute", **settings).run(DOCUMENTS[:part], ask)
    assert (server.stats().ok, server.stats().read_calls) == (len(DOCUMENTS), len(DOCUMENTS) - 1)


@pytest.mark.parametrize(("apart_s", "writes"), [(200, 1), (301, 20)])
@pytest.mark.parametrize("cache", ["auto", "1h"])
def test_a_cache_that_expires_in_a_slow_run_is_written_and_paid_for_again(
    server: LLMServer, cache: Any, apart_s: float, writes: int
) -> None:
    """By the server's clock, which goes on between two calls: a read within five minutes keeps it alive, as does an
    hour; the bill has each write at its price.
    """
    server.reset(**{**USUAL, "latency_s": 0.0})
    prompt = map_prompt(f"{LONG}\n\n$text", max_tokens=50, cache=cache)
    runner = MapReduceRunner("slow", models=spec(server, "http:anthropic"), strategy="sequential", target_tokens=None)
    for _ in runner.stream(DOCUMENTS[:20], prompt):
        server.advance(apart_s)
    stats, writes = server.stats(), writes if cache == "auto" else 1
    assert (stats.ok, stats.read_calls) == (20, 20 - writes)
    assert stats.written_tokens >= writes * 1024
    assert Job("slow").status().cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


def test_a_worker_that_dies_with_the_first_call_does_not_hold_the_others_up(server: LLMServer) -> None:
    """Nor does a map function that gives up."""
    prompt = map_prompt(f"{LONG}\n\n$text", max_tokens=50)

    def dies_once(chunk: Any, context: Any) -> Any:
        if context.attempt == 1 and chunk.id < 4:
            import threading

            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return prompt(chunk, context)

    done = run(server, "http:anthropic", dies_once, slots=1, map_version="1")
    assert len(done.results) == len(DOCUMENTS)
    assert server.stats().read_calls >= 0.8 * len(DOCUMENTS)


def test_the_bytes_before_the_mark_are_the_same() -> None:
    """And a prompt without a prefix is sent as ever."""
    quirks = Quirks()
    sent = [
        anthropic_messages.body(
            Request("m", f"{LONG}{tail}", system="S", schema=SCHEMA, cache="5m", prefix=len(LONG)),
            model="m",
            params={},
            quirks=quirks,
        )
        for tail in ("one", "two")
    ]
    heads = [(body["tools"], body["system"], body["messages"][0]["content"][0]) for body in sent]
    assert heads[0] == heads[1]
    assert heads[0][2]["cache_control"] == {"type": "ephemeral"}
    assert [body["messages"][0]["content"][1]["text"] for body in sent] == ["one", "two"]
    in_words = Quirks(native_schema=False, system=False)
    for shape in (anthropic_messages, openai_chat):
        plain = shape.body(Request("m", "p", schema=SCHEMA), model="m", params={}, quirks=in_words)
        assert plain["messages"][0]["content"].startswith("p\n\nAnswer with one JSON")


def test_cache_is_checked_and_no_part_of_the_version() -> None:
    """What is cached changes no answer."""
    with pytest.raises(ConfigError, match="cache="):
        map_prompt("a $text", cache="forever")
    assert map_prompt("a $text", cache="off").map_version == map_prompt("a $text").map_version
    context = FakeContext("x")
    context.run(map_prompt("abc $text"), "t")
    assert (context.requests[0].cache, context.requests[0].prefix) == ("5m", 4)
