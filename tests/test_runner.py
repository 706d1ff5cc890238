"""The front door, over both backends: what a job gives back, keeps, resumes and refuses."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mrengine
from mrengine import Document, Job, MapReduceRunner, Retry
from mrengine.errors import (
    BudgetExhausted,
    ChunkingError,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobFailed,
    JobMismatch,
    JobNotFound,
    JobTimeout,
    SourceError,
)
from mrengine.jobs import list_jobs
from mrengine.records import Budget, ModelSpec
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer

TEXT = "The patient slept well. The fever fell on Tuesday. Nothing else was seen. " * 40
pytestmark = pytest.mark.usefixtures("state_dir")


@pytest.fixture(params=["process", "sequential"])
def make(request: pytest.FixtureRequest) -> Any:
    """A runner over each backend: two workers, chunks of 60 tokens, the fake model."""

    def build(job_id: str | None = None, **settings: Any) -> MapReduceRunner:
        settings = {"workers": 2, "models": "fake", "target_tokens": 60, "drain_s": 3.0, **settings}
        if request.param == "sequential":
            settings["strategy"] = "sequential"
        return MapReduceRunner(job_id, **settings)

    return build


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Say: " + chunk.text, max_tokens=20).text)


def lengths(chunk: Any, _context: Any) -> int:
    return len(chunk.text) - chunk.overlap


def test_results_come_in_chunk_order_and_tile_the_document(make: Any) -> None:
    """Every character of the document reaches exactly one chunk."""
    result, summary = make().run(TEXT, lengths)
    assert sum(r.result for r in result) == len(TEXT)
    assert [r.chunk_id for r in result] == list(range(len(result)))
    assert summary.processed_chunks == summary.total_chunks == len(result) > 5


def test_a_named_job_is_finished_once(make: Any) -> None:
    """The second run takes all from the log and starts nothing."""
    first = make("visits").run(TEXT, ask)
    again = make("visits").run(TEXT, ask)
    assert again.summary.resumed_chunks == first.summary.total_chunks
    assert again.summary.processed_chunks == 0
    assert [r.result for r in again.results] == [r.result for r in first.results]
    assert all(r.resumed for r in again.results)


@pytest.mark.parametrize("named", [pytest.param(None, marks=pytest.mark.system), "refused"])
def test_a_new_job_that_is_refused_leaves_nothing(make: Any, named: str | None, tmp_path: Path) -> None:
    """Documents that are none or cannot be read, a generator that raises: no job is listed afterwards."""
    (tmp_path / "binary").write_bytes(b"a\xff\xfe")

    def broken() -> Any:
        yield "text"
        raise ZeroDivisionError

    for document in (5, [], "", tmp_path / "nope", tmp_path / "binary", broken(), {"a": "text"}, {"text"}):
        with pytest.raises((ConfigError, SourceError, ZeroDivisionError)):
            make(named).run(document, lengths)
    with pytest.raises(ChunkingError):
        make(named, overlap_tokens=400, target_tokens=500, encoding="none").run(TEXT, lengths)
    assert list(list_jobs()) == []
    make("kept").run(TEXT, lengths)
    with pytest.raises(SourceError):
        make("kept").run("", lengths)
    assert [job.job_id for job in list_jobs()] == ["kept"]


def test_a_mapping_or_a_set_is_no_row_of_documents(make: Any) -> None:
    """Their keys would be the documents, or their order another one each time: the error names the way out."""
    for document in ({"a": "long text"}, {"b", "a"}):
        with pytest.raises(ConfigError, match=r"Document\(id, source\)"):
            make().run(document, lengths)


def above(chunk: Any, _context: Any) -> list[Any]:
    return [list(chunk.headings), chunk.table_header, chunk.fenced.split("\n", 1)[1].startswith("[Part > Chapter]")]


def test_headings_and_table_header_reach_the_map_function_also_after_a_resume(make: Any) -> None:
    """They are read from the spool; chunk.fenced begins with them."""
    rows = "".join(f"| row {number} | some words of a cell |\n" for number in range(99))
    text = "# Part\n\nSome text.\n\n## Chapter\n\n| name | words |\n| --- | --- |\n" + rows
    first = make("heads", splitter="markdown", target_tokens=120).run(text, above)
    again = make("heads", splitter="markdown", target_tokens=120).run(text, above)
    inside = [result.result for result in first.results][1:]
    assert len(inside) > 3
    assert all(found == [["Part", "Chapter"], "| name | words |\n| --- | --- |\n", True] for found in inside)
    assert [result.result for result in again.results] == [result.result for result in first.results]
    assert all(result.resumed for result in again.results)


def test_a_blank_chunk_costs_no_call_and_is_reported(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither does a blank document; a job with nothing else is refused."""
    blanks = " \n" * 3000
    run = make().run([Document("a", TEXT + blanks + TEXT), Document("b", blanks)], lengths)
    assert 0 < sum(result.result for result in run.results) < 2 * len(TEXT) + 2000
    assert all(result.document_id == "a" for result in run.results)
    assert "have nothing but blanks" in " ".join(record.getMessage() for record in caplog.records)
    with pytest.raises(SourceError, match="blank"):
        make().run(blanks, lengths)


def test_empty_documents_among_others_are_reported(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """By their ids, a few of them, in the summary and in the log."""
    run = make().run([Document("full", TEXT), *(Document(f"empty{i}", "") for i in range(7))], lengths)
    (told,) = run.summary.warnings
    assert "7 documents are empty" in told
    assert "'empty4' and 2 more" in told
    assert told in caplog.text


def test_a_str_that_names_a_file_is_text_and_a_warning(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever meant the file hears of it; the log line does not repeat the text."""
    (tmp_path / "file.txt").write_text(TEXT)
    run = make().run(str(tmp_path / "file.txt"), lengths)
    assert run.result[0].result == len(str(tmp_path / "file.txt"))
    assert "give Path(…)" in caplog.text
    assert "file.txt" not in caplog.text


async def later(_chunk: Any, _context: Any) -> str:
    return "x"


def pieces(_chunk: Any, _context: Any) -> Any:
    yield "x"


@pytest.mark.parametrize(("map_fn", "way"), [(later, "asyncio.run"), (partial(later), "asyncio"), (pieces, "a list")])
def test_functions_that_return_no_result_are_refused(make: Any, map_fn: Any, way: str) -> None:
    """A coroutine or a generator is none: said before the run, with the way out."""
    with pytest.raises(ConfigError, match=way):
        make().run(TEXT, map_fn)
    assert list(list_jobs()) == []


def test_a_reducer_that_fails_names_the_job(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its exception passes unchanged; the log says by which id the results are found."""
    runner = make()
    with pytest.raises(ZeroDivisionError):
        runner.run(TEXT, lengths, lambda _: 1 / 0)
    (job,) = list_jobs()
    assert f"job_id={job.job_id!r}" in caplog.text


def test_backends_agree() -> None:
    """The same job gives the same values in processes and in this one."""
    settings: dict[str, Any] = {"workers": 3, "models": "fake", "target_tokens": 60}
    parallel = MapReduceRunner(**settings).run(TEXT, ask)
    sequential = MapReduceRunner(strategy="sequential", **settings).run(TEXT, ask)
    assert [r.result for r in parallel.results] == [r.result for r in sequential.results]


def test_an_exception_costs_its_own_chunk(make: Any) -> None:
    """The others have results; the failure names type and place, and not the document."""

    def flaky(chunk: Any, _context: Any) -> int:
        if chunk.id == 2:
            raise ValueError("cannot parse " + chunk.text)
        return int(chunk.id)

    run = make().run(TEXT, flaky)
    assert len(run.results) == run.summary.total_chunks - 1
    failure = run.failures[0]
    assert (failure.chunk_id, failure.kind) == (2, "error")
    assert "ValueError: cannot parse" in failure.message
    assert "fever" not in failure.message
    assert "flaky" in failure.traceback


def test_all_failed_is_an_error_that_carries_the_facts(make: Any) -> None:
    """JobFailed has job id, summary and failures."""
    with pytest.raises(JobFailed) as caught:
        make("bad").run(TEXT, lambda chunk, context: 1 / 0)
    assert caught.value.job_id == "bad"
    assert len(caught.value.failures) == caught.value.summary.failed_chunks > 0


def test_more_failures_than_allowed_stop_the_job(make: Any) -> None:
    """max_failed=1: the second failure ends it."""

    def odd(chunk: Any, _context: Any) -> int:
        if chunk.id % 2:
            raise ValueError("odd")
        return 1

    with pytest.raises(JobFailed, match="max_failed"):
        make(max_failed=1).run(TEXT, odd)


def test_a_result_that_cannot_be_stored_names_its_path(make: Any) -> None:
    """The failure says where in the result, and what stands there."""

    class Foo:
        pass

    def bad(chunk: Any, _context: Any) -> Any:
        return {"x": [1, 2, 3, Foo()]} if chunk.id == 0 else {"x": []}

    run = make().run(TEXT, bad)
    assert run.failures[0].kind == "unstorable"
    assert "a result is None" in run.failures[0].message
    assert 'result["x"][3]' in run.failures[0].message
    assert "Foo" in run.failures[0].message


def test_retry_is_tried_again_a_bounded_number_of_times(make: Any) -> None:
    """attempt counts up; after max_attempts the chunk is given up."""

    def again(chunk: Any, context: Any) -> int:
        if chunk.id == 1 or context.attempt < 2:
            raise Retry("not yet", after_s=0.01)
        return int(context.attempt)

    run = make(max_attempts=3).run(TEXT, again)
    assert {r.result for r in run.results} == {2}
    assert [(f.chunk_id, f.kind, f.attempts) for f in run.failures] == [(1, "retries", 3)]


def test_values_are_the_same_when_they_are_resumed(make: Any) -> None:
    """Tuples, dataclasses and completions are normalised before anyone sees them."""

    @dataclasses.dataclass
    class Finding:
        name: str
        score: float

    def rich(chunk: Any, context: Any) -> Any:
        return {"t": (1, 2), "d": Finding("a", 0.5), "c": context.complete("x"), "p": Path("a/b"), "b": b"\0"}

    first = make("rich").run("short", rich).results[0].result
    again = make("rich").run("short", rich).results[0].result
    assert first == again
    assert first["t"] == [1, 2]
    assert first["d"] == {"name": "a", "score": 0.5}
    assert first["p"] == "a/b"


def test_other_inputs_are_refused_by_name(make: Any) -> None:
    """The mismatch lists what differs."""
    make("job").run(TEXT, ask)
    with pytest.raises(JobMismatch, match="document") as caught:
        make("job").run(TEXT + "More.", ask)
    assert caught.value.differences
    with pytest.raises(JobMismatch, match="map function"):
        make("job").run(TEXT, lengths)


def test_a_mended_map_function_pays_for_no_call_again() -> None:
    """recompute after a fix of the parsing: every chunk runs again, no call is made twice."""
    with LLMServer() as server:
        model = f"{server.url}#m"
        settings: dict[str, Any] = {"workers": 2, "target_tokens": 60, "models": model}

        def wrong(chunk: Any, context: Any) -> str:
            return str({}[context.complete("Q " + chunk.text, max_tokens=9).text])

        with pytest.raises(JobFailed):
            MapReduceRunner("mend", **settings).run(TEXT, wrong)
        asked = server.stats().requests
        run = MapReduceRunner("mend", on_mismatch="recompute", **settings).run(
            TEXT, lambda chunk, context: context.complete("Q " + chunk.text, max_tokens=9).text
        )
        assert server.stats().requests == asked == run.summary.total_chunks
        assert run.summary.reused_calls == asked


def test_documents_can_be_added(make: Any) -> None:
    """extend keeps what was done, and runs the new document alone."""
    first = [Document("a", TEXT), Document("b", TEXT)]
    done = make("grow").run(first, ask).summary.total_chunks
    run = make("grow", on_mismatch="extend").run([*first, Document("c", TEXT)], ask)
    assert run.summary.resumed_chunks == done
    assert run.summary.processed_chunks == done // 2
    assert {r.document_id for r in run.results} == {"a", "b", "c"}


def test_going_back_to_an_earlier_prompt_is_free(make: Any) -> None:
    """Superseded results stay in the log."""
    one, two = mrengine.map_prompt("One: $text"), mrengine.map_prompt("Two: $text")
    first = make("prompts").run(TEXT, one)
    make("prompts", on_mismatch="recompute").run(TEXT, two)
    back = make("prompts", on_mismatch="recompute").run(TEXT, one)
    assert back.summary.processed_chunks == 0
    assert [r.result for r in back.results] == [r.result for r in first.results]


def test_per_document_reduces_each_by_itself(make: Any) -> None:
    """The result is a dict by document id."""
    run = make().run([Document("a", TEXT), Document("b", "Short.")], lengths, lambda rs: sum(r.result for r in rs),
                     per_document=True)  # fmt: skip
    assert run.result == {"a": len(TEXT), "b": len("Short.")}


def test_an_exception_of_reduce_passes_and_the_job_stays_done(make: Any) -> None:
    """The next run reduces again, without a call."""
    with pytest.raises(ZeroDivisionError):
        make("red").run(TEXT, ask, lambda results: 1 / 0)
    run = make("red").run(TEXT, ask, len)
    assert run.result == run.summary.resumed_chunks == run.summary.total_chunks


def test_stream_gives_outcomes_as_they_are_durable(make: Any) -> None:
    """Leaving the loop stops the job; the next stream gives the earlier ones first, or with new_only not at all."""
    seen = []
    for outcome in make("st").stream(TEXT, ask):
        seen.append(outcome.chunk_id)
        if len(seen) == 2:
            break
    status = Job("st").status()
    assert status.state == "stopped"
    assert status.done >= 2
    new = [o.chunk_id for o in make("st").stream(TEXT, ask, new_only=True)]
    assert len(new) == status.total - status.done
    assert sorted(o.chunk_id for o in make("st").stream(TEXT, ask)) == list(range(status.total))


def test_a_stream_ends_as_a_run_does(make: Any) -> None:
    """job:complete after the last outcome; JobFailed where every chunk failed."""
    runner = make()
    names: list[str] = []
    runner.on("*", lambda event: names.append(event.name))
    outcomes = list(runner.stream(TEXT, lengths))
    assert names[-2:] == ["job:complete", "job:end"]
    failing = runner.stream(TEXT, lambda chunk, context: 1 / 0)
    assert [next(failing).kind for _ in outcomes] == ["error"] * len(outcomes)
    with pytest.raises(JobFailed, match="all"):
        next(failing)
    assert names.count("job:complete") == 1


def test_events_tell_the_run(make: Any) -> None:
    """start, one processed a chunk, complete; a callback that raises stops nothing."""
    runner = make()
    names: list[str] = []
    runner.on("*", lambda event: names.append(event.name))
    runner.on("chunk:processed", lambda event: 1 / 0)
    run = runner.run(TEXT, ask)
    assert names[0] == "job:start"
    assert names[-2:] == ["job:complete", "job:end"]
    assert names.count("chunk:processed") == run.summary.total_chunks


def test_prints_and_logging_of_the_map_function_reach_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """Never its stdout."""

    def noisy(chunk: Any, _context: Any) -> int:
        print("a printed line")
        logging.getLogger("clinic").warning("a logged line")
        return 1

    with caplog.at_level(logging.INFO):
        MapReduceRunner(workers=1, models="fake").run("x", noisy)
    told = {(record.name, record.getMessage()) for record in caplog.records}
    assert ("map_fn", "a printed line") in told
    assert ("clinic", "a logged line") in told


def test_stop_from_another_thread_is_resumable(make: Any) -> None:
    """What was done is kept."""
    runner = make("halt", models=fake("ok", latency_s=0.05))
    runner.on("chunk:processed", lambda event: runner.stop() if event.done == 2 else None)
    with pytest.raises(JobCancelled):
        runner.run(TEXT, ask)
    status = Job("halt").status()
    assert status.state == "stopped"
    assert 2 <= status.done < status.total
    assert make("halt", models=fake("ok", latency_s=0.05)).run(TEXT, ask).summary.resumed_chunks == status.done


def test_timeout_is_resumable(make: Any) -> None:
    """timeout_s raises JobTimeout, which is a TimeoutError, and loses nothing."""
    with pytest.raises(TimeoutError) as caught:
        make("late", models=fake("ok", latency_s=0.2)).run(TEXT, ask, timeout_s=1.2)
    assert isinstance(caught.value, JobTimeout)
    assert Job("late").status().state == "stopped"


def test_budget_is_a_hard_stop(make: Any) -> None:
    """The job stops before the cap is exceeded, and goes on with a larger one."""
    with pytest.raises(BudgetExhausted) as caught:
        make("dear", budget=Budget(max_tokens=600)).run(TEXT, ask)
    spent = sum(usage.total_tokens for usage in caught.value.summary.usage.values())
    assert 0 < spent <= 600
    run = make("dear", budget=Budget(max_tokens=1_000_000)).run(TEXT, ask)
    assert len(run.results) == run.summary.total_chunks
    assert run.summary.resumed_chunks > 0


def test_consensus_asks_every_model_about_every_chunk(make: Any) -> None:
    """balance="all" is the reducer's wish."""
    models = [fake("yes", name="fake-a"), fake("yes", name="fake-b"), fake("no", name="fake-c")]
    run = make(models=models).run(TEXT, ask, mrengine.consensus_aggregator)
    votes = run.result["consensus_results"]
    assert all(vote["consensus_prediction"] == "yes" for vote in votes)
    assert len(run.results) == 3 * len(votes) == run.summary.processed_chunks


def test_round_robin_takes_turns(make: Any) -> None:
    """Chunk i of n models goes to model i % n."""
    run = make(models=[fake("a", name="fake-a"), fake("b", name="fake-b")]).run(TEXT, ask)
    assert [r.result for r in run.results] == ["ab"[i % 2] for i in range(len(run.results))]


def test_the_balancer_knows_what_each_model_did(make: Any) -> None:
    """Over all workers and runs of the runner: chunks, failures and tokens; nothing is in flight when a run is over."""

    def ask_or_fail(chunk: Any, context: Any) -> str:
        if chunk.id == 3:
            raise ValueError("no")
        return ask(chunk, context)

    runner = make(models=[fake("a", name="fake-a"), fake("b", name="fake-b")])
    runs = [runner.run(TEXT, ask_or_fail) for _ in range(2)]
    stats = runner.balancer.get_usage_stats()
    n = runs[0].summary.total_chunks
    assert [stats[m].done + stats[m].failed for m in ("fake-a", "fake-b")] == [2 * ((n + 1) // 2), 2 * (n // 2)]
    assert [stats[m].failed for m in ("fake-a", "fake-b")] == [0, 2]
    assert [stats[m].in_flight for m in ("fake-a", "fake-b")] == [0, 0]
    assert stats["fake-a"].usage == runs[0].summary.usage["fake-a"] + runs[1].summary.usage["fake-a"]


def test_one_warm_pool_for_several_runs() -> None:
    """In a with block the workers stay: the second run's tasks meet the first one's processes."""
    with MapReduceRunner(workers=2, models="fake", target_tokens=60) as runner:
        first = runner.run(TEXT, lambda chunk, context: os.getpid())
        second = runner.run(TEXT, lambda chunk, context: os.getpid())
    assert {r.result for r in first.results} == {r.result for r in second.results}


def test_summarize_is_chunks_then_one_answer(make: Any) -> None:
    """A finished summary costs nothing a second time."""
    runner = make("sum")
    summary = mrengine.summarize(TEXT, runner=runner)
    assert str(summary).startswith("An answer of the fake model")
    again = mrengine.summarize(TEXT, runner=make("sum"))
    assert str(again) == str(summary)
    assert again.run.summary.usage == {}


def test_a_job_goes_on_by_its_id_alone() -> None:
    """A prompt's job needs neither its documents nor its function."""
    prompt = mrengine.map_prompt("Say: $text")
    runner = MapReduceRunner("byid", workers=2, models="fake", target_tokens=60)
    runner.on("chunk:processed", lambda event: runner.stop())  # of many chunks: a few are done before it is heard
    with pytest.raises(JobCancelled):
        runner.run(TEXT * 1000, prompt)
    done = Job("byid").status().done
    run = MapReduceRunner().resume("byid")
    assert run.summary.resumed_chunks >= done
    assert len(run.results) == run.summary.total_chunks


@pytest.mark.parametrize("job_id", ["a/b", "..", ".", "-rf", "", "x" * 101, "a\0b", "../x"])
def test_job_ids_that_are_no_name_are_refused(job_id: str) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigError, match="job id"):
        MapReduceRunner(job_id)


def test_nothing_to_run_on_is_refused(make: Any) -> None:
    """Clearly, and nothing is left in the way."""
    for document in ("", [], ["", ""], b""):
        with pytest.raises((SourceError, ConfigError), match="document"):
            make("empty").run(document, ask)
    assert len(make("empty").run("x", ask).results) == 1


def test_what_cannot_travel_is_named() -> None:
    """The error names the variable."""
    lock = threading.Lock()
    with pytest.raises(ConfigError, match="'lock'"):
        MapReduceRunner(models="fake").run("x", lambda chunk, context: lock.locked())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"balance": "best"}, "balance"),
        ({"priority": "P9"}, "priority"),
        ({"models": "gtp-4"}, "unknown model"),
        ({"models": "gpt-4o"}, "OPENAI_API_KEY"),
        ({"models": "fake", "limits": {"other": mrengine.RateLimit(tpm=1)}}, "other"),
        ({"models": "fake", "budget": Budget(max_cost_usd=1)}, "price"),
        ({"target_tokens": 10, "overlap_tokens": 10}, "overlap"),
        ({"models": "fake", "budget": 100}, "Budget"),
        ({"models": "fake", "limits": 100}, "RateLimit"),
        ({"models": "fake", "limits": {"fake": 100}}, "RateLimit"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], named: str) -> None:
    """A ValueError that says which."""
    with pytest.raises(ValueError, match=named):
        MapReduceRunner(**settings).run("some text of a document " * 20, ask)


def test_what_the_constructor_can_see_it_refuses() -> None:
    """Before anything is read: an overlap without room; a callback that cannot be called."""
    with pytest.raises(ChunkingError, match="overlap_tokens=350"):
        MapReduceRunner(target_tokens=10, overlap_tokens=350)
    with pytest.raises(ConfigError, match="int"):
        MapReduceRunner().on("chunk:processed", 5)  # type: ignore[type-var]


def test_a_map_function_without_models_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only complete() does, and says what to set."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    runner = MapReduceRunner(strategy="sequential")
    assert runner.run("x", lambda chunk, context: chunk.tokens).results[0].result == 1
    with pytest.raises(JobFailed, match="OPENAI_API_KEY"):
        runner.run("x", ask)


def test_a_wrong_key_ends_the_job_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """401 is not tried on every chunk; nothing is recorded as failed, so a right key goes on."""
    with LLMServer(api_key="right", latency_s=0.02) as server:
        spec = ModelSpec("m", base_url=server.url, api_key_env="LAB_KEY")
        monkeypatch.setenv("LAB_KEY", "wrong")
        with pytest.raises(JobFailed, match="401"):
            MapReduceRunner("key", workers=2, models=spec, target_tokens=60).run(TEXT, ask)
        assert server.stats().requests <= 6
        monkeypatch.setenv("LAB_KEY", "right")
        run = MapReduceRunner("key", workers=2, models=spec, target_tokens=60).run(TEXT, ask)
        assert run.summary.failed_chunks == 0


def test_a_job_goes_on_by_its_id_at_the_same_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same provider, and the key of the variable that is named again; its value is not in the log."""
    monkeypatch.setenv("LAB_KEY", "right")
    with LLMServer(api_key="right") as server:
        spec = ModelSpec("m", provider="http:anthropic", base_url=server.root, api_key_env="LAB_KEY")
        prompt = mrengine.map_prompt("Sum up: $text", max_tokens=20)
        settings: dict[str, Any] = {"workers": 2, "target_tokens": 60}
        with pytest.raises(BudgetExhausted):
            MapReduceRunner(models=spec, budget=Budget(max_tokens=1000), **settings).run(TEXT, prompt, job_id="lab")
        run = MapReduceRunner(**settings).resume("lab", api_key_env="LAB_KEY")
        assert run.summary.failed_chunks == 0
        assert run.summary.resumed_chunks > 0
        assert server.stats().statuses.keys() == {"200"}


def test_faults_are_ridden_out() -> None:
    """429, 500, drops, truncations and non-JSON: every chunk has its answer."""
    faults = {"429": 0.05, "500": 0.05, "drop": 0.03, "truncate": 0.03, "non_json": 0.03}
    with LLMServer(latency_s=0.01, faults=faults, retry_after_s=0.2) as server:
        runner = MapReduceRunner(workers=2, slots=4, models=f"{server.url}#m", target_tokens=None, backoff_s=0.05)
        run = runner.run([f"document {i}" for i in range(100)], ask)
        assert run.summary.processed_chunks == 100
        assert server.stats().early == 0


def test_a_job_that_runs_is_busy_for_others() -> None:
    """At once, by name of the process."""
    runner = MapReduceRunner("busy", workers=1, models=fake("ok", latency_s=0.3), target_tokens=60)
    started = threading.Event()
    runner.on("chunk:processed", lambda event: started.set())
    failure: list[BaseException] = []

    def work() -> None:
        try:
            runner.run(TEXT, ask)
        except JobCancelled as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(30)
        with pytest.raises(JobBusy) as caught:
            MapReduceRunner("busy", workers=1, models=fake("ok", latency_s=0.3), target_tokens=60).run(TEXT, ask)
        assert caught.value.pid
        assert Job("busy").status().state == "running"
    finally:
        runner.stop()
        thread.join(30)
    assert failure


def test_cancel_is_sticky() -> None:
    """From any process, until uncancel."""
    make_runner = lambda: MapReduceRunner("off", workers=1, models="fake", target_tokens=60)  # noqa: E731
    runner = make_runner()
    runner.on("chunk:processed", lambda event: Job("off").cancel() if event.done == 1 else time.sleep(0.1))
    big = TEXT * 40
    with pytest.raises(JobCancelled):
        runner.run(big, lambda chunk, context: time.sleep(0.05))
    with pytest.raises(JobCancelled, match="uncancel"):
        make_runner().run(big, ask)
    Job("off").uncancel()
    Job("off").purge()
    with pytest.raises(JobNotFound):
        Job("off").status()


def test_job_folders_are_private(state_dir: Path) -> None:
    """0700 and 0600, whatever the umask."""
    before = os.umask(0)
    try:
        MapReduceRunner("private", workers=1, models="fake").run("x", ask)
    finally:
        os.umask(before)
    folder = state_dir / "jobs" / "private"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {entry.stat().st_mode & 0o777 for entry in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(("keep", "left"), [("results", {"lock", "log"}), ("on_failure", set()), ("always", None)])
def test_keep_says_what_stays(state_dir: Path, keep: Any, left: set[str] | None) -> None:
    """No document text after success, nothing at all, or everything; results stay readable either way."""
    run = MapReduceRunner("kept", workers=1, models="fake", keep=keep).run(TEXT, ask)
    folder = state_dir / "jobs" / "kept"
    found = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    assert found == left if left is not None else any(name.startswith("spool-") for name in found)
    assert run.results[0].result


def test_an_unwritable_state_folder_is_named(tmp_path: Path) -> None:
    """With the way out."""
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(ConfigError, match="MRENGINE_STATE_DIR"):
        MapReduceRunner(models="fake", state_dir=file / "below").run("x", ask)


def test_an_estimate_calls_nothing() -> None:
    """Chunks, calls, tokens; a cost where the price is known."""
    with LLMServer() as server:
        spec = ModelSpec("m", base_url=server.url, price=mrengine.Price(1.0, 2.0))
        estimate = MapReduceRunner(models=spec, target_tokens=60).estimate(TEXT)
        assert server.stats().requests == 0
    assert estimate.chunks == estimate.calls > 5
    assert estimate.cost_usd is not None
    assert estimate.cost_usd > 0


def test_a_provider_that_is_away_is_reported_of_while_it_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    """An event for each call that is made again, one line in the log, and the cause in JobTimeout."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1#away"
        runner = MapReduceRunner(workers=1, models=url, backoff_s=0.05, drain_s=0.5)
        seen: list[Any] = []
        runner.on("call:retry", lambda event: (seen.append(event), len(seen) == 3 and runner.stop()))
        with pytest.raises(JobCancelled) as stopped:
            runner.run("text", ask)
        with pytest.raises(JobTimeout, match="no connection"):
            runner.run("text", ask, timeout_s=3.0)
    assert seen[0].model == "away"
    assert seen[0].status is None
    assert stopped.value.summary.retries >= 3
    told = [record.getMessage() for record in caplog.records if "made again" in record.getMessage()]
    assert len(told) == 2  # one a run
    assert all("no connection" in line for line in told)
