"""Pilots: a few chunks are tried, kept, and stand for the whole."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, map_prompt
from mrengine.errors import ConfigError
from mrengine.records import Price
from mrengine.testing import fake


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
