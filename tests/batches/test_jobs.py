"""Whole jobs through batches: the user's own map function, unchanged; what was bought, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mrengine import Batch, Budget, Document, Job, MapReduceRunner, ModelSpec, Price, RunResult, map_prompt, tree_reduce
from mrengine.errors import (
    BudgetExhausted,
    ConfigError,
    JobCancelled,
    JobFailed,
    JobTimeout,
    JobWaiting,
    ModelRefused,
)
from mrengine.host import batches, lost_batches
from mrengine.testing import BatchRules, LLMServer

PRICES = {"": {"input": 1000.0, "output": 2000.0}}
PRICE = Price(1000.0, 2000.0)
SHAPES = ["openai", "anthropic"]


@pytest.fixture(scope="module")
def shared() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


class Site:
    """A server, and a state folder."""

    def __init__(self, server: LLMServer, folder: Path, shape: str = "openai") -> None:
        self.server, self.folder, self.shape = server, folder, shape
        self.reset()

    def reset(self, *, answer: Any = None, **rules: Any) -> None:
        self.server.reset(answer=answer, batches=BatchRules(**rules), prices=PRICES)

    @property
    def spec(self) -> ModelSpec:
        url = self.server.url if self.shape == "openai" else self.server.root
        return ModelSpec("any", provider=f"http:{self.shape}", base_url=url, price=PRICE)

    def runner(self, job_id: str = "job", *, batch: Any = None, **settings: Any) -> MapReduceRunner:
        settings = {"models": self.spec, "strategy": "sequential", "target_tokens": None, **settings}
        batch = Batch(poll_s=0.02) if batch is None else batch
        return MapReduceRunner(job_id, batch=batch, state_dir=self.folder, progress=False, **settings)

    def run(self, map_fn: Any, documents: int = 4, **settings: Any) -> RunResult:
        return self.runner(**settings).run(texts(documents), map_fn)

    def sizes(self) -> list[int]:
        return [batch["requests"] for batch in self.server.batches()]

    def check_bill(self, cost_usd: float | None, *, twice: int = 0) -> None:
        stats = self.server.stats()
        assert stats.paid_twice == twice
        assert cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A create call that nobody heard of is waited for less long than it takes real servers."""
    monkeypatch.setattr(batches, "LEAST_GRACE_S", 0.6)


@pytest.fixture
def site(shared: LLMServer, tmp_path: Path) -> Site:
    return Site(shared, tmp_path)


@pytest.fixture(params=SHAPES)
def either(request: Any, shared: LLMServer, tmp_path: Path) -> Site:
    return Site(shared, tmp_path, request.param)


def texts(number: int) -> list[Document]:
    return [Document(f"d{n}", f"document number {n}") for n in range(number)]


def three(chunk: Any, context: Any) -> str:
    answer = chunk.text
    for step in range(3):
        answer = context.complete(f"step {step} of {answer}", max_tokens=40).text
    return str(answer)


def once(chunk: Any, context: Any) -> str:
    return str(context.complete(f"about {chunk.text}", max_tokens=40).text)


def test_three_calls_in_a_row_take_three_batches_at_half_the_price(either: Site) -> None:
    """The results are those of direct calls; each request is bought once."""
    batched = either.run(three)
    assert either.sizes() == [4, 4, 4]
    assert either.server.stats().batched == 12
    either.check_bill(batched.summary.cost_usd)
    either.reset()
    direct = either.run(three, job_id="direct", batch=False)
    assert [one.result for one in batched.results] == [one.result for one in direct.results]
    assert batched.summary.cost_usd == pytest.approx(either.server.stats().billed_usd / 2)


def test_what_a_batch_of_the_run_has_brought_is_no_reuse(site: Site) -> None:
    """Though its task begins again. What another chunk or an earlier run has paid for is."""

    def shout(chunk: Any, context: Any) -> str:
        return three(chunk, context).upper()

    assert site.run(three).summary.reused_calls == 0
    assert site.run(shout, on_mismatch="recompute").summary.reused_calls == 12
    site.runner("night").submit(texts(4), once)
    assert site.runner("night").resume("night").summary.reused_calls == 0
    same = [Document(f"d{n}", "one text") for n in range(5)]
    assert site.runner("same").run(same, three).summary.reused_calls == 12


def test_workers_in_processes_park_their_tasks(site: Site) -> None:
    """As one process does."""
    run = site.run(three, 12, strategy="parallel", workers=3, slots=2)
    assert len(run.results) == 12
    assert site.sizes() == [12, 12, 12]
    site.check_bill(run.summary.cost_usd)


def test_no_map_function_can_keep_a_task_from_being_parked(site: Site) -> None:
    """Neither by catching everything, nor by asking in threads of its own: these calls go into one batch."""

    def catches(chunk: Any, context: Any) -> str:
        try:
            return once(chunk, context)
        except BaseException:
            return "caught"

    def fans_out(chunk: Any, context: Any) -> list[str]:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(context.complete, f"part {n} of {chunk.text}") for n in range(3)]
        return [one.result().text for one in asked]

    run = site.run(catches)
    assert all(one.result != "caught" for one in run.results)
    run = site.run(fans_out, job_id="fan")
    assert [len(one.result) for one in run.results] == [3] * 4
    assert site.sizes() == [4, 12]


def test_cut_and_refused_answers_are_asked_again_in_the_next_batch(either: Site) -> None:
    """Continuations and re-asks; after as many as a direct call has, the chunk fails, and a later run begins again."""
    words = " ".join(f"w{n}" for n in range(25))
    either.reset(answer=words)
    run = either.run(
        lambda chunk, context: context.complete(chunk.text, max_tokens=10, on_truncation="continue").text, 2
    )
    assert {one.result for one in run.results} == {words}
    assert either.sizes() == [2, 2, 2]
    either.check_bill(run.summary.cost_usd)
    either.reset(answer=lambda prompt: "no JSON" if "bad" in prompt else '{"n": 1}')
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    ask = map_prompt("bad $text", response_model=schema)
    for _ in range(2):
        with pytest.raises(JobFailed, match="JSON"):
            either.run(ask, 1, job_id="invalid")
    assert either.sizes() == [1, 1, 1, 1, 1, 1]


def test_identical_calls_are_sent_once(site: Site) -> None:
    """All tasks that want the answer have it."""
    run = site.run(lambda chunk, context: context.complete("the same").text, 1)
    assert len(run.results) == 1
    same = [Document(f"d{n}", "the same text") for n in range(5)]
    found = site.runner("five").run(same, once)
    assert len({one.result for one in found.results}) == 1
    assert site.sizes() == [1, 1]


def test_refusals_are_raised_by_the_call_and_failures_of_a_moment_sent_again(either: Site) -> None:
    """A 400 as the error of a direct call, without another request; a 500 in the next batch, alone."""
    seen: list[str] = []

    def careful(chunk: Any, context: Any) -> str:
        try:
            return once(chunk, context)
        except ModelRefused as error:
            seen.append(f"{error.status}")
            return "refused"

    either.reset(statuses=lambda prompt: 400 if prompt.endswith("number 1") else None)
    run = either.run(careful)
    assert ([one.result for one in run.results].count("refused"), seen) == (1, ["400"])
    assert either.sizes() == [4]
    either.reset(statuses=_fails_for_the_first_two_seconds())
    run = either.run(once, 3, job_id="again")
    assert len(run.results) == 3
    assert either.sizes()[0] == 3
    assert set(either.sizes()[1:]) == {1}
    either.check_bill(run.summary.cost_usd)


def _fails_for_the_first_two_seconds() -> Callable[[str], int | None]:
    begun: list[float] = []

    def status(prompt: str) -> int | None:
        import time

        begun.append(time.monotonic())
        return 500 if prompt.endswith("number 1") and len(begun) <= 4 else None

    return status


def test_a_request_that_no_batch_answers_is_asked_directly(site: Site) -> None:
    """After five; or it fails."""
    site.reset(statuses=lambda prompt: 503 if prompt.endswith("number 0") else None)
    run = site.run(once, 2)
    assert (len(run.results), site.sizes()) == (2, [2, 1, 1, 1, 1])
    site.check_bill(run.summary.cost_usd)
    run = site.run(once, 2, job_id="fail", batch=Batch(poll_s=0.02, finish="fail"))
    assert [failure.chunk_id for failure in run.failures] == [0]


def test_only_the_unfinished_requests_of_an_expired_batch_are_sent_again(either: Site) -> None:
    """Half of it was done when its window was over; then a batch that is quick enough."""
    either.reset(work_s=8, window_s=4, speed=40)
    run = either.run(once, 8)
    assert len(run.results) == 8
    assert either.sizes()[:2] == [8, 4]
    either.check_bill(run.summary.cost_usd)


def test_batches_are_split_by_the_providers_limits(either: Site) -> None:
    """Requests, bytes; a batch that the endpoint finds too large is halved."""
    run = either.run(once, 7, batch=Batch(poll_s=0.02, max_requests=3))
    assert (len(run.results), either.sizes()) == (7, [3, 3, 1])
    run = either.run(once, 7, job_id="bytes", batch=Batch(poll_s=0.02, max_bytes=700))
    assert len(run.results) == 7
    assert len(either.sizes()) > 4
    either.reset(max_requests=2)
    run = either.run(once, 7, job_id="halved")
    assert (len(run.results), max(either.sizes()) <= 2) == (7, True)
    either.check_bill(run.summary.cost_usd)


def test_a_limit_of_enqueued_tokens_does_not_wedge_the_job(site: Site) -> None:
    """Batches that are refused for it wait for others, or are smaller."""
    site.reset(enqueued_tokens=20, work_s=0.1)
    run = site.run(once, 12, batch=Batch(poll_s=0.05, max_requests=4))
    assert len(run.results) == 12
    site.check_bill(run.summary.cost_usd)


@pytest.mark.parametrize("fate", ["lost", "late", "garbled", "dropped", "500", "429", "failed"])
def test_a_create_call_that_goes_wrong_buys_nothing_twice(either: Site, fate: str) -> None:
    """Its answer is lost: the batch is found, and adopted. It was never made: it is sent once more."""
    either.reset(create=[fate], late_s=0.2)
    run = either.run(once, 3)
    assert len(run.results) == 3
    either.check_bill(run.summary.cost_usd)
    assert either.sizes() == ([3, 3] if fate == "failed" else [3])


def test_after_the_deadline_the_rest_is_asked_directly_or_fails(either: Site) -> None:
    """What the batch had done by then is kept: at its price."""
    either.reset(work_s=4, cancelling_s=0.1)
    run = either.run(once, 8, batch=Batch(poll_s=0.02, deadline_s=1.0))
    stats = either.server.stats()
    assert len(run.results) == 8
    assert 0 < stats.batched < 8
    assert stats.ok == 8
    either.check_bill(run.summary.cost_usd)
    either.reset(work_s=4, cancelling_s=0.1)
    run = either.run(once, 8, job_id="fail", batch=Batch(poll_s=0.02, deadline_s=1.0, finish="fail"))
    assert len(run.results) + len(run.failures) == 8
    assert {failure.kind for failure in run.failures} == {"model"}
    assert len(run.results) == either.server.stats().ok


def test_a_budget_reserves_at_the_batch_price(site: Site) -> None:
    """It holds a job back that would be above it, and lets one through that direct calls would not."""
    job = {"strategy": "sequential"}
    enough = Budget(max_cost_usd=4 * 0.5 * (200 * 1000 + 40 * 2000) / 1e6)
    run = site.run(once, 4, budget=enough, **job)
    assert len(run.results) == 4
    tight = Budget(max_cost_usd=0.5 * (100 * 1000 + 40 * 2000) / 1e6)
    with pytest.raises(BudgetExhausted) as raised:
        site.run(three, 4, job_id="tight", budget=tight)
    assert raised.value.unit == "USD"
    summary = raised.value.summary
    assert summary is not None
    assert summary.cost_usd is not None
    assert summary.cost_usd <= 0.14 / 2 * 2


def test_a_job_is_submitted_and_collected_by_somebody_else(either: Site) -> None:
    """Nothing need stay alive; what asks is in the log."""
    either.reset(work_s=10, speed=0)
    job = either.runner(batch=Batch(poll_s=0.02)).submit(texts(3), map_prompt("Sum up: $text"))
    status = job.status()
    assert (status.state, status.done, either.sizes()) == ("waiting", 0, [3])
    collect = MapReduceRunner(state_dir=either.folder, models=either.spec, progress=False, strategy="sequential")
    with pytest.raises(JobWaiting):
        collect.resume("job", detach=True)
    either.server.advance(10)
    run = collect.resume("job")
    assert (len(run.results), Job("job", state_dir=either.folder).status().state) == (3, "done")
    assert either.sizes() == [3]
    either.check_bill(run.summary.cost_usd)


def test_a_job_with_batches_under_way_never_asks_directly_what_they_hold(site: Site) -> None:
    """Whoever goes on with it without a word about batches waits for them; ``batch=False`` cancels them first."""
    site.reset(work_s=0.5)
    site.runner().submit(texts(3), once)
    run = MapReduceRunner("job", models=site.spec, strategy="sequential", target_tokens=None, state_dir=site.folder,
                          progress=False, batch=Batch(poll_s=0.02))  # fmt: skip
    assert len(run.run(texts(3), once).results) == 3
    assert (site.sizes(), site.server.stats().ok) == ([3], 3)
    site.reset(work_s=1000)
    site.runner("other").submit(texts(3), once)
    found = site.run(once, 3, job_id="other", batch=False)
    assert len(found.results) == 3
    assert (site.server.stats().ok, site.server.stats().batched, site.server.batches()[0]["state"]) == (
        3,
        0,
        "cancelled",
    )


def test_cancel_ends_the_providers_batch_and_keeps_what_it_has_done(either: Site) -> None:
    """From another thread, while the run waits."""
    either.reset(work_s=1, speed=0)
    runner = either.runner()
    job = Job("job", state_dir=either.folder)

    def half(event: Any) -> None:
        either.server.advance(0.5)
        job.cancel()

    runner.on("batch:submitted", half)
    with pytest.raises(JobCancelled) as raised:
        runner.run(texts(4), once)
    assert either.server.batches()[0]["state"] == "cancelled"
    summary = raised.value.summary
    assert summary is not None
    either.check_bill(summary.cost_usd)
    job.uncancel()
    either.reset()
    assert len(either.run(once, 4).results) == 4
    assert either.server.stats().batched == 2


def test_waiting_ends_with_the_time_that_was_given(site: Site) -> None:
    """The batch stays where it is, and is collected later."""
    site.reset(work_s=10, speed=0)
    for batch, timeout_s in ((Batch(poll_s=0.02, max_wait_s=0.3), None), (Batch(poll_s=0.02), 1.0)):
        with pytest.raises(JobTimeout):
            site.runner(batch=batch).run(texts(2), once, timeout_s=timeout_s)
    site.server.advance(10)
    assert len(site.run(once, 2).results) == 2
    assert site.sizes() == [2]


def test_reduce_rounds_and_ensembles_go_through_batches(site: Site) -> None:
    """Every level is a round; every model has its batch."""
    site.reset(answer="short")
    runner = site.runner(target_tokens=50)
    result, summary = runner.run(texts(6), map_prompt("Sum up: $text"), tree_reduce("Join: $text"))
    assert result == "short"
    assert site.server.stats().batched == site.server.stats().ok
    site.check_bill(summary.cost_usd, twice=site.server.stats().paid_twice)
    site.reset()
    other = ModelSpec("other", provider="http:anthropic", base_url=site.server.root, price=PRICE)
    run = site.run(once, 3, job_id="all", models=[site.spec, other], balance="all")
    assert (len(run.results), site.sizes()) == (6, [3, 3])
    site.check_bill(run.summary.cost_usd)
    site.reset()
    run = site.run(three, 4, job_id="spread", models=[site.spec, other])
    assert (len(run.results), sum(site.sizes())) == (4, 12)


def test_a_model_without_batches_is_asked_directly_and_a_job_of_such_is_refused(site: Site) -> None:
    """And what must be fresh is asked directly, too."""
    with pytest.raises(ConfigError, match="batch="):
        site.run(once, models="fake")
    run = site.run(once, 2, models=["fake", site.spec], balance="all")
    assert (len(run.results), site.sizes()) == (4, [2])
    run = site.run(lambda chunk, context: context.complete(chunk.text, reuse=False).text, 2, job_id="fresh")
    assert (len(run.results), site.sizes()) == (2, [2])


def test_a_parameter_that_the_endpoint_does_not_know_is_left_out_in_the_next_batch(
    shared: LLMServer, tmp_path: Path
) -> None:
    """As in direct calls."""
    site = Site(shared, tmp_path)
    shared.reset(native_schema=False, answer='{"n": 1}', prices=PRICES)
    ask = map_prompt("$text", response_model={"type": "object", "properties": {"n": {"type": "integer"}}})
    run = site.run(ask, 3)
    assert [one.result for one in run.results] == [{"n": 1}] * 3
    assert site.sizes() == [3, 3]


def test_prompts_are_in_no_batch_record_but_the_requests_own(site: Site) -> None:
    """The ledger of a finished job wants nothing."""
    from mrengine import ResumeEngine

    site.run(once, 2)
    with ResumeEngine(site.folder / "jobs" / "job") as view:
        ledger = view.state.batches
        assert (ledger.wanted, ledger.under_way()) == ({}, [])
        facts = [one.record for one in ledger.batches.values()]
    assert "document" not in json.dumps([str(one) for one in facts])


def test_a_pilot_asks_directly_and_never_what_a_batch_holds(site: Site) -> None:
    """Its results are the job's; the rest goes into a batch."""
    found = site.runner().pilot(texts(6), once, 2)
    assert (len(found.results), site.sizes(), site.server.stats().ok) == (2, [], 2)
    run = site.run(once, 6)
    assert (len(run.results), site.sizes()) == (6, [4])
    site.reset(work_s=100, speed=0)
    site.runner("other").submit(texts(6), once)
    with pytest.raises(ConfigError, match="batches"):
        site.runner("other").pilot(texts(6), once, 2)
    assert site.server.stats().ok == 0


@pytest.mark.parametrize("fate", ["cut", "half", "500", "404"])
def test_answers_that_come_by_halves_are_read_again(either: Site, fate: str) -> None:
    """Neither asked again, nor counted twice."""
    for number, create in ((6, None), (1, "lost")):
        either.reset(download=[fate, None, fate], create=[create])
        run = either.run(once, number, job_id=f"{create}")
        assert (len(run.results), either.sizes()) == (number, [number])
        either.check_bill(run.summary.cost_usd)


@pytest.mark.parametrize("patience_s", [180.0, 0.0])
def test_a_file_that_is_not_there_for_long_is_waited_for(
    either: Site, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    """However often one looks meanwhile; but not for ever."""
    monkeypatch.setattr(lost_batches, "PATIENCE_S", patience_s)
    either.reset(download=["404"] * 14)
    run = either.run(once, 6)
    assert (len(run.results), either.sizes()) == (6, [6] if patience_s else [6, 6])
    if patience_s:
        either.check_bill(run.summary.cost_usd)


def test_answers_of_batches_are_shared_with_other_jobs(either: Site) -> None:
    """The second job pays for a tenth, in a batch or directly; not one whose answers are its own."""
    runs = [either.run(once, 9, job_id="first", answers="shared")]
    runs.append(either.run(once, 10, job_id="second", answers="shared"))
    assert either.sizes() == [9, 1]
    runs.append(either.run(once, 10, job_id="third", answers="shared", batch=False))
    assert (either.server.stats().ok, len({tuple(one.result for one in run.results)[:9] for run in runs})) == (10, 1)
    either.run(once, 10, job_id="fourth")
    assert either.sizes() == [9, 1, 10]
    own = either.spec if either.shape == "openai" else None
    assert own is None or either.run(once, 9, job_id="else", answers="shared", models=_other_owner(own)).results
    assert either.sizes()[:3] == [9, 1, 10]


def _other_owner(spec: ModelSpec) -> ModelSpec:
    return ModelSpec("any", provider=spec.provider, base_url=spec.base_url, price=PRICE, headers={"x-project": "other"})


RATES = {"input": 3000.0, "output": 15000.0, "cached": 300.0, "cache_write": 3750.0, "cache_write_1h": 6000.0}
LONG = "Read what follows as a careful reader of many years would read it. " * 90


def cached_site(site: Site, work_s: float = 0.0) -> ModelSpec:
    rules = BatchRules(work_s=work_s)
    site.server.reset(cache_min=1024, prices={"": RATES}, batches=rules, latency_s=0.01)
    url = site.server.url if site.shape == "openai" else site.server.root
    return ModelSpec("any", provider=f"http:{site.shape}", base_url=url, price=Price(*RATES.values()))


def test_a_primer_goes_before_a_batch_where_it_pays(shared: LLMServer, tmp_path: Path) -> None:
    """Nineteen in twenty read what it wrote; it is cheaper than without, and the bill is the server's own."""
    site = Site(shared, tmp_path, "anthropic")
    bills = {}
    for cache in ("auto", "off"):
        ask = map_prompt(f"{LONG}\n\n$text", max_tokens=20, cache=cache)
        run = site.run(ask, 40, models=cached_site(site), job_id=cache)
        stats = shared.stats()
        bills[cache] = stats.billed_usd
        assert (len(run.results), stats.paid_twice) == (40, 0)
        assert run.summary.cost_usd == pytest.approx(stats.billed_usd, abs=1e-9)
        assert stats.read_calls == (39 if cache == "auto" else 0)
        assert (site.sizes(), stats.batched) == (([39], 39) if cache == "auto" else ([40], 40))
    assert bills["auto"] < 0.5 * bills["off"]


def test_no_primer_where_it_does_not_pay(either: Site) -> None:
    """For a few requests, for a vendor that wants no marks, or where the budget has room for the batch alone."""
    number = 6 if either.shape == "anthropic" else 30
    ask = map_prompt(f"{LONG}\n\n$text", max_tokens=20)
    either.run(ask, number, models=cached_site(either))
    assert (either.sizes(), either.server.stats().written_tokens) == ([number], 0)
    if either.shape == "anthropic":
        spec = cached_site(either)
        tight = Budget(max_cost_usd=0.5 * 40 * (20 * 15000 + 7000 * 6000) / 1e6)
        found = either.run(ask, 40, models=spec, job_id="tight", budget=tight)
        assert len(found.results) == 40
        assert either.server.stats().billed_usd <= tight.max_cost_usd


def test_a_primer_that_fails_keeps_no_batch_waiting(shared: LLMServer, tmp_path: Path) -> None:
    """It is not tried again, and nothing is marked."""
    site = Site(shared, tmp_path, "anthropic")
    spec = cached_site(site)
    rules = BatchRules()
    shared.reset(cache_min=1024, prices={"": RATES}, batches=rules, script=["400"])
    run = site.run(map_prompt(f"{LONG}\n\n$text", max_tokens=20), 40, models=spec, max_failed=3)
    assert len(run.results) == 39
    assert shared.stats().written_tokens == 0
    assert run.summary.cost_usd == pytest.approx(shared.stats().billed_usd, abs=1e-9)
