"""What holds on every backend of the registry, and on one of threads that is registered as another package would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine import Budget, Job, MapReduceRunner, ModelSpec, Price, RateLimit, Retry, tree_reduce
from mrengine.backends.registry import backend_names
from mrengine.errors import BudgetExhausted, ConfigError, JobCancelled, PoolBroken
from mrengine.testing import fake
from tests.backends import contract

BACKENDS = ["process", "sequential", "ray", "threads"]
DOCUMENTS = [f"text {number}" for number in range(12)]


@pytest.fixture(name="site", autouse=True)
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with one that brings a backend."""
    info = tmp_path / "site" / "mrengine_threads-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mrengine-threads\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[mrengine.backends]\nthreads = tests.backends.threads:ThreadBackend\nbroken = tests.backends.nowhere:Backend\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    return info.parent


# A run on Ray starts actors, seconds each: ``test_ray.py`` has a short form of all this in one run.
@pytest.fixture(
    name="backend", params=[pytest.param(b, marks=pytest.mark.system) if b == "ray" else b for b in BACKENDS]
)
def _backend(request: pytest.FixtureRequest, state_dir: Path) -> str:
    if request.param == "ray":
        request.getfixturevalue("attached")
    return str(request.param)


def runner(backend: str, job_id: str | None = None, **settings: Any) -> MapReduceRunner:
    settings = {"workers": 2, "slots": 2, "models": "fake", "target_tokens": None, "backoff_s": 0.01, **settings}
    return MapReduceRunner(job_id, backend=backend, **settings)


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Say: " + chunk.text, max_tokens=20).text)


def test_the_tests_run_over_all_that_there_are() -> None:
    assert set(BACKENDS) | {"broken"} == set(backend_names())


@pytest.mark.parametrize(
    "check",
    [
        contract.tasks_come_to_their_outcomes,
        contract.what_a_drain_finds_waiting_comes_back,
        contract.an_outcome_is_the_last_word_on_its_task,
        contract.a_worker_that_is_killed_says_so_and_is_replaced,
    ],
    ids=lambda check: check.__name__,
)
def test_the_backend_alone(backend: str, check: Any, state_dir: Path, site: Path, tmp_path: Path) -> None:
    """As the engine sees it."""
    if backend == "sequential" and check in (
        contract.what_a_drain_finds_waiting_comes_back,
        contract.a_worker_that_is_killed_says_so_and_is_replaced,
    ):
        pytest.skip("its tasks run in poll(): none runs while another thing happens, and there is nothing to kill")
    runner("sequential", "job").run(DOCUMENTS, contract.text)
    path = os.pathsep.join([os.fspath(Path(__file__).parents[2]), os.fspath(site)])
    command = [sys.executable, "-m", "tests.backends.contract", backend, os.fspath(state_dir / "jobs" / "job")]
    environment = {**os.environ, "PYTHONPATH": path, "MAY_END": os.fspath(tmp_path / "may-end")}
    done = subprocess.run([*command, check.__name__], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_job_of_calls_is_run_once_and_a_prompt_reduces_it(backend: str) -> None:
    """Two rounds over workers that stay; the next run of another job finds them warm, the same job finds its answer."""
    with runner(backend, "calls") as kept:
        first = kept.run(DOCUMENTS, ask, tree_reduce("Join $texts"))
        other = kept.run(DOCUMENTS[:3], contract.length, job_id="other")
    assert [found.chunk_id for found in first.results] == list(range(12))
    assert [found.result for found in other.results] == [6, 6, 6]
    again = runner(backend, "calls").run(DOCUMENTS, ask, tree_reduce("Join $texts"))
    assert again.result == first.result
    assert (again.summary.resumed_chunks, again.summary.usage) == (12, {})


def test_answers_that_were_paid_for_are_found_again(backend: str) -> None:
    """By an attempt after them, and by another version of the map function."""

    def asks_and_fails(chunk: Any, context: Any) -> str:
        answer = context.complete("Say: " + chunk.text, max_tokens=20)
        if context.attempt == 1:
            raise Retry
        return f"{answer.text} {answer.reused}"

    run = runner(backend, "paid", map_version="1").run(DOCUMENTS, asks_and_fails)
    assert all(found.result.endswith(" True") for found in run.results)
    assert run.summary.reused_calls == 12
    again = runner(backend, "paid", map_version="2", on_mismatch="recompute").run(DOCUMENTS, ask)
    assert (again.summary.usage, again.summary.reused_calls) == ({}, 12)


def test_what_map_fn_raises_costs_its_own_chunk(backend: str) -> None:
    """SystemExit too, but where the function runs in the host's own thread."""

    def third(chunk: Any, _context: Any) -> str:
        if chunk.id == 3:
            raise ZeroDivisionError
        if chunk.id == 4 and backend != "sequential":
            raise SystemExit
        return str(chunk.text)

    run = runner(backend).run(DOCUMENTS, third)
    assert [failure.chunk_id for failure in run.failures] == ([3] if backend == "sequential" else [3, 4])


def test_a_run_that_is_stopped_goes_on_where_it_was(backend: str) -> None:
    """What had begun is kept, nothing is run twice."""
    stopped = runner(backend, "stopped", drain_s=8.0)
    stopped.on("chunk:processed", lambda event: stopped.stop())
    with pytest.raises(JobCancelled):
        stopped.run([*DOCUMENTS, *(f"more {number}" for number in range(40))], slowly)
    done = Job("stopped").status().done
    assert 1 <= done < 52
    rest = runner(backend, "stopped").run([*DOCUMENTS, *(f"more {number}" for number in range(40))], slowly)
    assert (rest.summary.resumed_chunks, rest.summary.processed_chunks) == (done, 52 - done)


def slowly(chunk: Any, _context: Any) -> int:
    time.sleep(0.02)
    return int(chunk.id)


def test_a_budget_that_is_spent_ends_the_run(backend: str) -> None:
    """No call is made beyond it."""
    model = ModelSpec("fake", provider="fake", price=Price(1.0, 1.0))
    with pytest.raises(BudgetExhausted) as caught:
        runner(backend, models=model, budget=Budget(max_tokens=200)).run(DOCUMENTS, ask)
    assert caught.value.spent <= 200
    assert len(caught.value.results) < 12


def test_calls_wait_for_a_rate_limit(backend: str) -> None:
    """What a worker says of its waits is for its backend alone: the engine takes no such message."""
    limits = {"fake": RateLimit(rps=50)}
    waits: list[Any] = []
    limited = runner(backend, limits=limits)
    limited.on("budget:wait", waits.append)
    assert len(limited.run(DOCUMENTS, ask).results) == 12
    assert waits


def test_a_task_that_hangs_is_given_up(backend: str, tmp_path: Path) -> None:
    """Its worker is replaced, and the others' results stay."""
    if backend == "sequential":
        pytest.skip("a task that hangs there hangs under the debugger of whoever asked for it")
    may_end = os.fspath(tmp_path / "may-end")

    def hangs(chunk: Any, _context: Any) -> int:
        while chunk.id == 5 and not os.path.lexists(may_end):
            time.sleep(0.01)
        return int(chunk.id)

    run = runner(backend, chunk_timeout_s=0.5, max_attempts=1, drain_s=0.5).run(DOCUMENTS, hangs)
    Path(may_end).touch()
    assert [(failure.chunk_id, failure.kind) for failure in run.failures] == [(5, "hang")]
    assert run.summary.worker_restarts == 1


def test_an_initializer_that_fails_ends_the_run(backend: str) -> None:
    """Before anything is run; in the host's own thread it is the caller's to see."""

    def initializer() -> None:
        raise LookupError("no settings")

    with pytest.raises(LookupError if backend == "sequential" else PoolBroken, match="no settings"):
        runner(backend, initializer=initializer).run(DOCUMENTS, contract.text)


def test_failures_of_a_model_are_judged_by_the_engine(backend: str) -> None:
    """A model that no call can use ends the run, wherever it was asked."""
    run = runner(backend, models=[fake("ok", name="a"), fake("ok", name="b")], balance="all").run(DOCUMENTS[:4], ask)
    assert [found.model for found in run.results] == ["a", "b"] * 4


@pytest.mark.usefixtures("state_dir")
def test_a_backend_that_is_not_there_is_refused_by_name() -> None:
    """When the runner is made; the error lists those that are, and says what a package lacks."""
    with pytest.raises(ConfigError, match="'process', 'sequential', 'ray', 'threads'"):
        runner("thread")
    with pytest.raises(ConfigError, match=r"'broken' cannot be loaded from tests\.backends\.nowhere"):
        runner("broken")
    with pytest.raises(ConfigError, match="leave one of them out"):
        runner("threads", strategy="sequential")
