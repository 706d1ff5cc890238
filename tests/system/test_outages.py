"""One of three models is down, of a job that asks all of them: the sound ones do not wait behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, consensus_aggregator
from mrengine.testing.llm_server import LLMServer

DOCUMENTS = [f"letter {n}" for n in range(10)]
TIMEOUT_S = 4.0
# A try now and then, until it is given up; by silence, what was under way and what a worker had before it.
CALLS = {"503": 12, "hang": 8}


def vote(chunk: Any, context: Any) -> dict[str, str]:
    return {"prediction": context.complete("Fever? " + chunk.fenced).text}


@pytest.mark.parametrize("fault", CALLS)
def test_a_model_that_is_down_costs_the_others_no_slot(state_dir: Path, fault: str) -> None:
    """It is asked a few times, not ten times until each task's timeout; its tasks fail together, and the rest is
    whole.
    """
    told: list[str] = []
    with LLMServer(answer="yes") as one, LLMServer(answer="yes") as two, LLMServer(faults={fault: 1.0}) as dead:
        models = [f"{one.url}#one", f"{dead.url}#dead", f"{two.url}#two"]
        runner = MapReduceRunner(workers=2, models=models, chunk_timeout_s=TIMEOUT_S)
        runner.on("chunk:processed", lambda event: told.append(event.model))
        run = runner.run(DOCUMENTS, vote, consensus_aggregator)
        assert dead.stats().requests <= CALLS[fault]
        assert (one.stats().requests, two.stats().requests) == (10, 10)
    assert (told.count("one"), told.count("two"), len(told)) == (10, 10, 20)
    assert {failure.model for failure in run.failures} == {"dead"}
    assert len(run.failures) == 10
    votes = run.result["consensus_results"]
    assert [(one["consensus_prediction"], one["models"], one["tie"]) for one in votes] == [
        ("yes", ["one", "two"], False)
    ] * 10
