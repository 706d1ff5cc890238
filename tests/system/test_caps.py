"""The hard stop over all processes, rounds and runs: what the server counted stays below the cap, whoever is killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from mrengine import Budget, Job, MapReduceRunner, ModelSpec, RateLimit, tree_reduce
from mrengine.errors import BudgetExhausted, ConfigError, JobFailed
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.task_records import FailureRecord, unpack_failure
from mrengine.records import Price
from mrengine.testing.llm_server import LLMServer
from tests.system.processes import children, wait_for

DOCS = [f"Document {number} of the ward. " * 8 for number in range(120)]
INPUT, OUTPUT = 150, 7  # as the server counts; a prompt has 200 bytes and more
CAP = 40 * (INPUT + OUTPUT)
pytestmark = pytest.mark.usefixtures("state_dir")


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Say: " + chunk.text, max_tokens=OUTPUT).text)


def runner(server: LLMServer, budget: Budget, **settings: Any) -> MapReduceRunner:
    settings = {"workers": 2, "slots": 8, "target_tokens": None, "backoff_s": 0.05, **settings}
    return MapReduceRunner("capped", models=f"{server.url}#m", budget=budget, **settings)


def spent(server: LLMServer) -> int:
    stats = server.stats()
    return stats.input_tokens + stats.output_tokens


def kill_when(server: LLMServer, answers: int, which: str) -> threading.Thread:
    """Kill the manager, a worker, or the supervisor itself once the server has given so many answers."""

    others = set(children(os.getpid()))  # servers

    def run() -> None:
        wait_for(lambda: server.stats().ok > 0)
        (supervisor,) = set(children(os.getpid())) - others
        below = children(supervisor)
        wait_for(lambda: server.stats().ok >= answers)
        os.kill({"manager": below[0], "worker": below[-1], "supervisor": supervisor}[which], signal.SIGKILL)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("which", ["nobody", "manager", "worker", "supervisor"])
def test_the_cap_holds_for_16_calls_in_flight(which: str) -> None:
    """To the last token; calls whose answer is lost count at their upper bound; the same cap again pays for no more."""
    with LLMServer(latency_s=0.15, input_tokens=INPUT, answer="w " * OUTPUT, faults={"truncate": 0.05}) as server:
        killer = None if which == "nobody" else kill_when(server, 15, which)
        with pytest.raises(BudgetExhausted) as caught:
            runner(server, Budget(max_tokens=CAP)).run(DOCS, ask)
        if killer is not None:
            killer.join()
        assert 0 < spent(server) <= CAP
        assert caught.value.limit == CAP
        assert Job("capped").status().state == "stopped"
        with pytest.raises(BudgetExhausted):
            runner(server, Budget(max_tokens=CAP)).run(DOCS, ask)
        assert spent(server) <= CAP
        done = runner(server, Budget(max_tokens=10**7)).run(DOCS, ask)
        assert done.summary.failed_chunks == 0
        assert done.summary.resumed_chunks > 10


@pytest.mark.parametrize("per", ["job", "run"])
def test_a_later_round_spends_what_the_map_round_has_left(per: Any) -> None:
    """One cap for all rounds of a run."""
    with LLMServer(input_tokens=INPUT, answer="w " * OUTPUT) as server:
        cap = 20 * (INPUT + OUTPUT) + 300
        reduce = tree_reduce("Join: $text", max_tokens=400)
        with pytest.raises(BudgetExhausted):
            runner(server, Budget(max_tokens=cap, per=per)).run(DOCS[:20], ask, reduce)
        assert server.stats().ok == 20


def test_a_run_may_spend_its_own_cap_once_whatever_earlier_runs_spent() -> None:
    """per="run": the second run goes on with a cap of the same size."""
    with LLMServer(latency_s=0.01, input_tokens=INPUT, answer="w " * OUTPUT) as server:
        for number in (1, 2):
            with pytest.raises(BudgetExhausted):
                runner(server, Budget(max_tokens=CAP, per="run")).run(DOCS, ask)
            assert (number - 1) * CAP * 0.9 < spent(server) <= number * CAP


def test_a_cost_is_capped_in_usd() -> None:
    """By the price of the spec."""
    with LLMServer(latency_s=0.01, input_tokens=INPUT, answer="w " * OUTPUT) as server:
        spec = ModelSpec("m", base_url=server.url, price=Price(1.0, 4.0))
        cap = 30 * (INPUT * 1.0 + OUTPUT * 4.0) / 1e6
        with pytest.raises(BudgetExhausted) as caught:
            MapReduceRunner(workers=2, slots=4, models=spec, target_tokens=None, budget=Budget(max_cost_usd=cap)).run(
                DOCS, ask
            )
        stats = server.stats()
        assert 0 < (stats.input_tokens * 1.0 + stats.output_tokens * 4.0) / 1e6 <= cap
        assert caught.value.unit == "USD"


@pytest.mark.parametrize("fallback", [False, True])
def test_a_cost_cannot_be_capped_where_a_price_is_unknown(fallback: bool) -> None:
    """Said at once, and before anything is started: of the model, and of one that would stand in for it."""
    unknown = "http://127.0.0.1:9#n"
    priced = ModelSpec("m", base_url="http://127.0.0.1:9", price=Price(1.0, 4.0), fallbacks=[unknown])
    with pytest.raises(ConfigError, match="'n'"):
        MapReduceRunner(models=priced if fallback else unknown, budget=Budget(max_cost_usd=1.0)).run("text", ask)


def test_waiting_for_the_budget_is_no_hang() -> None:
    """The last of ten calls waits for three seconds, where a chunk may take one: nothing is killed, nothing fails."""
    limit = RateLimit(rpm=200, burst_s=0)
    with LLMServer(input_tokens=INPUT, answer="w") as server:
        run = MapReduceRunner(
            workers=1, slots=10, models=f"{server.url}#m", limits={"m": limit}, target_tokens=None, chunk_timeout_s=1.0
        ).run(DOCS[:10], ask)
        assert run.summary.processed_chunks == 10
        assert (run.summary.worker_restarts, run.summary.retries) == (0, 0)
        assert server.stats().requests == 10


def test_a_call_that_fails_until_the_deadline_is_a_failure_that_tells_its_story() -> None:
    """Cause, attempts and waits are in the log; max_attempts, which counts crashes and hangs, has no part in it.

    The last attempt's time may be too short for the answer, or too short to send it at all.
    """
    with LLMServer(faults={"500": 1.0}) as server:
        settings = {"chunk_timeout_s": 1.5, "workers": 1, "slots": 1, "backoff_s": 0.01}
        with pytest.raises(JobFailed) as caught:
            runner(server, Budget(max_tokens=1_000_000), **settings).run(DOCS[:1], ask)
        (failure,) = caught.value.failures
        assert (failure.kind, failure.attempts) == ("model", 1)
        assert "status 500" in failure.message
        (record,) = _failures("capped")
        facts = record.facts
        assert 2 < facts["attempts"] - 1 <= server.stats().requests <= facts["attempts"]
        assert facts["waited_s"] > 0
        assert len(facts["causes"]) <= 12
        assert all("status 500" in cause for cause in facts["causes"][:-1])
        assert f"{facts['attempts']} attempts" in failure.message


def _failures(job_id: str) -> list[FailureRecord]:
    log = Path(os.environ["MRENGINE_STATE_DIR"]) / "jobs" / job_id / "log"
    return [unpack_failure(frame.payload) for frame in LogReader(log).frames() if frame.kind == codec.FAILURE]
