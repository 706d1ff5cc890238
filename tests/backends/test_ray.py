"""Ray alone: two nodes on one machine, deaths of nodes, of the driver and of the budget; how much goes through."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner, ModelSpec, RateLimit, proc
from mrengine.errors import ConfigError, JobNotFound
from mrengine.testing import LLMServer
from tests.backends.conftest import RayCluster
from tests.system.processes import wait_for

pytestmark = pytest.mark.usefixtures("state_dir")


def on_ray(job_id: str | None = None, **settings: Any) -> MapReduceRunner:
    settings = {"workers": 4, "slots": 2, "models": "fake", "target_tokens": None, "backoff_s": 0.01, **settings}
    return MapReduceRunner(job_id, backend="ray", **settings)


def slowly(chunk: Any, _context: Any) -> int:
    time.sleep(0.1)
    return int(chunk.id)


def node_of(chunk: Any, _context: Any) -> str:
    import ray

    time.sleep(0.02)
    return str(ray.get_runtime_context().get_node_id())


def test_an_address_is_for_backends_that_take_one() -> None:
    with pytest.raises(ConfigError, match=r"takes no address='127\.0\.0\.1:1'"):
        MapReduceRunner(address="127.0.0.1:1")


def environment(_chunk: Any, _context: Any) -> list[str | None]:
    return [os.environ.get(name) for name in ("RAY_TEST_KEY", "RAY_TEST_HEADER", "RAY_TEST_OTHER")]


@pytest.mark.usefixtures("attached")
def test_keys_reach_the_workers_and_nothing_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a cluster were started in another one."""
    for name in ("KEY", "HEADER", "OTHER"):
        monkeypatch.setenv(f"RAY_TEST_{name}", name.lower())
    model = ModelSpec(
        "m",
        provider="http:openai",
        base_url="http://127.0.0.1:9",
        api_key_env="RAY_TEST_KEY",
        headers={"X-Team": "${RAY_TEST_HEADER}"},
    )
    run = on_ray(workers=1, models=model).run("text", environment)
    assert [found.result for found in run.results] == [["key", "header", None]]


def done(job_id: str) -> int:
    try:
        return Job(job_id).status().done
    except JobNotFound:
        return 0


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Say: " + chunk.text, max_tokens=20).text)


@pytest.mark.system
@pytest.mark.usefixtures("nodes")
def test_a_token_limit_holds_over_both_nodes() -> None:
    """The provider refuses nothing."""
    with LLMServer(tpm=600_000, input_tokens=1018, answer="word " * 20, latency_s=0.1) as server:
        model = ModelSpec("m", provider="http:openai", base_url=server.url)
        limits = {"m": RateLimit(tpm=600_000, burst_s=3.0)}
        run = on_ray(models=model, limits=limits).run([f"text {number} " + "word " * 900 for number in range(90)], ask)
        assert (len(run.results), server.stats().rate_limited) == (90, 0)


PLAIN = """
import sys, time, ray
ray.init(log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=0.25)
class Plain:
    def do(self, batch):
        return [None for one in batch]
actors = [Plain.remote() for _ in range(2)]
ray.get([actor.do.remote([1]) for actor in actors])
begin = time.monotonic()
under_way, sent = [], 0
while sent < 20_000 or under_way:
    while sent < 20_000 and len(under_way) < 8:
        under_way.append(actors[sent // 32 % 2].do.remote(list(range(32))))
        sent += 32
    done, under_way = ray.wait(under_way)
    ray.get(done)
print(20_000 / (time.monotonic() - begin))
"""


def nothing(_chunk: Any, _context: Any) -> None:
    return None


@pytest.mark.system
@pytest.mark.usefixtures("nodes")
def test_as_many_tasks_go_through_as_through_ray_itself() -> None:
    """No-op tasks, each durable, beside plain batches of 32 in the same minute: at least half as many, where each is
    in the log when it is told.
    """
    first: list[float] = []
    runner = on_ray(workers=2)
    runner.on("chunk:processed", lambda event: first or first.append(time.monotonic()))
    runner.run([f"text {number}" for number in range(20_000)], nothing)
    ours = 20_000 / (time.monotonic() - first[0])
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=120, check=True)
    assert 2 * ours >= float(done.stdout)


@pytest.mark.system
def test_workers_are_on_all_nodes_and_a_node_that_is_killed_costs_only_time(nodes: RayCluster) -> None:
    """Its workers come again elsewhere; every task has its result, and none is charged that did not run alone."""
    places = on_ray().run([f"text {number}" for number in range(40)], node_of)
    assert len({found.result for found in places.results}) == 2
    done: list[int] = []

    def kill(event: Any) -> None:
        done.append(event.chunk_id)
        if len(done) == 20:
            nodes.kill()

    runner = on_ray()
    runner.on("chunk:processed", kill)
    run = runner.run([f"text {number}" for number in range(200)], slowly)
    assert sorted(found.result for found in run.results) == list(range(200))
    assert run.summary.worker_restarts >= 1


LOCAL = """
from mrengine import MapReduceRunner
def shouted(chunk, context): return chunk.text.upper()
for turn in range(2):
  with MapReduceRunner(workers=2, backend="ray", models="fake") as runner:
    print([one.result for one in runner.run(["one", "two", "three"], shouted).results])
"""


@pytest.mark.system
def test_without_a_cluster_a_local_one_is_started_and_stopped(state_dir: Path, tmp_path: Path) -> None:
    """In a program of its own, and once more in it: none of its processes is left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    mark = f"MRENGINE_LOCAL_RAY={tmp_path}"
    environment |= {"MRENGINE_STATE_DIR": os.fspath(state_dir), "MRENGINE_LOCAL_RAY": os.fspath(tmp_path)}
    command = [sys.executable, "-c", LOCAL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["['ONE', 'TWO', 'THREE']"] * 2
    wait_for(lambda: proc.started_with(mark) == [])
