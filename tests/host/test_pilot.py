"""Pilots: a few chunks are tried, kept, and stand for the whole."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, ModelSpec, map_prompt
from mrengine.errors import ConfigError
from mrengine.records import Price
from mrengine.testing import LLMServer, fake


@pytest.mark.usefixtures("state_dir")
def test_a_pilot_is_kept_and_the_run_goes_on() -> None:
    """Its calls are not made again; cost and time of the whole are in its intervals."""

    def slow(request: Any) -> str:
        time.sleep(0.01)
        return "word " * (1 + len(request.prompt) % 7)

    model = replace(fake(slow, name="m"), price=Price(1.0, 100.0))
    texts = [f"document {'long ' * (n % 11)} {n}" for n in range(80)]
    prompt = map_prompt("Say: $text", max_tokens=50)
    runner = MapReduceRunner("j", models=model, workers=2, target_tokens=None)
    found = runner.pilot(texts, prompt, 15)
    assert (len(found.results), found.chunks, found.job_id) == (15, 80, "j")
    assert Job("j").status().done == 15
    assert Job("j").status().state == "stopped"
    again = runner.pilot(texts, prompt, 15)
    assert [one.chunk_id for one in again.results] == [one.chunk_id for one in found.results]
    assert again.summary is not None
    assert again.summary.usage == {}
    assert found.cost_usd is not None
    began = time.monotonic()
    done = runner.run(texts, prompt)
    took = time.monotonic() - began
    assert done.summary.processed_chunks == 65
    whole = sum(one.cost_usd or 0.0 for one in done.results)
    assert whole in found.cost_usd
    assert found.duration_s.high > took / 4
    assert whole in runner.pilot(texts, prompt, 5).cost_usd  # type: ignore[operator]
    assert MapReduceRunner("k", models="fake").pilot(texts, prompt, 3).cost_usd is None
    with pytest.raises(ConfigError, match="pilot"):
        runner.pilot(texts, prompt, 0)


@pytest.mark.usefixtures("state_dir")
def test_without_processes_the_rest_is_done_one_after_the_other() -> None:
    """However many workers the runner is given, and in whichever way processes are ruled out."""

    def slow(_request: Any) -> str:
        time.sleep(0.05)
        return "word"

    runner = MapReduceRunner(models=fake(slow), backend="sequential", workers=8, target_tokens=None)
    found = runner.pilot([f"document {n}" for n in range(40)], map_prompt("Say: $text"), 8)
    assert found.duration_s.low > 40 * 0.05 / 2


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("state_dir")
def test_pilots_at_a_server_hold_what_the_whole_costs_and_takes() -> None:
    """20 jobs of skewed lengths, answers and latencies, run to their ends: the bill, and the time of another run."""
    inside = [0, 0]
    with LLMServer() as server:
        spec = ModelSpec("any", provider="http:openai", base_url=server.url, price=Price(1.0, 100.0))
        for job in range(20):
            rng = random.Random(job)
            texts = [f"number {n} {'long ' * int(rng.lognormvariate(3, 0.8))}" for n in range(120)]
            server.reset(latency_s=(0.03, 1.0), answer=_of_any_length, prices={"": {"input": 1.0, "output": 100.0}})
            settings: dict[str, Any] = {"models": spec, "workers": 2, "slots": 4, "target_tokens": None}
            runner = MapReduceRunner(f"pilot-{job}", progress=False, **settings)
            found = runner.pilot(texts, map_prompt("Say: $text", max_tokens=500), 20)
            runner.run(texts, map_prompt("Say: $text", max_tokens=500))
            assert found.cost_usd is not None
            inside[0] += server.stats().billed_usd in found.cost_usd
            whole = MapReduceRunner(f"whole-{job}", progress=False, **settings)
            began = time.monotonic()
            whole.run(texts, map_prompt("Say: $text", max_tokens=500))
            inside[1] += time.monotonic() - began in found.duration_s
    print(f"cost held in {inside[0]} of 20, duration in {inside[1]}")
    assert inside[0] >= 18
    assert inside[1] >= 15  # the machine may be busier in one of the two runs


def _of_any_length(prompt: str) -> str:
    return "word " * int(random.Random(prompt).lognormvariate(3, 0.8))
