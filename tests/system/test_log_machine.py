"""A job's life at random through MapReduceRunner, with a model on loopback that counts: nothing announced is lost, and
nothing that was answered is bought again.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from mrengine import Document, Job, MapReduceRunner
from mrengine.errors import JobCancelled, JobMismatch
from mrengine.log.file.lock import JobLock
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.verify import verify
from mrengine.testing.llm_server import LLMServer
from tests.system.forked import Host, Say
from tests.system.processes import children, wait_for

SENTENCES = ("The fever fell on Monday night.", "No pain was seen in the knee.", "All the tests came back clean.")
Place = tuple[str, bytes, int, int]  # document, digest of the text, overlap, how manieth of its like
Call = tuple[str, str, bytes]  # map function, model, digest of the text


def made(version: str) -> Any:
    """A map function whose prompt differs, and so does its digest."""

    def ask(chunk: Any, context: Any) -> str:
        return str(context.complete(f"{version}: {chunk.text}", max_tokens=20).text)

    return ask


@dataclass
class Plan:
    """What a run is given."""

    documents: dict[str, list[int]] = field(default_factory=lambda: {"d0": [0, 1, 0]})
    version: str = "v1"
    models: tuple[str, ...] = ("m",)

    def copy(self) -> Plan:
        return Plan({name: list(told) for name, told in self.documents.items()}, self.version, self.models)

    def is_as(self, other: Plan) -> bool:
        """The order of documents counts."""
        return self == other and list(self.documents) == list(other.documents)

    def extends(self, other: Plan) -> bool:
        """Documents were added, and nothing else."""
        kept = {name: self.documents.get(name) for name in other.documents}
        same = (self.version, self.models) == (other.version, other.models)
        return same and kept == other.documents and len(self.documents) > len(other.documents)

    def given(self) -> list[Document]:
        return [Document(name, " ".join(SENTENCES[i] for i in told)) for name, told in self.documents.items()]


@dataclass
class Epoch:
    """What was announced while a plan was in force: place → (model, result)."""

    plan: Plan
    results: dict[Place, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What becomes of a plan between two runs: a document is added or edited, the first one goes, other models, …"""

    what: str
    value: Any = None

    def __call__(self, plan: Plan) -> None:
        if self.what == "document":
            plan.documents[self.value[0]] = self.value[1]
        elif self.what == "remove" and len(plan.documents) > 1:
            del plan.documents[next(iter(plan.documents))]
        elif self.what in ("version", "models"):
            setattr(plan, self.what, self.value)


NAMES, TOLD = st.sampled_from(["d0", "d1", "d2"]), st.lists(st.integers(0, 2), min_size=1, max_size=4)
CHANGES = st.one_of(
    st.none(),
    st.builds(Change, st.just("document"), st.tuples(NAMES, TOLD)),
    st.builds(Change, st.just("version"), st.sampled_from(["v1", "v2"])),
    st.builds(Change, st.just("models"), st.sampled_from([("m",), ("n",), ("m", "n"), ("n", "m")])),
    st.just(Change("remove")),
)


class JobLife(RuleBasedStateMachine):
    """``epochs`` and ``answers`` are the oracle; runs happen in forked hosts, which may be killed."""

    strategy = "sequential"
    server: LLMServer

    def __init__(self) -> None:
        super().__init__()
        self.state_dir = Path(tempfile.mkdtemp(prefix="life-"))
        self.forget()

    def forget(self) -> None:
        """As after a purge."""
        self.plan = Plan()
        self.epochs: list[Epoch] = []
        self.answers: dict[Call, set[str]] = {}  # those that are known to be durable

    def teardown(self) -> None:
        shutil.rmtree(self.state_dir)

    # what a run is

    @property
    def job(self) -> Job:
        return Job("j", state_dir=self.state_dir)

    def host(self, on_mismatch: str, kill_at: int, victim: str) -> Host:
        """A host that runs the plan; after ``kill_at`` announced results somebody is killed."""
        models = [f"{self.server.url}#{name}" for name in self.plan.models]

        def work(say: Say) -> None:
            runner = MapReduceRunner(
                "j",
                strategy=self.strategy,  # type: ignore[arg-type]
                models=models,
                workers=2,
                slots=2,
                target_tokens=8,
                overlap_tokens=0,
                state_dir=self.state_dir,
                on_mismatch=on_mismatch,  # type: ignore[arg-type]
                drain_s=5.0,
            )
            heard = 0

            def on_result(event: Any) -> None:
                nonlocal heard
                say("ack", event.chunk_id)
                heard += 1
                if heard == kill_at:
                    os.kill(self.choose(victim), signal.SIGKILL)

            runner.on("chunk:processed", on_result)
            summary = runner.run(self.plan.given(), made(self.plan.version)).summary
            say("done", summary.resumed_chunks, summary.processed_chunks)

        return Host(work)

    def choose(self, victim: str) -> int:
        """Called in the host: its own pid, or one below it."""
        below = children(os.getpid()) if victim != "host" else []
        if victim == "worker" and below:
            below = children(below[0])[1:]
        return below[0] if below else os.getpid()

    @initialize()
    def first_run(self) -> None:
        self.run(None, "recompute", kill_at=0, victim="host")

    @rule(
        change=CHANGES,
        on_mismatch=st.sampled_from(["recompute", "recompute", "recompute", "extend", "error", "restart"]),
        kill_at=st.integers(0, 3),
        victim=st.sampled_from(["host", "supervisor", "worker"]),
    )
    def run(self, change: Change | None, on_mismatch: str, kill_at: int, victim: str) -> None:
        """Submit, resume, extend, recompute or restart, perhaps after a change; undisturbed (0), or with a kill."""
        if change is not None:
            change(self.plan)
        asked = self.server.stats().requests
        said = self.host(on_mismatch, kill_at, victim).finish()
        end = said[-1] if said else ["killed"]
        wait_for(lambda: JobLock(self.job.folder).holder() is None)
        asked = self.server.stats().requests - asked
        if not self.begins(on_mismatch):
            assert end[:2] == ["raised", JobMismatch.__name__]
            assert asked == 0
            self.plan = self.epochs[-1].plan.copy()
            return
        self.settle({fact[1] for fact in said if fact[0] == "ack"}, asked, end, victim)

    def begins(self, on_mismatch: str) -> bool:
        """Whether the run may begin; if so, the epoch that it begins or goes on with is the last one."""
        if not self.epochs:
            self.epochs.append(Epoch(self.plan.copy()))
            return True
        if self.plan.is_as(self.epochs[-1].plan):
            return True
        if on_mismatch == "restart":
            self.epochs, self.answers = [Epoch(self.plan.copy())], {}
            return True
        if on_mismatch == "recompute" or (on_mismatch == "extend" and self.plan.extends(self.epochs[-1].plan)):
            self.epochs.append(Epoch(self.plan.copy(), self.what_fits()))
            return True
        return False

    def what_fits(self) -> dict[Place, tuple[str, str]]:
        """The rule of recompute, as plainly as possible; places are those that the log will have."""
        kept: dict[Place, tuple[str, str]] = {}
        for epoch in self.epochs:
            if epoch.plan.version == self.plan.version:
                kept.update({place: found for place, found in epoch.results.items() if found[0] in self.plan.models})
        return kept

    def settle(self, announced: set[int], asked: int, end: list[Any], victim: str) -> None:
        """Hold what the log says now against what must be there, and learn what else is there."""
        epoch = self.epochs[-1]
        with ResumeEngine(self.job.folder) as stored:
            places = _places(stored)
            epoch.results = {place: found for place, found in epoch.results.items() if place in places}
            known = {place: self.answers.get(self.call(epoch, place, found), set()) for place, found in
                     ((places[r.chunk_id], r) for r in stored.results())}  # fmt: skip
            found = {places[r.chunk_id]: (_name(r.model), r.result) for r in stored.results()}
        assert epoch.results.items() <= found.items(), "a result was lost, or became another"
        assert {places[chunk] for chunk in announced} <= found.keys(), "an announced result was lost"
        assert not {places[chunk] for chunk in announced} & epoch.results.keys(), "a result was announced twice"
        new = {place: told for place, told in found.items() if place not in epoch.results}
        bought = [place for place, (_, result) in new.items() if result not in known[place]]
        assert not [place for place in bought if known[place]], "what was answered was bought again"
        if end[0] == "done":
            assert len(found) == len(places)
            assert end[1:] == [len(epoch.results), len(places) - len(epoch.results)] or victim == "supervisor"
        in_flight = 4 if self.strategy == "parallel" else 1
        assert asked <= len(bought) + in_flight * (end[0] != "done" or victim != "host")
        epoch.results = found
        for place, (model, result) in found.items():
            self.answers.setdefault((epoch.plan.version, model, place[1]), set()).add(result)

    @staticmethod
    def call(epoch: Epoch, place: Place, result: Any) -> Call:
        return epoch.plan.version, _name(result.model), place[1]

    @rule()
    def cancel(self) -> None:
        """Sticky: it does not run until uncancel()."""
        self.job.cancel()
        assert self.job.status().state == "cancelled"
        asked = self.server.stats().requests
        assert self.host("restart", 0, "host").finish()[-1][:2] == ["raised", JobCancelled.__name__]
        assert self.server.stats().requests == asked
        self.job.uncancel()

    @rule()
    def purge(self) -> None:
        """Everything goes; the next run begins from nothing."""
        self.job.purge()
        self.forget()
        self.first_run()

    @invariant()
    def the_log_is_sound(self) -> None:
        """Whoever was killed when."""
        if self.epochs:
            assert verify(self.job.folder).sound


def _places(stored: ResumeEngine) -> list[Place]:
    documents, seen = stored.documents(), Counter[tuple[Any, ...]]()
    places = []
    for row in stored.chunk_table():
        like = documents[row.document].id, row.digest, row.overlap
        places.append((*like, seen[like]))
        seen[like] += 1
    return places


def _name(model: str | None) -> str:
    return str(model).rpartition("#")[2]


@pytest.fixture
def life() -> Iterator[type[JobLife]]:
    """The machine, with a server whose answers are all different."""
    numbers: list[int] = []

    def answer(prompt: str, numbers: list[int] = numbers) -> str:
        numbers.append(1)
        return f"answer {len(numbers)}"

    with LLMServer(answer=answer) as server:
        yield type("Life", (JobLife,), {"server": server})


def live(machine: type[JobLife], examples: int, steps: int) -> None:
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[
            Phase.explicit,
            Phase.reuse,
            Phase.generate,
        ],  # to shrink a life of processes takes longer than to read it
    )
    run_state_machine_as_test(machine, settings=how)


def test_a_few_lives(life: type[JobLife]) -> None:
    """Without processes below the host: the short form."""
    live(life, examples=4, steps=8)


@pytest.mark.system
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", ["sequential", "parallel"])
def test_many_lives(life: type[JobLife], strategy: str) -> None:
    """The same in breadth, and with supervisors and workers that are killed."""
    life.strategy = strategy
    live(life, examples=60 if strategy == "sequential" else 15, steps=15)
