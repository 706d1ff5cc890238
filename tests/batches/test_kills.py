"""SIGKILL at every step of a batch's life: nothing is bought twice, nothing is lost, and the bill is the server's own.

A step is a record that is appended or made durable, a request that leaves and an answer that has come. The short form
kills at some of them, the long one at each, and whole trees of processes at any time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Document, Job, MapReduceRunner, ModelSpec, Price
from mrengine.host.round_batches import LogPlace
from mrengine.job.local_driver import LocalDriver
from mrengine.providers.batches.client import BatchClient
from mrengine.testing import BatchRules, LLMServer
from tests.system.processes import marked, wait_for

PRICES = {"": {"input": 1000.0, "output": 2000.0}}
DOCUMENTS = 6


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMServer]:
    with LLMServer() as server:
        # Whatever is imported when it is first used is there before the forks.
        runner_of(spec_of(server, "openai"), tmp_path_factory.mktemp("first")).run(documents(), two)
        yield server


def two(chunk: Any, context: Any) -> str:
    """Two batches, one after the other."""
    first = context.complete(f"first {chunk.text}", max_tokens=30).text
    return str(context.complete(f"second {first}", max_tokens=30).text)


def documents() -> list[Document]:
    return [Document(f"d{n}", f"document number {n}") for n in range(DOCUMENTS)]


def spec_of(server: LLMServer, shape: str) -> ModelSpec:
    url = server.url if shape == "openai" else server.root
    return ModelSpec("any", provider=f"http:{shape}", base_url=url, price=Price(1000.0, 2000.0))


def runner_of(spec: ModelSpec, state_dir: Path, **settings: Any) -> MapReduceRunner:
    settings = {"strategy": "sequential", "batch": Batch(poll_s=0.01, max_requests=4), **settings}
    return MapReduceRunner("job", models=spec, state_dir=state_dir, progress=False, target_tokens=None, **settings)


def with_steps(kill_at: int) -> None:
    """Have this process kill itself at a step; 0: never."""
    steps = count(1)

    def step() -> None:
        if next(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepped(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            step()
            found = function(*args, **kwargs)
            step()
            return found

        return wrapper

    for owner, name in ((LogPlace, "append"), (LogPlace, "sync"), (BatchClient, "_sent"), (LocalDriver, "play")):
        setattr(owner, name, stepped(getattr(owner, name)))


def run_in_a_fork(spec: ModelSpec, state_dir: Path, kill_at: int, **settings: Any) -> bool:
    """Run the job in a process of its own; False: it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with_steps(kill_at)
            found = runner_of(spec, state_dir, **settings).run(documents(), two)
            code = 0 if len(found.results) == DOCUMENTS else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def check(server: LLMServer, state_dir: Path, *, direct: bool = False) -> None:
    stats, status = server.stats(), Job("job", state_dir=state_dir).status()
    assert (status.state, status.done) == ("done", DOCUMENTS)
    assert stats.paid_twice == 0
    assert stats.ok == 2 * DOCUMENTS
    if not direct:
        assert stats.batched == stats.ok
    assert status.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


def kills_at_each(server: LLMServer, folder: Path, shape: str, steps: Iterator[int], **rules: Any) -> int:
    """A job that is killed at one step and then finished, for each step; how many there were."""
    spec, killed = spec_of(server, shape), 0
    for kill_at in steps:
        server.reset(prices=PRICES, batches=BatchRules(**rules))
        state_dir = folder / f"{shape}-{kill_at}"
        if run_in_a_fork(spec, state_dir, kill_at):
            break
        killed += 1
        assert run_in_a_fork(spec, state_dir, 0)
        check(server, state_dir)
    return killed


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_a_kill_at_any_step_buys_nothing_twice(shared: LLMServer, tmp_path: Path, shape: str) -> None:
    """Some of the steps."""
    assert kills_at_each(shared, tmp_path, shape, iter(range(4, 200, 17))) >= 4


@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
@pytest.mark.parametrize("rules", [{}, {"create": ["lost", "ok", "late"], "late_s": 0.3}, {"work_s": 0.3}])
def test_a_kill_at_every_step_buys_nothing_twice(
    shared: LLMServer, tmp_path: Path, shape: str, rules: dict[str, Any]
) -> None:
    """Each of them; with creates whose answers are lost, too, and batches that take their time."""
    assert kills_at_each(shared, tmp_path, shape, count(1), **rules) >= 60


def test_a_job_that_is_killed_again_and_again_comes_to_its_end(shared: LLMServer, tmp_path: Path) -> None:
    """Each life does a little; expired and cancelled batches are among them."""
    shared.reset(prices=PRICES, batches=BatchRules(work_s=0.2, window_s=0.15))
    spec, rng, lives = spec_of(shared, "openai"), random.Random(5), 0
    while not run_in_a_fork(spec, tmp_path, rng.randint(3, 40)):
        lives += 1
        assert lives < 200
    assert lives >= 2
    check(shared, tmp_path, direct=True)  # after five batches that have expired


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_a_deadline_that_meets_kills_buys_nothing_twice(shared: LLMServer, tmp_path: Path, shape: str) -> None:
    """The batch is cancelled, what it did is kept, the rest is asked directly: killed at every step of that."""
    spec = spec_of(shared, shape)
    batch = Batch(poll_s=0.01, deadline_s=0.2)
    for kill_at in count(1):
        shared.reset(prices=PRICES, batches=BatchRules(work_s=0.5, cancelling_s=0.05))
        state_dir = tmp_path / str(kill_at)
        if run_in_a_fork(spec, state_dir, kill_at, batch=batch):
            break
        assert run_in_a_fork(spec, state_dir, 0, batch=batch)
        stats, status = shared.stats(), Job("job", state_dir=state_dir).status()
        assert (status.state, status.done, stats.paid_twice) == ("done", DOCUMENTS, 0)
        assert status.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


SCRIPT = """
import sys
from pathlib import Path
from mrengine.testing.server import LLMServer
from tests.batches.test_kills import documents, runner_of, two
from mrengine import ModelSpec, Price
shape, url, state_dir = sys.argv[1:]
spec = ModelSpec("any", provider=f"http:{shape}", base_url=url, price=Price(1000.0, 2000.0))
found = runner_of(spec, Path(state_dir), strategy="parallel", workers=2).run(documents(), two)
print("DONE", len(found.results))
"""


def _started(spec: ModelSpec, state_dir: Path, shape: str) -> subprocess.Popen[str]:
    env = {**os.environ, "MRENGINE_STATE_DIR": os.fspath(state_dir), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, shape, spec.base_url or "", os.fspath(state_dir)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_kills_of_the_whole_tree_buy_nothing_twice(shared: LLMServer, tmp_path: Path, shape: str) -> None:
    """Host, supervisor and workers at once, at any time."""
    spec, rng = spec_of(shared, shape), random.Random(7)
    for number in range(25):
        shared.reset(prices=PRICES, batches=BatchRules(work_s=0.3, create=[rng.choice(["ok", "lost"])]))
        state_dir = tmp_path / str(number)
        while True:
            process = _started(spec, state_dir, shape)
            try:
                out, _ = process.communicate(timeout=rng.uniform(0.8, 6.0))
                assert out.startswith("DONE")
                break
            except subprocess.TimeoutExpired:
                for pid in marked(state_dir):
                    os.kill(pid, signal.SIGKILL)
                process.communicate()
                wait_for(lambda place=state_dir: not marked(place))
        check(shared, state_dir)
