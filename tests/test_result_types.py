"""Results as instances of the user's own types: in the first run and in a resumed one, wherever they are read."""

from __future__ import annotations

import datetime
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

import mrengine
from mrengine import Job, MapReduceRunner, map_prompt
from mrengine.errors import ConfigError, InvalidResult, JobFailed
from mrengine.testing import fake

TEXT = "The patient slept well. The fever fell on Tuesday. Nothing else was seen. " * 40
pytestmark = pytest.mark.usefixtures("state_dir")


class Visit(BaseModel):
    day: datetime.date
    tags: list[str]

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: str) -> list[str]:
        return value.split(",")  # does not take its own output


class Vote(BaseModel):
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Length:
    chunk: int
    day: datetime.date
    size: int = 0


@pytest.fixture(params=["process", "sequential"])
def make(request: pytest.FixtureRequest) -> Any:
    def build(job_id: str | None = None, **settings: Any) -> MapReduceRunner:
        settings = {"workers": 2, "models": "fake", "target_tokens": 60, "drain_s": 3.0, **settings}
        if request.param == "sequential":
            settings["strategy"] = "sequential"
        return MapReduceRunner(job_id, **settings)

    return build


def visit(chunk: Any, _context: Any) -> Visit:
    return Visit(day="2024-02-29", tags=f"fever,{chunk.kind}")  # type: ignore[arg-type]


def length(chunk: Any, _context: Any) -> Length:
    return Length(chunk.id, datetime.date(2024, 2, 29), len(chunk.text))


@pytest.mark.parametrize(("map_fn", "kind"), [(visit, Visit), (length, Length)])
def test_a_run_and_a_resumed_one_give_equal_instances(make: Any, map_fn: Any, kind: Any) -> None:
    """In results, in a reduce function, in a stream, and from another process's view of the job."""
    seen = []

    def count(results: Any) -> int:
        seen.append([r.result for r in results])
        return len(results)

    first = make("typed").run(TEXT, map_fn, count, result_type=kind)
    again = make("typed").run(TEXT, map_fn, count, result_type=kind)
    assert again.summary.resumed_chunks == first.result > 3
    assert all(type(r.result) is kind for r in first.results)
    assert [r.result for r in first.results] == [r.result for r in again.results] == seen[0] == seen[1]
    assert [r.result for r in make("typed").stream(TEXT, map_fn, result_type=kind)] == seen[0]
    assert next(r.result for r in make().stream(TEXT, map_fn, result_type=kind)) in seen[0]
    assert [r.result for r in Job("typed").results(result_type=kind)] == seen[0]
    assert [r.result for r in MapReduceRunner().resume("typed", map_fn, result_type=kind).results] == seen[0]
    assert isinstance(Job("typed").results()[0].result, dict)


@pytest.mark.parametrize("kind", [Visit, Length])
def test_a_prompt_with_a_response_model_gives_its_instances(make: Any, kind: Any) -> None:
    """Without a word of result_type; its schema alone goes on with the job, and gives dicts."""
    answer = {"day": "2024-02-29", "tags": "a,b"} if kind is Visit else {"chunk": 1, "day": "2024-02-29"}
    models = fake(json.dumps(answer))
    prompt = map_prompt("Which visit? $text", response_model=kind)
    first = make("prompted", models=models).run(TEXT, prompt)
    again = make("prompted", models=models).run(TEXT, prompt)
    want = Visit(**answer) if kind is Visit else Length(1, datetime.date(2024, 2, 29))  # type: ignore[arg-type]
    assert [r.result for r in first.results] == [r.result for r in again.results] == [want] * len(first.results)
    stored = MapReduceRunner(models=models).resume("prompted")
    assert stored.results[0].result["day"] == "2024-02-29"
    assert MapReduceRunner(models=models).resume("prompted", result_type=kind).results[0].result == want


def test_reducers_take_instances(make: Any) -> None:
    """Consensus votes on their fields; a reduce by prompt is given JSON, and answers with an instance."""

    models = [
        fake('{"prediction": "yes", "confidence": 0.5}', name="a"),
        fake('{"prediction": "no", "confidence": 1}', name="b"),
    ]
    prompt = map_prompt("Well? $text", response_model=Vote)
    run = make(models=models).run(TEXT, prompt, mrengine.consensus_aggregator)
    assert run.result["consensus_results"][0]["votes"] == {"yes": 1, "no": 1}
    tree = mrengine.tree_reduce("All: $text", response_model=Vote)
    for runner in (make("tree", models=models[0]), make("tree", models=models[0])):
        reduced = runner.run(TEXT, prompt, tree).result
        assert (type(reduced), reduced.prediction) == (Vote, "yes")


def test_a_result_that_is_none_of_its_type_costs_its_chunk(make: Any) -> None:
    """A dict is validated, None stays None, and what does not fit is a failure that shows no value."""

    def read(chunk: Any, _context: Any) -> Any:
        if chunk.id == 0:
            return {"day": "a secret", "tags": "a"}
        return None if chunk.id == 1 else {"day": "2024-02-29", "tags": "a,b"}

    run = make().run(TEXT, read, result_type=Visit)
    assert [r.result for r in run.results[:2]] == [None, Visit(day="2024-02-29", tags="a,b")]  # type: ignore[arg-type]
    (failure,) = run.failures
    assert (failure.chunk_id, failure.kind) == (0, "error")
    assert "/day" in failure.message
    assert "secret" not in failure.message


def test_results_of_another_type_are_reported_where_they_are_read(make: Any) -> None:
    """An earlier run stored them: nothing is lost, and the type that fits reads them."""
    run = make("other").run(TEXT, length)
    assert run.results[0].result["chunk"] == 0
    with pytest.raises(InvalidResult, match="chunk 0"):
        make("other").run(TEXT, length, result_type=Visit).results[0]
    assert make("other").run(TEXT, length, result_type=Length).results[0].result.chunk == 0


@pytest.mark.parametrize("kind", ["Visit", 5, object()])
def test_a_type_that_is_none_is_refused_before_anything_runs(make: Any, kind: Any) -> None:
    for call in (
        lambda: make("no").run(TEXT, length, result_type=kind),
        lambda: list(make().stream(TEXT, length, result_type=kind)),
    ):
        with pytest.raises(ConfigError, match="result_type"):
            call()
    assert list(mrengine.jobs.list_jobs()) == []


def test_failures_carry_instances(make: Any) -> None:
    """JobError.results are of the type, too."""

    def odd(chunk: Any, context: Any) -> Length:
        if chunk.id > 2:
            raise ValueError
        return length(chunk, context)

    with pytest.raises(JobFailed) as caught:
        make(max_failed=0, workers=1).run(TEXT, odd, result_type=Length)
    assert caught.value.results[0].result == Length(0, datetime.date(2024, 2, 29), caught.value.results[0].result.size)


SCRIPT = """
import sys, time
from dataclasses import dataclass
from pydantic import BaseModel
import mrengine

class Inner(BaseModel):
    n: int

@dataclass
class Found:
    inner: Inner
    size: int

def find(chunk, context):
    if "slow" in sys.argv and chunk.id > 2:
        time.sleep(60)
    return Found(Inner(n=chunk.id), len(chunk.text))

text = "A sentence of some words stands here. " * 200
runner = mrengine.MapReduceRunner("script", workers=2, target_tokens=60, overlap_tokens=0, drain_s=0.5, map_version="1")
runner.on("chunk:processed", lambda event: print("one", flush=True))
run = runner.run(text, find, result_type=Found)
assert all(type(r.result) is Found and r.result.inner == Inner(n=r.chunk_id) for r in run.results)
print("resumed", run.summary.resumed_chunks, sum(r.result.size for r in run.results) == len(text), flush=True)
"""


def test_types_of_a_script_survive_the_kill_of_its_process(tmp_path: Path) -> None:
    """Classes of __main__ travel by value; what was stored before the kill comes back as instances of the next run."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script, "slow"], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "one\n"
        host.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while Job("script").status().state == "running" and time.monotonic() < until:
        time.sleep(0.05)
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    word, resumed, whole = done.stdout.splitlines()[-1].split()
    assert (word, whole) == ("resumed", "True")
    assert int(resumed) >= 1
