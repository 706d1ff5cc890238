"""What jobs do over processes they do over Ray: each feature once, and the same comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Budget, Job, MapReduceRunner, ModelSpec, Price, RateLimit, summarize, tree_reduce
from mrengine.errors import BudgetExhausted, JobCancelled
from mrengine.profiling import PerformanceCollector, profile
from mrengine.testing import BatchRules, LLMServer, fake
from tests.summaries.models import document, faithful

pytestmark = [pytest.mark.usefixtures("state_dir", "attached"), pytest.mark.system]
TEXTS = [f"text number {number}" for number in range(12)]
PRICES = {"": {"input": 1000.0, "output": 2000.0}}


class Site:
    """A backend, and a server that counts what it is asked."""

    def __init__(self, server: LLMServer, backend: str) -> None:
        self.server, self.backend = server, backend

    def runner(self, job_id: str | None = None, **settings: Any) -> MapReduceRunner:
        model = ModelSpec("m", provider="http:openai", base_url=self.server.url, price=Price(1000.0, 2000.0))
        kept = {"workers": 2, "slots": 2, "models": model, "target_tokens": None, "backoff_s": 0.01, **settings}
        return MapReduceRunner(job_id, backend=self.backend, **kept)


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete(f"about {chunk.text}", max_tokens=40).text)


def three(chunk: Any, context: Any) -> str:
    answer = chunk.text
    for step in range(3):
        answer = context.complete(f"step {step} of {answer}", max_tokens=40).text
    return str(answer)


def batches(site: Site) -> Any:
    """Parked tasks: three calls in a row take three batches, and are billed as such."""
    site.server.reset(batches=BatchRules(), prices=PRICES)
    run = site.runner("batched", batch=Batch(poll_s=0.02)).run(TEXTS, three)
    sizes = [batch["requests"] for batch in site.server.batches()]
    stats = site.server.stats()
    assert run.summary.cost_usd == pytest.approx(stats.billed_usd)
    assert run.summary.reused_calls == 0
    return [one.result for one in run.results], sizes, stats.paid_twice, run.summary.usage


def streams(site: Site) -> Any:
    """Rows of the chunk table are given out while the rest is cut; the round stays open until the last."""
    text = "".join(f"On day {day} the fever fell, and the patient slept well. " for day in range(60_000))
    run = site.runner("streamed", target_tokens=200).run(text, size)
    return [one.result for one in run.results], run.summary.total_chunks


def size(chunk: Any, _context: Any) -> int:
    return len(chunk.text)


def shared_answers(site: Site) -> Any:
    """Another job finds what one has paid for; calls that are the same are made once."""
    shared = {"answers": "shared", "map_version": "1"}
    first = site.runner("first", **shared).run(TEXTS, ask)
    second = site.runner("second", **shared).run(TEXTS, ask)

    def classify(chunk: Any, context: Any) -> str:
        return str(context.complete("kind of " + chunk.text[:4], max_tokens=20))

    third = site.runner("third", single_flight=True).run(TEXTS, classify)
    asked = site.server.stats().ok
    return (
        [one.result for one in second.results],
        second.summary.usage,
        third.summary.reused_calls,
        asked,
        len(first[0]),
    )


def reduce_rounds(site: Site) -> Any:
    """Levels of a tree are rounds of their own, and are resumed like the first."""
    first = site.runner("tree").run(TEXTS * 5, ask, tree_reduce("Join $texts", fan_in=4))
    again = site.runner("tree").run(TEXTS * 5, ask, tree_reduce("Join $texts", fan_in=4))
    return first.result, again.result, again.summary.usage, site.server.stats().ok


def summaries(site: Site) -> Any:
    """With claims that are checked."""
    how: dict[str, Any] = {"target_tokens": 600, "overlap_tokens": 60, "workers": 2, "backend": site.backend}
    found = summarize(document(3), models=fake(faithful), cite=True, **how)
    return found.text, [(one.text, one.start, one.verified) for one in found.claims], found.unsupported


@profile(name="work")
def _work() -> None:
    time.sleep(0.001)


def works(chunk: Any, _context: Any) -> int:
    _work()
    return int(chunk.id)


def profiles(site: Site) -> Any:
    """Durations that are taken in the workers come home."""
    collector = PerformanceCollector()
    site.runner(collector=collector).run(TEXTS, works)
    return {name: found.count for name, found in collector.by_name().items() if name == "work"}


def events(site: Site) -> Any:
    """The same ones, with the same facts of each chunk."""
    found: list[tuple[str, Any]] = []
    runner = site.runner("told")
    runner.on("*", lambda event: found.append((event.name, getattr(event, "chunk_id", None))))

    def some_fail(chunk: Any, context: Any) -> str:
        if chunk.id == 3:
            raise LookupError("not there")
        return ask(chunk, context)

    runner.run(TEXTS, some_fail)
    return sorted(found, key=repr)


def limits_and_priorities(site: Site) -> Any:
    """Batch work leaves a part of the limit; the hard stop holds."""
    limits = {"m": RateLimit(tpm=60_000, burst_s=30)}
    waits: list[float] = []
    runner = site.runner(priority="P2_batch", limits=limits)
    runner.on("budget:wait", lambda event: waits.append(event.wait_ms))
    run = runner.run([f"{text} " + "word " * 2000 for text in TEXTS[:8]], ask)
    with pytest.raises(BudgetExhausted) as caught:
        site.runner("spent", budget=Budget(max_tokens=200)).run([f"{one} again" for one in TEXTS], ask)
    return len(run.results), bool(waits), caught.value.spent <= 200


def cancels(site: Site) -> Any:
    """From outside, while it runs; what was done is kept, and the job goes on where it was."""
    runner = site.runner("cancelled", drain_s=5.0)
    runner.on("chunk:processed", lambda event: Job("cancelled").cancel())
    with pytest.raises(JobCancelled):
        runner.run(TEXTS * 20, slowly)
    known = Job("cancelled").status()
    Job("cancelled").uncancel()
    rest = site.runner("cancelled").run(TEXTS * 20, slowly)
    assert rest.summary.resumed_chunks == known.done < 240
    return known.state, [one.result for one in rest.results]


def slowly(chunk: Any, _context: Any) -> int:
    time.sleep(0.02)
    return int(chunk.id)


def edits(site: Site) -> Any:
    """Only what has changed is asked again; a pilot's calls are the job's."""
    pilot = site.runner("edited").pilot(TEXTS, ask, n=4)
    site.runner("edited").run(TEXTS, ask)
    run = site.runner("edited", on_mismatch="recompute").run([*TEXTS[:-1], "another text"], ask)
    return len(pilot.results), [one.result for one in run.results], site.server.stats().ok


FEATURES: list[Callable[[Site], Any]] = [
    batches,
    streams,
    shared_answers,
    reduce_rounds,
    summaries,
    profiles,
    events,
    limits_and_priorities,
    cancels,
    edits,
]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.__name__)
def test_a_feature_does_over_ray_what_it_does_over_processes(
    feature: Callable[[Site], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a state folder of its own each."""
    found = {}
    for backend in ("process", "ray"):
        monkeypatch.setenv("MRENGINE_STATE_DIR", str(tmp_path / backend))
        with LLMServer() as server:
            found[backend] = feature(Site(server, backend))
    assert found["ray"] == found["process"]
