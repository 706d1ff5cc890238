"""The bill: what summary, results, log and Budget say is what the server has counted, whatever it sent on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Job, MapReduceRunner, map_prompt
from mrengine.errors import JobError
from mrengine.records import Budget, ModelSpec, Price, RunSummary, Usage
from mrengine.testing import BatchRules
from mrengine.testing.llm_server import LLMServer
from tests.system.processes import alive, tree, wait_for

pytestmark = pytest.mark.usefixtures("state_dir")
PRICE = Price(2.0, 10.0, 0.5)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
DOCUMENTS = [f"document number {n} of some words" for n in range(12)]


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(shared: LLMServer) -> LLMServer:
    shared.reset()
    return shared


def spec(server: LLMServer, road: str) -> ModelSpec:
    base_url = server.root if "anthropic" in road else server.url
    return ModelSpec("model-1", provider=road, base_url=base_url, api_key_env="CANARY", price=PRICE)


def run(server: LLMServer, road: str, prompt: Any, **settings: Any) -> RunSummary:
    settings = {
        "models": spec(server, road),
        "workers": 2,
        "slots": 2,
        "target_tokens": None,
        "max_failed": 99,
        "backoff_s": 0.01,
        **settings,
    }
    runner = MapReduceRunner("j", **settings)
    try:
        return runner.run(DOCUMENTS, prompt).summary
    except JobError as error:
        if error.summary is None:
            raise
        return error.summary


MOODS: dict[str, dict[str, Any]] = {
    "no answers now and then": {"faults": {"no_choices": 0.1, "choice_error": 0.1, "thoughts_only": 0.1, "load": 0.1}},
    "never an answer": {"faults": {"no_choices": 1.0}},
    "thoughts": {"thoughts": "well well well", "faults": {"bad_sample": 0.2}},
    "thoughts that take all": {"thoughts": "w " * 500},
    "streams": {"stream": True},
    "cut off": {"answer": "word " * 500},
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-canary-3141592653589793")


@pytest.mark.parametrize("road", ["openai", "anthropic", "http:openai", "http:anthropic"])
@pytest.mark.parametrize("mood", MOODS)
def test_the_bill_is_the_servers(server: LLMServer, road: str, mood: str) -> None:
    """Answers, refused ones and none at all: every token that was billed is counted once."""
    server.reset(seed=3, **MOODS[mood])
    on_truncation = "continue" if mood == "cut off" else "error"
    summary = run(server, road, map_prompt("Say: $text", max_tokens=60, on_truncation=on_truncation))
    stats, used = server.stats(), summary.usage.get("model-1", Usage())
    assert (used.input_tokens, used.output_tokens) == (stats.input_tokens, stats.output_tokens)
    assert summary.cost_usd == pytest.approx(PRICE.cost(used))
    assert Job("j").status().cost_usd == pytest.approx(PRICE.cost(used))
    assert not used.estimated


@pytest.mark.parametrize("road", ["openai", "http:anthropic"])
def test_refused_answers_are_on_the_bill(server: LLMServer, road: str) -> None:
    """And the next run, which asks anew, adds what it buys."""
    server.reset(answer='{"n": 1}')
    prompt = map_prompt("Say: $text", response_model=SCHEMA)
    first = run(server, road, prompt).usage["model-1"]
    assert server.stats().requests == 3 * len(DOCUMENTS)
    assert first.input_tokens == server.stats().input_tokens
    second = run(server, road, prompt).usage["model-1"]
    assert first.input_tokens + second.input_tokens == server.stats().input_tokens


CACHES: list[tuple[str, Callable[[int, int], Any], Callable[[int, int], Usage]]] = [
    (
        "http:openai",
        lambda i, o: {"prompt_tokens": i, "completion_tokens": o, "total_tokens": i + o, "prompt_cache_hit_tokens": 4},
        lambda i, o: Usage(i, o, 4),
    ),
    (
        "http:openai",
        lambda i, o: {
            "prompt_tokens": i,
            "completion_tokens": o,
            "total_tokens": i + o + 10_000,
            "prompt_tokens_details": {"cached_tokens": 10_000},
        },
        lambda i, o: Usage(i + 10_000, o, 10_000),
    ),
    (
        "anthropic",
        lambda i, o: {
            "input_tokens": i,
            "output_tokens": o,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        },
        lambda i, o: Usage(i + 150, o, 100, 50, 0, 30),
    ),
]


@pytest.mark.parametrize(("road", "usage", "counted"), CACHES)
def test_caches_cost_what_their_vendor_takes(
    server: LLMServer, road: str, usage: Callable[[int, int], Any], counted: Callable[[int, int], Usage]
) -> None:
    """In the result of each chunk, in the summary, and after a resume."""
    server.reset(usage=usage, input_tokens=20)
    prompt = map_prompt("Say: $text", max_tokens=60)
    for _ in range(2):
        runner = MapReduceRunner("j", models=spec(server, road), workers=1, target_tokens=None)
        results = runner.run(DOCUMENTS[:3], prompt).results
        for result in results:
            assert result.usage == counted(20, result.usage.output_tokens)
            assert result.cost_usd == pytest.approx(PRICE.cost(result.usage))
    assert server.stats().requests == 3


@pytest.mark.parametrize("fault", [None, "no_choices", "thoughts_only"])
@pytest.mark.parametrize("unit", ["max_tokens", "max_cost_usd"])
def test_a_budget_is_never_exceeded_by_what_the_server_counts(server: LLMServer, fault: str | None, unit: str) -> None:
    """Over several runs, whatever the calls came to."""
    server.reset(faults={} if fault is None else {fault: 0.3}, seed=1)
    limit = 900 if unit == "max_tokens" else 900 * 4e-6
    prompt = map_prompt("Say: $text", max_tokens=60)
    for _ in range(3):
        run(server, "http:openai", prompt, budget=Budget(**{unit: limit}))
    stats = server.stats()
    spent = Usage(stats.input_tokens, stats.output_tokens)
    assert 0 < (spent.total_tokens if unit == "max_tokens" else PRICE.cost(spent)) <= limit


RATES = {"input": 2.0, "output": 10.0, "cached": 0.5, "cache_write": 2.5, "cache_write_1h": 4.0}


def test_the_bill_of_a_year_is_right_to_the_cent(server: LLMServer) -> None:
    """The server bills by its own prices and its own cache; a job that was stopped by its budget and resumed twice
    comes to the same, and never above the cap.
    """
    million = 1e5  # a token costs what a hundred thousand do
    rates = {name: rate * million for name, rate in RATES.items()}
    server.reset(cache_min=8, prices={"": rates}, latency_s=0.01)
    price = Price(*rates.values())
    model = ModelSpec("model-1", base_url=server.url, price=price)
    prompt = map_prompt("Say in some words, as short as you can, what this is: $text", max_tokens=20)
    total = 0.0
    for dollars in (115.0, 145.0, None):
        budget = None if dollars is None else Budget(max_cost_usd=dollars)
        total += run(server, "http:openai", prompt, models=model, budget=budget).cost_usd or 0.0
        stats = server.stats()
        assert total == pytest.approx(stats.billed_usd, abs=0.005)
        assert Job("j").status().cost_usd == pytest.approx(stats.billed_usd, abs=0.005)
        assert dollars is None or 0 < stats.billed_usd <= dollars
        assert dollars is None or 0 < stats.requests < len(DOCUMENTS)
    assert stats.requests == len(DOCUMENTS)
    assert Job("j").status().usage.cached_tokens == stats.read_tokens > 0


LONG_RATES = {"input": 7.0, "output": 30.0, "cached": 1.0, "cache_write": 8.0, "cache_write_1h": 14.0}
LONG_PRICE = Price(*RATES.values(), 0.5, 760, Price(*LONG_RATES.values()))
INTRO = "Read what follows as a careful reader would. " * 90
B_RATES = {"input": 1.0, "output": 3.0, "cached": 1.0, "cache_write": 1.25, "cache_write_1h": 2.0}
BILLS = {"a": {**RATES, "long_above": 760, "long": LONG_RATES}, "b": B_RATES}
TEXTS = [f"document number {n} " + "of some words " * (1 + 9 * (n % 3)) for n in range(9)]


def _sometimes_bad(prompt: str) -> str:
    return '{"n": 1}' if "number 2" in prompt or "number 5" in prompt else '{"n": 7}'


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("road", ["http:openai", "http:anthropic"])
@pytest.mark.parametrize("how", ["ensemble", "asked again", "continued"])
def test_every_mix_comes_to_the_servers_own_sum(server: LLMServer, road: str, batched: bool, how: str) -> None:
    """Caches, prices of long prompts, two models, re-asks and continuations, directly and in batches, run twice."""
    answer = {"ensemble": None, "asked again": _sometimes_bad, "continued": " ".join(f"w{n}" for n in range(45))}[how]
    server.reset(cache_min=500, prices=BILLS, latency_s=0.002, answer=answer, batches=BatchRules())
    url = server.root if "anthropic" in road else server.url
    specs = [ModelSpec("a", provider=road, base_url=url, price=LONG_PRICE)]
    specs += [ModelSpec("b", provider=road, base_url=url, price=Price(1.0, 3.0))] if how == "ensemble" else []
    schema = SCHEMA if how == "asked again" else None
    prompt = map_prompt(INTRO + "$text", max_tokens=20, response_model=schema, on_truncation="continue")
    settings: dict[str, Any] = {"models": specs, "target_tokens": None, "max_failed": 9, "strategy": "sequential"}
    settings |= {"balance": "all"} if how == "ensemble" else {}
    total = 0.0
    for _ in range(2):
        runner = MapReduceRunner("j", batch=Batch(poll_s=0.01) if batched else None, **settings)
        total += runner.run(TEXTS, prompt).summary.cost_usd or 0.0
        stats = server.stats()
        assert total == pytest.approx(stats.billed_usd, abs=1e-9)
        assert Job("j").status().cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)
    assert stats.batched == (stats.ok if batched else 0)
    assert stats.read_tokens > 0 or batched


def test_a_budget_holds_where_long_prompts_cost_more(server: LLMServer) -> None:
    """The cap is on what the server bills."""
    rates = {**RATES, "long_above": 760, "long": LONG_RATES}
    server.reset(prices={"": rates}, latency_s=0.002)
    model = ModelSpec("a", base_url=server.url, price=LONG_PRICE)
    cap = 0.16
    for _ in range(2):
        prompt = map_prompt(INTRO + "$text", max_tokens=20)
        summary = run(server, "", prompt, models=model, budget=Budget(max_cost_usd=cap))
        assert 0 < server.stats().billed_usd <= cap
    assert summary is not None
    assert Job("j").status().cost_usd == pytest.approx(server.stats().billed_usd, abs=1e-9)


KILLED = """
import sys
from mrengine import MapReduceRunner, ModelSpec, Price, map_prompt
url, folder = sys.argv[1:]
spec = ModelSpec("a", base_url=url, price=Price(2.0, 10.0, 0.5))
runner = MapReduceRunner("j", models=spec, workers=2, slots=2, target_tokens=None, state_dir=folder)
runner.run([f"document {n} of words" for n in range(100, 160)], map_prompt("Say: $text", max_tokens=20))
"""


@pytest.mark.system
def test_a_tree_that_is_killed_and_resumed_comes_to_the_same_bill(server: LLMServer, tmp_path: Path) -> None:
    """All calls cost the same; those in flight at a kill were billed, and nobody was told: there are no others."""
    server.reset(prices={"": {"input": 2.0, "output": 10.0, "cached": 0.5}}, latency_s=0.03, answer="four words of it")
    command = [sys.executable, "-c", KILLED, server.url, str(tmp_path)]
    for answers in (8, 25, 60):
        host = subprocess.Popen(command, env={**os.environ, "MRENGINE_STATE_DIR": str(tmp_path)})
        wait_for(lambda most=answers, host=host: server.stats().ok >= most or host.poll() is not None, within_s=60)
        if answers < 60:
            doomed = tree(host.pid)
            for pid in doomed:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda doomed=doomed: not any(map(alive, doomed)))
        host.wait()
    stats, status = server.stats(), Job("j", state_dir=tmp_path).status()
    assert (status.state, status.done) == ("done", 60)
    assert status.cost_usd == pytest.approx((status.usage.input_tokens * 2.0 + 60 * 4 * 10.0) / 1e6, abs=1e-9)
    unheard = round((stats.billed_usd - status.cost_usd) * 60 / status.cost_usd, 6)
    assert unheard == int(unheard)
    assert 0 <= unheard <= 2 * 4  # four slots, two kills
