"""Batches of which the log knows nothing any more: what was bought is found again, and nothing is left lying about."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Document, Job, MapReduceRunner, ModelSpec, Price, ResumeEngine
from mrengine.log.format import codec
from mrengine.providers.batches.client import BatchClient
from mrengine.testing import BatchRules, LLMServer

PRICES = {"": {"input": 1000.0, "output": 2000.0}}


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def once(chunk: Any, context: Any) -> str:
    return str(context.complete(f"about {chunk.text}", max_tokens=40).text)


def runner(server: LLMServer, folder: Path, shape: str, **settings: Any) -> MapReduceRunner:
    url = server.url if shape == "openai" else server.root
    spec = ModelSpec("any", provider=f"http:{shape}", base_url=url, price=Price(1000.0, 2000.0))
    settings = {"strategy": "sequential", "batch": Batch(poll_s=0.02, max_requests=3), **settings}
    return MapReduceRunner("job", models=spec, state_dir=folder, progress=False, target_tokens=None, **settings)


def texts(number: int) -> list[Document]:
    return [Document(f"d{n}", f"document number {n}") for n in range(number)]


def flip(log: Path, *kinds: int, states: tuple[str, ...] = ()) -> int:
    """Damage the records of some kinds; of BATCH, those in some states alone. How many."""
    from mrengine.log.format.batch_records import unpack_batch

    with ResumeEngine(log.parent) as view:
        frames = list(view.reader.frames())
    hit = 0
    with open(log, "r+b") as file:
        for frame in frames:
            chosen = frame.kind in kinds
            if chosen and frame.kind == codec.BATCH and states:
                chosen = unpack_batch(frame.payload).state in states
            if chosen:
                file.seek(frame.end - 3)
                byte = file.read(1)[0]
                file.seek(frame.end - 3)
                file.write(bytes([byte ^ 0xFF]))
                hit += 1
    return hit


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
@pytest.mark.parametrize("what", ["intent", "both", "requests too"])
def test_a_damaged_record_of_a_batch_buys_nothing_again(
    shared: LLMServer, tmp_path: Path, shape: str, what: str
) -> None:
    """Neither where the intent is lost, nor where all of a batch is, nor with what it asks."""
    shared.reset(batches=BatchRules(work_s=10, speed=0), prices=PRICES)
    runner(shared, tmp_path, shape).submit(texts(5), once)
    kinds = (codec.BATCH, codec.REQUEST) if what == "requests too" else (codec.BATCH,)
    assert flip(tmp_path / "jobs" / "job" / "log", *kinds, states=("intent",) if what == "intent" else ()) >= 2
    shared.advance(5)
    assert runner(shared, tmp_path, shape).submit(texts(5), once).status().state == "waiting"
    assert [batch["requests"] for batch in shared.batches()] == [3, 2]
    shared.advance(5)
    found = runner(shared, tmp_path, shape).run(texts(5), once)
    stats = shared.stats()
    assert (len(found.results), stats.ok, stats.paid_twice) == (5, 5, 0)
    assert [batch["requests"] for batch in shared.batches()] == [3, 2]
    assert Job("job", state_dir=tmp_path).status().cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
@pytest.mark.parametrize(("first", "found"), [("lost", 6), ("dropped", 3)])
def test_two_creates_without_an_answer_are_told_apart(
    shared: LLMServer, tmp_path: Path, shape: str, first: str, found: int
) -> None:
    """Both batches are found, or the second alone where the first was never made: neither hides the other."""
    shared.reset(batches=BatchRules(create=[first, "lost"], work_s=10, speed=0), prices=PRICES)
    for _ in range(2):  # each sends what the ones before it have not
        assert runner(shared, tmp_path, shape).submit(texts(6), once).status().state == "waiting"
    assert [batch["requests"] for batch in shared.batches()] == [3] * (found // 3)
    shared.advance(10)  # both are over before anybody looks into either
    status = runner(shared, tmp_path, shape).submit(texts(6), once).status()
    assert (status.done, shared.stats().ok, shared.stats().paid_twice) == (found, found, 0)
    assert status.cost_usd == pytest.approx(shared.stats().billed_usd, abs=1e-9)


def files(server: LLMServer) -> list[str]:
    with urllib.request.urlopen(f"{server.url}/files") as answer:  # our own server
        return [one["filename"] for one in json.load(answer)["data"]]


def test_no_upload_is_left_behind(shared: LLMServer, tmp_path: Path) -> None:
    """Of a process that is killed after it, before its intent; nor what an ended batch could not tidy up."""
    shared.reset(batches=BatchRules(), prices=PRICES)
    for owner, name in ((BatchClient, "newest"), (None, "tidy")):
        pid = os.fork()
        if pid == 0:
            try:
                from mrengine.providers.batches.openai import OpenAIBatches

                setattr(owner or OpenAIBatches, name, lambda *_: os._exit(9))
                runner(shared, tmp_path, "openai").run(texts(5), once)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        assert files(shared)
    found = runner(shared, tmp_path, "openai").run(texts(5), once)
    assert (len(found.results), shared.stats().paid_twice, shared.stats().ok) == (5, 0, 5)
    assert files(shared) == []
