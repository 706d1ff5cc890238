"""A job's life at random, against a model that remembers everything: runs, kills, edits, other models, purges."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mrengine.log.file.lock import JobLock
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.chunk_rows import pack_chunks
from mrengine.log.format.job_records import CloseRecord, DocumentRow, RoundRecord, pack_close, pack_round
from mrengine.log.format.packing import stamp
from mrengine.log.view.carry_over import carried
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Replay
from tests.log.sample import begin, call, digest, failure, job, row

Place = tuple[str, str, int]  # document, text, how manieth of its like


@dataclass
class Plan:
    """What a run is given."""

    documents: dict[str, str] = field(default_factory=lambda: {"d0": "ab"})
    version: str = "v1"
    models: tuple[str, ...] = ("m",)

    def is_as(self, other: Plan) -> bool:
        """The order of documents counts: two dicts are equal without it."""
        return self == other and list(self.documents) == list(other.documents)

    def copy(self) -> Plan:
        return Plan(dict(self.documents), self.version, self.models)

    def places(self) -> list[Place]:
        seen: Counter[tuple[str, str]] = Counter()
        found = []
        for name, texts in self.documents.items():
            for text in texts:
                found.append((name, text, seen[name, text]))
                seen[name, text] += 1
        return found


@dataclass
class Epoch:
    """The model of an epoch: place → (model, value) that was announced."""

    plan: Plan
    results: dict[Place, tuple[str, str]] = field(default_factory=dict)


class JobMachine(RuleBasedStateMachine):
    """The log under test is in a folder; ``epochs`` and ``answers`` are what must be found in it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.wal: WriteAheadLog | None = None
        self.lock = JobLock(self.folder)
        self.forget()

    def forget(self) -> None:
        self.plan = Plan()
        self.epochs: list[Epoch] = []
        self.answers: set[str] = set()
        self.unsure: dict[Place, tuple[str, str]] = {}  # written, not announced …
        self.waiting: list[str] = []  # … and calls that are
        self.count = 0

    def teardown(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def stop(self) -> None:
        if self.wal is not None:
            self.wal.close()
            self.wal = None
        self.lock.release()

    @initialize()
    def first_run(self) -> None:
        self.run()

    @precondition(lambda self: self.wal is None)
    @rule()
    def run(self) -> None:
        """Submit or resume: lock, recover, compare, begin an epoch where the plan is another."""
        assert self.lock.try_acquire()
        path, state = self.folder / "log", Replay()
        if path.exists():
            self.wal = WriteAheadLog.open(path, job_id="j", take=state.add_all)
            assert not self.wal.recovery.damage
        else:
            self.wal = WriteAheadLog.create(path, "j")
        assert not state.problems
        if not self.epochs or not self.plan.is_as(self.epochs[-1].plan):
            self.begin_epoch()

    def begin_epoch(self) -> None:
        assert self.wal is not None
        places, names = self.plan.places(), list(self.plan.documents)
        models = tuple((name, "p") for name in self.plan.models)
        record = job(epoch=len(self.epochs), version=self.plan.version, models=models)
        texts = [text for _, text, _ in places]
        of = [names.index(name) for name, _, _ in places]
        carries = []
        if self.epochs:
            rows = [DocumentRow(name, digest(name), 0, 1, 1) for name in names]
            table = b"".join(row(of[i], text, i, i + 1) for i, text in enumerate(texts))
            with ResumeEngine(self.folder) as engine:
                carries = list(carried(engine, record, rows, [pack_chunks(0, 0, table)] if texts else []))
        begin(self.wal, texts, record=record, documents=names, of=of, round_=False)
        for payload in carries:
            self.wal.append(codec.CARRY, stamp(payload, len(self.epochs)))
        self.wal.append(codec.ROUND, pack_round(RoundRecord(0, 1.0, len(texts), self.plan.version)))
        self.wal.commit()
        self.epochs.append(Epoch(self.plan.copy(), self.what_fits()))

    def what_fits(self) -> dict[Place, tuple[str, str]]:
        """The rule of the issue, told as plainly as possible."""
        kept: dict[Place, tuple[str, str]] = {}
        for epoch in reversed(self.epochs):
            if epoch.plan.version == self.plan.version:
                for place in self.plan.places():
                    if place not in kept and place in epoch.results and epoch.results[place][0] in self.plan.models:
                        kept[place] = epoch.results[place]
        return kept

    @precondition(lambda self: self.wal is not None)
    @rule(data=st.data(), failed=st.booleans(), commit=st.booleans())
    def work(self, data: st.DataObject, failed: bool, commit: bool) -> None:
        """A chunk is called for, and ends; announced if it is committed."""
        assert self.wal is not None
        places = self.plan.places()
        chunk = data.draw(st.integers(0, len(places) - 1))
        self.count += 1
        name, value = f"call-{self.count}", f"value-{self.count}"
        model = chunk % len(self.plan.models)
        self.wal.append(codec.CALL, call(name, chunk))
        if failed:
            self.wal.append(codec.FAILURE, stamp(failure(chunk), len(self.epochs) - 1))
        else:
            record = r.ResultRecord(
                0, chunk, model, 0, "d", self.plan.models[model], 0, 1, 1.0, 1.0, None, None, 1, 0, value
            )
            self.wal.append(codec.RESULT, stamp(r.pack_result(record), len(self.epochs) - 1))
            self.unsure.setdefault(places[chunk], (self.plan.models[model], value))
        self.waiting = [*self.waiting, name]
        if commit:
            self.acknowledge()

    @precondition(lambda self: self.wal is not None)
    @rule()
    def acknowledge(self) -> None:
        """A group commit."""
        assert self.wal is not None
        self.wal.commit()
        for place, found in self.unsure.items():
            self.epochs[-1].results.setdefault(place, found)
        self.answers.update(self.waiting)
        self.unsure, self.waiting = {}, []

    @precondition(lambda self: self.wal is not None)
    @rule(seed=st.integers(0, 2**32))
    def kill(self, seed: int) -> None:
        """SIGKILL or a power cut: what was not announced is lost, whole or in part, or garbled."""
        assert self.wal is not None
        durable, rng = self.wal.durable, random.Random(seed)
        self.wal.write()
        self.stop()
        path = self.folder / "log"
        size = os.path.getsize(path)
        os.truncate(path, rng.randint(durable, size))
        with open(path, "r+b") as file:
            for _ in range(rng.randint(0, 2)):
                if os.path.getsize(path) > durable:
                    file.seek(rng.randrange(durable, os.path.getsize(path)))
                    file.write(rng.randbytes(1))
        self.settle()

    def settle(self) -> None:
        """What was not announced may have survived: the model learns it from the log, if it was written at all."""
        with ResumeEngine(self.folder) as engine:
            places = self.plan.places()
            for found in engine.results():
                place = places[found.chunk_id]
                if place not in self.epochs[-1].results:
                    assert (found.model, found.result) == self.unsure[place]
                    self.epochs[-1].results[place] = self.unsure[place]
        self.unsure, self.waiting = {}, []

    @precondition(lambda self: self.wal is not None)
    @rule()
    def finish(self) -> None:
        """A run ends in order."""
        self.acknowledge()
        assert self.wal is not None
        self.wal.append(codec.CLOSE, pack_close(CloseRecord(2.0, "stopped")))
        self.wal.commit()
        self.stop()

    @precondition(lambda self: self.wal is None)
    @rule(name=st.sampled_from(["d0", "d1", "d2"]), texts=st.text("abc", min_size=1, max_size=4))
    def extend_or_edit(self, name: str, texts: str) -> None:
        """A document is added, or another text takes its place."""
        self.plan.documents[name] = texts

    @precondition(lambda self: self.wal is None and len(self.plan.documents) > 1)
    @rule()
    def remove(self) -> None:
        """The first document goes."""
        del self.plan.documents[next(iter(self.plan.documents))]

    @precondition(lambda self: self.wal is None)
    @rule(version=st.sampled_from(["v1", "v2"]))
    def edit_the_map_function(self, version: str) -> None:
        """And perhaps back."""
        self.plan.version = version

    @precondition(lambda self: self.wal is None)
    @rule(models=st.sampled_from([("m",), ("n",), ("m", "n"), ("n", "m")]))
    def change_models(self, models: tuple[str, ...]) -> None:
        """Other models, or another order."""
        self.plan.models = models

    @precondition(lambda self: self.wal is None)
    @rule()
    def purge(self) -> None:
        """Everything goes."""
        assert self.lock.try_acquire()
        shutil.rmtree(self.folder)
        self.lock.release()
        self.folder.mkdir()
        self.forget()

    @precondition(lambda self: self.wal is not None)
    @rule()
    def another_run_is_busy(self) -> None:
        """The lock is held as long as the log is open."""
        assert not JobLock(self.folder).try_acquire()

    @invariant()
    def everything_announced_is_found(self) -> None:
        """Results of the newest epoch, exactly; answers of all, at least."""
        if not self.epochs or not (self.folder / "log").exists():
            return
        with ResumeEngine(self.folder) as engine:
            places = self.epochs[-1].plan.places()
            found = {places[x.chunk_id]: (x.model, x.result) for x in engine.results()}
            assert found == self.epochs[-1].results
            assert engine.get_pending_chunks() == [i for i, place in enumerate(places) if place not in found]
            prefixes = {int.from_bytes(digest(name)[:8], "little") for name in self.answers}
            assert prefixes <= set(engine.state.call_totals.prefixes)


JobMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestJob = JobMachine.TestCase


def test_documents_in_another_order_are_another_plan() -> None:
    """A document that goes and comes back stands last: chunks change their ids, and keep their results."""
    machine = JobMachine()
    try:
        machine.first_run()
        machine.finish()
        machine.extend_or_edit("d1", "c")
        machine.run()
        machine.finish()
        machine.remove()
        machine.extend_or_edit("d0", "ab")
        machine.run()
        assert len(machine.epochs) == 3
        machine.everything_announced_is_found()
    finally:
        machine.teardown()


@pytest.mark.system
@pytest.mark.timeout(900)
def test_many_lives() -> None:
    """The same, in breadth."""
    run_state_machine_as_test(JobMachine, settings=settings(max_examples=1500, stateful_step_count=80, deadline=None))
