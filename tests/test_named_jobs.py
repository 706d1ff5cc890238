"""A runner's name is its job; every run tells its end; a run can wait for another one of its job."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import mrengine
from mrengine import Job, MapReduceRunner
from mrengine.errors import BudgetExhausted, ConfigError, JobBusy, JobCancelled, JobFailed, JobMismatch, JobTimeout
from mrengine.jobs import list_jobs
from mrengine.records import Budget
from mrengine.testing import fake

TEXT = "".join(f"On day {day} the patient slept well, and the fever fell. Nothing else was seen. " for day in range(40))
pytestmark = pytest.mark.usefixtures("state_dir")


@pytest.fixture(params=["process", "sequential"])
def make(request: pytest.FixtureRequest) -> Any:
    def build(job_id: str | None = None, **settings: Any) -> MapReduceRunner:
        settings = {"workers": 2, "models": "fake", "target_tokens": 60, "drain_s": 3.0, **settings}
        if request.param == "sequential":
            settings["strategy"] = "sequential"
        return MapReduceRunner(job_id, **settings)

    return build


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Say: " + chunk.text, max_tokens=20).text)


def slow(chunk: Any, _context: Any) -> int:
    time.sleep(0.1)
    return len(chunk.text)


# names


def test_a_named_runner_is_its_job_in_every_run(make: Any) -> None:
    """run, stream and run again: one job, paid once; other inputs are refused, and another name takes them."""
    runner = make("visits")
    first = runner.run(TEXT, ask)
    again = runner.run(TEXT, ask)
    assert (first.job_id, again.job_id) == ("visits", "visits")
    assert again.summary.resumed_chunks == first.summary.total_chunks
    assert again.summary.usage == {}
    assert all(outcome.resumed for outcome in runner.stream(TEXT, ask))
    with pytest.raises(JobMismatch):
        runner.run(TEXT + " More.", ask)
    assert runner.run(TEXT + " More.", ask, job_id="others").job_id == "others"
    assert runner.run(TEXT, ask).job_id == "visits"
    assert {job.job_id for job in list_jobs()} == {"visits", "others"}


def test_a_warm_pool_keeps_its_name(make: Any) -> None:
    """In a with block, too."""
    with make("warm") as runner:
        runner.run(TEXT, ask)
        assert runner.run(TEXT, ask).summary.reused_calls == 0
        with pytest.raises(JobMismatch):
            runner.run("Another text.", ask)
    assert [job.job_id for job in list_jobs()] == ["warm"]


def test_tries_after_a_timeout_go_on_with_the_job(make: Any) -> None:
    """What a first try has done is not done again by the next one."""
    runner, calls = make("tried", workers=1), 0

    def count(_event: Any) -> None:
        nonlocal calls
        calls += 1

    runner.on("chunk:processed", count)
    for tries in range(40):  # a slow machine needs longer than a quick one before its first chunk
        try:
            run = runner.run(TEXT, slow, timeout_s=0.5 + tries / 4)
        except JobTimeout:
            continue
        assert calls == run.summary.total_chunks
        return
    pytest.fail("never done")


def test_a_budget_is_spent_once_over_all_runs_of_a_runner(make: Any) -> None:
    """Budget(per="job") of a named runner: its second and third run find it spent."""
    runner = make("spent", workers=1, budget=Budget(max_tokens=900))
    spent = []
    for _ in range(3):
        with pytest.raises(BudgetExhausted):
            runner.run(TEXT, ask)
        spent.append(len(Job("spent").results()))
    assert spent[0] == spent[1] == spent[2] > 0


# how a run ended


def ends(runner: MapReduceRunner) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    runner.on("*", lambda event: told.append((event.name, getattr(event, "state", ""))))
    return told


def fail(_chunk: Any, _context: Any) -> None:
    raise ValueError


@pytest.mark.parametrize(
    ("act", "error", "state"),
    [
        (lambda r: r.run(TEXT, ask), None, "done"),
        (lambda r: list(r.stream(TEXT, ask)), None, "done"),
        (lambda r: r.run(TEXT, fail), JobFailed, "failed"),
        (lambda r: list(r.stream(TEXT, fail)), JobFailed, "failed"),
        (lambda r: r.run(TEXT, ask, lambda results: 1 / 0), ZeroDivisionError, "failed"),
        (lambda r: r.run(TEXT, slow, timeout_s=0.2), JobTimeout, "timeout"),
        (lambda r: next(r.stream(TEXT, ask)), None, "stopped"),
        (lambda r: r.run("", ask), mrengine.errors.SourceError, "refused"),
    ],
)
def test_every_run_tells_its_end_once(make: Any, act: Any, error: Any, state: str) -> None:
    """The last event of all, whatever the run raised."""
    runner = make("ends", workers=1)
    told = ends(runner)
    if error is None:
        act(runner)
    else:
        with pytest.raises(error):
            act(runner)
    assert told[-1] == ("job:end", state)
    assert [name for name, _ in told].count("job:end") == 1
    assert ("job:start" in [name for name, _ in told]) == (state != "refused")


def test_a_spent_budget_a_cancel_and_a_stop_tell_their_end(make: Any) -> None:
    """The summary says what was done until then."""
    runner = make("broke", workers=1, budget=Budget(max_tokens=900))
    summaries = []
    runner.on("job:end", lambda event: summaries.append((event.state, event.summary.processed_chunks)))
    with pytest.raises(BudgetExhausted):
        runner.run(TEXT, ask)
    assert summaries == [("budget", len(Job("broke").results()))]

    for name, end, state in (
        ("off", lambda r: Job("off").cancel(), "cancelled"),
        ("halt", lambda r: r.stop(), "stopped"),
    ):
        runner = make(name, workers=1)
        told = ends(runner)
        runner.on("chunk:processed", lambda event, end=end, runner=runner: end(runner))
        with pytest.raises(JobCancelled):
            runner.run(TEXT * 10, slow)
        assert told[-1] == ("job:end", state)
    with pytest.raises(JobCancelled):
        make("off").run(TEXT * 10, slow)


def test_ctrl_c_tells_the_end_and_the_runner_is_free_by_then(make: Any) -> None:
    """A callback of job:end may begin the next run."""
    runner = make("again", workers=1)
    told: list[str] = []
    later: list[Any] = []
    runner.on("job:end", lambda event: told.append(event.state))
    runner.on("chunk:processed", lambda event: os.kill(os.getpid(), signal.SIGINT) if event.done == 2 else None)
    runner.on("job:end", lambda event: later.append(runner.run(TEXT, slow)) if event.state == "stopped" else None)
    with pytest.raises(KeyboardInterrupt):
        runner.run(TEXT, slow)
    assert told == ["stopped", "done"]
    assert later[0].summary.resumed_chunks >= 2


def test_a_processed_chunk_tells_its_cost(make: Any) -> None:
    model = mrengine.ModelSpec("fake", price=mrengine.Price(1.0, 2.0))
    runner, costs = make(models=model), []
    runner.on("chunk:processed", lambda event: costs.append(event.cost_usd))
    run = runner.run(TEXT, ask)
    assert sum(costs) == pytest.approx(run.summary.cost_usd)
    assert min(costs) > 0


def test_start_and_end_are_logged(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, for a web server's log; nothing at WARNING for a run that is sound."""
    caplog.set_level(logging.INFO, "mrengine")
    make("logged").run(TEXT, ask)
    lines = [record.getMessage() for record in caplog.records if record.name == "mrengine"]
    assert lines[0].startswith("job logged starts: ")
    assert lines[-1].startswith("job logged ended (done)")
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    with pytest.raises(JobFailed):
        make("failing").run(TEXT, fail)
    assert any("job failing ended (failed)" in message for message in caplog.messages)


# waiting

HOST = """
import os, sys, time, mrengine
text, go = open(sys.argv[1]).read(), sys.argv[2]
runner = mrengine.MapReduceRunner("shared", workers=1, models="fake", target_tokens=60, drain_s=1.0, map_version="1")
runner.on("chunk:processed", lambda event: print(event.done, flush=True))

def held(chunk, context):
    while chunk.id > 1 and not os.path.exists(go):
        time.sleep(0.02)
    return len(chunk.text)

runner.run(text, held)
"""


@pytest.fixture
def other(tmp_path: Path) -> Any:
    """Another program that runs the job "shared", and has done two chunks of it; the others wait for the file "go"."""
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "host.py").write_text(HOST)
    command = [sys.executable, str(tmp_path / "host.py"), str(tmp_path / "text"), str(tmp_path / "go")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert [host.stdout.readline(), host.stdout.readline()] == ["1\n", "2\n"]
        yield host
        host.kill()


def test_a_run_can_wait_for_another_one_of_its_job(make: Any, other: Any, tmp_path: Path) -> None:
    """It takes over all that the other has done; documents that can be read once are read once."""
    with pytest.raises(JobBusy, match="on_busy"):
        make("shared", map_version="1").run(TEXT, slow)
    documents = (text for text in [TEXT])
    threading.Timer(0.3, (tmp_path / "go").touch).start()
    run = make("shared", map_version="1").run(
        mrengine.Document("document", next(documents)), slow, on_busy="wait", timeout_s=60
    )
    assert run.summary.resumed_chunks == run.summary.total_chunks
    assert other.wait(30) == 0


def test_a_run_that_waits_takes_over_from_one_that_is_killed(make: Any, other: Any) -> None:
    """What it had done is not done again."""
    threading.Timer(0.5, other.kill).start()
    run = make("shared", map_version="1", on_busy="wait").run(TEXT, lambda chunk, context: len(chunk.text))
    assert run.summary.resumed_chunks == 2 < run.summary.total_chunks


def test_the_wait_ends_with_timeout_s_or_a_stop(make: Any, other: Any) -> None:
    """JobTimeout names the process; stop() ends it at once; both tell their end."""
    runner = make("shared", map_version="1", on_busy="wait")
    told = ends(runner)
    with pytest.raises(JobTimeout, match="process"):
        runner.run(TEXT, slow, timeout_s=0.3)
    threading.Timer(0.3, runner.stop).start()
    with pytest.raises(JobCancelled, match="waited"):
        runner.run(TEXT, slow)
    assert told == [("job:end", "timeout"), ("job:end", "cancelled")]
    assert other.poll() is None


def test_threads_of_one_runner_wait_for_each_other(make: Any) -> None:
    """A web application's runner: the second request has the first one's results, and pays nothing."""
    runner = make("requests", on_busy="wait")
    runs: list[Any] = []
    threads = [threading.Thread(target=lambda: runs.append(runner.run(TEXT, ask))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(run.summary.processed_chunks for run in runs)[:2] == [0, 0]
    assert len({tuple(r.result for r in run.results) for run in runs}) == 1


def test_a_runner_never_waits_for_itself(make: Any) -> None:
    """A run inside a stream of the same runner would wait for ever: it is refused, and the stream goes on."""
    runner = make("inner", on_busy="wait")
    for outcome in runner.stream(TEXT, ask):
        with pytest.raises(ConfigError, match="never end"):
            runner.run(TEXT, ask)
        assert outcome.result
    with pytest.raises(ConfigError, match="on_busy"):
        make(on_busy="maybe")


def test_the_deadline_counts_the_wait_for_the_turn(make: Any) -> None:
    """timeout_s counts the wait for the runner's own turn, too."""
    runner = make("turn", models=fake("ok", latency_s=0.2), workers=1, on_busy="wait")
    started = threading.Event()
    runner.on("chunk:processed", lambda event: started.set())

    def stopped() -> None:
        with pytest.raises(JobCancelled):
            runner.run(TEXT, ask)

    thread = threading.Thread(target=stopped)
    thread.start()
    assert started.wait(30)
    with pytest.raises(JobTimeout):
        runner.run(TEXT, ask, timeout_s=0.1)
    runner.stop()
    thread.join(60)
