"""SIGKILL at every step of a batch's life: nothing is bought twice, nothing is lost, and the bill is the server's own.

A step is a record that is appended or made durable, a request that leaves and an answer that has come. The short form
kills at some of them, the long one at each, and whole trees of processes at any time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Document, Job, MapReduceRunner, ModelSpec, Price
from mrengine.host.round_batches import LogPlace
from mrengine.job.local_driver import LocalDriver
from mrengine.providers.batches.client import BatchClient
from mrengine.testing import BatchRules, LLMServer
from tests.system.processes import alive, tree, wait_for

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
    # Batches of one size: where there are no metadata, those of another size are no candidates for a lost one.
    settings = {"strategy": "sequential", "batch": Batch(poll_s=0.01, max_requests=DOCUMENTS // 2), **settings}
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
    asked_directly = stats.ok - stats.batched  # after five batches that have expired; a kill repeats what is in flight
    assert asked_directly == 0 or direct
    assert stats.paid_twice <= asked_directly
    assert stats.ok == 2 * DOCUMENTS + stats.paid_twice
    if stats.paid_twice:
        assert stats.billed_usd - (status.cost_usd or 0.0) > 0
    else:
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
    assert kills_at_each(shared, tmp_path, shape, iter(range(9, 200, 37))) >= 2


@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "rules",
    [{}, {"create": ["lost", "ok", "late"], "late_s": 0.3}, {"create": ["lost", "lost"], "work_s": 0.3}],
)
def test_a_kill_at_every_step_buys_nothing_twice(
    shared: LLMServer, tmp_path: Path, shape: str, rules: dict[str, Any]
) -> None:
    """Each of them; with creates whose answers are lost, too, and two of these while both batches take their time."""
    assert kills_at_each(shared, tmp_path, shape, count(1), **rules) >= 60


@pytest.mark.system
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


SEEDS = int(os.environ.get("MRENGINE_KILL_SEEDS", "12"))
Fates = tuple[str | None, ...]


def _rules(rng: random.Random) -> dict[str, Any]:
    """A life of batches, with whatever may befall them; only the test moves their clock."""

    def some(*fates: str, most: int = 3) -> Fates:
        return tuple(rng.choice([None, None, *fates]) for _ in range(rng.randint(0, most)))

    expires = rng.random() < 0.25
    return {
        "speed": 0,
        "validating_s": rng.choice([0, 2]),
        "work_s": rng.choice([1, 4, 10]),
        "finalizing_s": rng.choice([0, 2]),
        "cancelling_s": rng.choice([0, 3]),
        "window_s": 6 if expires else 86_400,
        "cancelled_lines": rng.random() < 0.5,
        "create": some("lost", "late", "dropped", "500", "429", "failed"),
        "upload": some("lost", "dropped", "500"),
        "download": some("cut", "half", "500", "404"),
        "late_s": 0.3,
        "page": rng.choice([1, 3, 20]),
    }


def _grows(log: Path, size: int) -> bool:
    with suppress(OSError):
        return log.stat().st_size >= size
    return False


class Lives:
    """A job that is run in a process of its own, with a supervisor and workers below it, again and again."""

    def __init__(self, server: LLMServer, folder: Path, shape: str, rng: random.Random) -> None:
        self._server, self._folder, self._rng = server, folder, rng
        self._spec, self._log = spec_of(server, shape), folder / "jobs" / "job" / "log"
        self.kills = 0

    def one(self, *, last: bool) -> bool:
        """One life: to its end, or until it has written a little and a moment longer; whether that was the end."""
        rng, pid = self._rng, os.fork()
        if pid == 0:
            try:
                os.setsid()
                batch = Batch(poll_s=0.02, max_requests=rng.choice([2, 4, 50]))
                runner = runner_of(self._spec, self._folder, strategy="parallel", workers=2, batch=batch, drain_s=0.2)
                os._exit(0 if len(runner.run(documents(), two).results) == DOCUMENTS else 2)
            finally:
                os._exit(1)
        size = (self._log.stat().st_size if self._log.exists() else 0) + rng.choice([1, 600, 2000, 6000])
        patience = time.monotonic() + 15
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            self._server.advance(rng.choice([0.2, 1, 3]))
            if not last and (_grows(self._log, size) or time.monotonic() > patience):
                time.sleep(rng.choice([0, 0.01, 0.05]))
                self._kill(pid)
                return False
            time.sleep(0.01)
        assert Job("job", state_dir=self._folder).status().state == "done"
        return True

    def _kill(self, host: int) -> None:
        """The whole tree at once; what was begun meanwhile, too."""
        all_of_it = tree(host)
        for pid in all_of_it:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(host, 0)
        wait_for(lambda: not any(map(alive, all_of_it)))
        self.kills += 1

    def cancel(self) -> None:
        """By somebody who is killed on the way, sometimes."""
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                with_steps(self._rng.choice([0, 3, 9, 20]))
                Job("job", state_dir=self._folder).cancel()
            os._exit(0)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            self._server.advance(1)
            time.sleep(0.01)
        Job("job", state_dir=self._folder).uncancel()


@pytest.mark.system
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_kills_of_the_whole_tree_buy_nothing_twice(shared: LLMServer, tmp_path: Path, shape: str) -> None:
    """Host, supervisor and workers at once, at any time, whatever befalls the batches: MRENGINE_KILL_SEEDS of them."""
    kills = 0
    for seed in range(SEEDS):
        rng = random.Random(f"{shape} {seed}")
        shared.reset(prices=PRICES, batches=BatchRules(**_rules(rng)))
        lives = Lives(shared, tmp_path / str(seed), shape, rng)
        for number in range(12):
            if lives.one(last=number == 11):
                break
            if rng.random() < 0.15:
                lives.cancel()
        print(f"seed {seed}: {lives.kills} kills, batches of {[one['requests'] for one in shared.batches()]}")
        check(shared, tmp_path / str(seed), direct=True)
        kills += lives.kills
    assert kills >= SEEDS
