"""A job by its id alone, from any process: status, cancel, purge, and the names that are refused."""

from __future__ import annotations

import os
import random
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mrengine import Budget, Document, Job, MapReduceRunner
from mrengine.errors import (
    BudgetExhausted,
    ConfigError,
    JobBusy,
    JobCancelled,
    JobFailed,
    JobMismatch,
    JobNotFound,
    JobTimeout,
    LogError,
    SourceError,
)
from mrengine.jobs import list_jobs
from mrengine.log.view.verify import verify
from mrengine.private import make_private
from mrengine.records import JobStatus, ModelSpec, Price
from mrengine.testing import fake
from mrengine.testing.llm_server import LLMServer
from tests.system.forked import Host, Say
from tests.system.processes import children, wait_for

DOCUMENTS = [f"Document {i}" for i in range(12)]


pytestmark = pytest.mark.usefixtures("state_dir")


@pytest.fixture
def jobs(state_dir: Path) -> Path:
    """Where the job folders are."""
    return state_dir / "jobs"


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Q " + chunk.text, max_tokens=200).text)


def runner(job_id: str = "j", **settings: Any) -> MapReduceRunner:
    settings = {"models": "fake", "workers": 2, "target_tokens": None, "strategy": "sequential", **settings}
    return MapReduceRunner(job_id, **settings)


@contextmanager
def running(server: LLMServer, **settings: Any) -> Iterator[MapReduceRunner]:
    """A run in another thread, over processes; stopped at the end."""
    host = runner(models=ModelSpec("m", base_url=server.url, price=Price(1.0, 1.0)), strategy="parallel", **settings)

    def work() -> None:
        try:
            host.run(DOCUMENTS, ask)
        except JobCancelled:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield host
    finally:
        host.stop()
        thread.join(30)


def test_the_status_of_a_running_job_needs_neither_lock_nor_host() -> None:
    """Two slots wait for their answers, four chunks have theirs; the rest is told from the pace."""
    with LLMServer(latency_s=0.3) as server, running(server) as host:
        seen: list[JobStatus] = []

        def look() -> bool:
            seen.append(host.status())
            return seen[-1].done >= 4 and seen[-1].in_flight == 2

        wait_for(lambda: server.stats().ok >= 2)
        wait_for(look)
        status = seen[-1]
        assert (status.job_id, status.state, status.round) == ("j", "running", 0)
        assert (status.total, status.failed, status.resumed) == (12, 0, 0)
        assert status.cost_usd is not None
        assert status.cost_usd > 0
        assert status.eta_s is not None
        assert 0 < status.eta_s < 100
        assert abs(status.updated - time.time()) < 60
        assert [x.done for x in seen] == sorted(x.done for x in seen)


def test_calls_of_a_run_that_crashed_are_not_in_flight_in_the_next() -> None:
    """They may have been billed, and wait for nothing."""
    with LLMServer(latency_s=0.4) as server:

        def work(say: Say) -> None:
            with running(server) as host:
                host.on("chunk:processed", lambda event: say(event.chunk_id))
                time.sleep(60)

        host = Host(work)
        assert host.hear() is not None
        wait_for(lambda: Job("j").status().in_flight == 2)
        for pid in (host.pid, *children(host.pid)):
            os.kill(pid, signal.SIGKILL)
        host.finish()
        wait_for(lambda: Job("j").status().state == "interrupted")
        assert (Job("j").status().in_flight, Job("j").status().eta_s) == (0, None)
        with running(server) as again:
            wait_for(lambda: again.status().resumed >= 1)
            for _ in range(20):
                assert again.status().in_flight <= 2


def fails(chunk: Any, context: Any) -> None:
    raise ValueError("never")


def stops(host: MapReduceRunner) -> None:
    host.on("chunk:processed", lambda event: host.stop())
    host.run(DOCUMENTS, ask)


def cancels(host: MapReduceRunner) -> None:
    host.on("chunk:processed", lambda event: Job("j").cancel())
    host.run(DOCUMENTS, ask)


ENDINGS: dict[str, tuple[type[Exception] | None, Callable[[MapReduceRunner], object], dict[str, Any]]] = {
    "done": (None, lambda host: host.run(DOCUMENTS, ask), {}),
    "failed": (JobFailed, lambda host: host.run(DOCUMENTS, fails), {}),
    "stopped": (JobCancelled, stops, {}),
    "cancelled": (JobCancelled, cancels, {}),
    "stopped by timeout": (JobTimeout, lambda host: host.run(DOCUMENTS, ask, timeout_s=0.3), {}),
    "stopped by budget": (BudgetExhausted, lambda host: host.run(DOCUMENTS, ask), {"budget": Budget(max_tokens=30)}),
}


@pytest.mark.parametrize("ending", sorted(ENDINGS))
@pytest.mark.parametrize("strategy", ["sequential", pytest.param("parallel", marks=pytest.mark.system)])
def test_the_state_says_how_the_last_run_ended(ending: str, strategy: Any) -> None:
    """done, failed, stopped or cancelled; and a job can be run again after each, cancelled ones after uncancel()."""
    error, act, settings = ENDINGS[ending]
    settings = {"models": fake("ok", latency_s=0.1), "strategy": strategy, **settings}
    host = runner(**settings)
    if error is None:
        act(host)
    else:
        with pytest.raises(error):
            act(host)
    assert Job("j").status().state == ending.partition(" ")[0]
    assert (Job("j").status().in_flight, Job("j").status().eta_s) == (0, None)
    if ending == "cancelled":
        with pytest.raises(JobCancelled, match="uncancel"):
            runner(**settings).run(DOCUMENTS, ask)
        Job("j").uncancel()
    runner(models=fake("ok"), on_mismatch="recompute").run(DOCUMENTS, ask)
    assert Job("j").status().state == "done"


@pytest.mark.parametrize("job_id", ["", ".", "..", "../x", "a/b", "-rf", "a\0b", "a b", "é", "x" * 101, None, 7])
def test_a_name_that_cannot_be_one_is_refused(job_id: Any, jobs: Path) -> None:
    """Before any file is looked at."""
    with pytest.raises(ConfigError, match="job id") as caught:
        Job(job_id)
    assert caught.value.setting == "job_id"
    assert not jobs.exists()


def test_a_link_in_the_state_folder_is_never_followed(jobs: Path, tmp_path: Path) -> None:
    """Neither for reading nor for writing; what it points to stays as it is."""
    runner("real").run(DOCUMENTS, ask)
    elsewhere = tmp_path / "elsewhere"
    os.rename(jobs / "real", elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    (jobs / "link").symlink_to(elsewhere)
    (jobs / "dangling").symlink_to(tmp_path / "nowhere")
    for act in (Job("link").status, Job("link").results, Job("link").cancel, Job("link").uncancel, Job("link").purge):
        with pytest.raises(JobNotFound):
            act()
    for name in ("link", "dangling"):
        with pytest.raises(ConfigError, match="link"):
            runner(name).run(DOCUMENTS, ask)
    assert list(list_jobs()) == []
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


@pytest.mark.parametrize("name", ["log", "lock", "jobs"])
def test_a_link_in_place_of_a_file_of_ours_is_refused(jobs: Path, tmp_path: Path, name: str) -> None:
    """The log, the lock, the folder of all jobs."""
    target = tmp_path / "target"
    if name == "jobs":
        target.mkdir()
        jobs.parent.mkdir(parents=True, exist_ok=True)
        jobs.symlink_to(target)
    else:
        target.write_text("precious")
        (jobs / "j").mkdir(parents=True)
        (jobs / "j" / name).symlink_to(target)
    with pytest.raises((ConfigError, LogError)):
        runner().run(DOCUMENTS, ask)
    assert list(target.iterdir()) == [] if name == "jobs" else target.read_text() == "precious"


def test_everything_in_a_job_folder_is_private_under_any_umask(jobs: Path) -> None:
    """0700 and 0600 under umask 000: spool, log, lock, mark, what was set aside and what was damaged."""
    before = os.umask(0)
    try:
        runner().run(DOCUMENTS, ask)
        log = jobs / "j" / "log"
        data = bytearray(log.read_bytes())
        data[600] ^= 1
        log.write_bytes(data)
        runner().run(DOCUMENTS, ask)
        runner(on_mismatch="restart").run(DOCUMENTS[:3], ask)
        Job("j").cancel()
    finally:
        os.umask(before)
    files = {path.name: path.stat().st_mode & 0o777 for path in (jobs / "j").iterdir()}
    assert {"log", "log.1", "lock", "cancelled"} <= set(files)
    assert any(name.startswith("log.damaged-") for name in files)
    assert any(name.startswith("spool-") for name in files)
    assert set(files.values()) == {0o600}
    assert (jobs / "j").stat().st_mode & 0o777 == jobs.stat().st_mode & 0o777 == 0o700


def test_restart_sets_the_old_log_aside_and_knows_nothing_of_it() -> None:
    """Not even its answers."""
    with LLMServer() as server:
        runner(models=f"{server.url}#m").run(DOCUMENTS, ask)
        again = runner(models=f"{server.url}#m", on_mismatch="restart")
        assert again.run(DOCUMENTS, ask).summary.resumed_chunks == 12  # nothing differs
        run = runner(models=f"{server.url}#m", on_mismatch="restart").run(DOCUMENTS[:6], ask)
        assert (run.summary.processed_chunks, run.summary.reused_calls) == (6, 0)
        assert server.stats().requests == 12 + 6


def test_extend_takes_added_documents_and_nothing_else() -> None:
    """A text that was edited, and a new prompt, are named; nothing runs."""
    runner().run(DOCUMENTS, ask)
    for documents, map_fn in (([*DOCUMENTS[1:], "x"], ask), (DOCUMENTS, lambda chunk, context: 1)):
        with pytest.raises(JobMismatch, match="extend") as caught:
            runner(on_mismatch="extend").run(documents, map_fn)
        assert caught.value.differences
    assert runner(on_mismatch="extend").run([*DOCUMENTS, "new"], ask).summary.processed_chunks == 1


def test_a_result_that_read_its_place_is_not_carried_to_another() -> None:
    """chunk.id, start and end count as inputs where they are read."""
    placed = runner("placed")
    placed.run(DOCUMENTS, lambda chunk, context: [chunk.id, context.complete(chunk.text).text])
    shifted = runner("placed", on_mismatch="recompute").run(
        [Document("first", "new"), *(Document(str(i), text) for i, text in enumerate(DOCUMENTS))],
        lambda chunk, context: [chunk.id, context.complete(chunk.text).text],
    )
    assert [result.result[0] for result in shifted.results] == list(range(13))


def test_purge_waits_for_nobody_and_leaves_nothing(jobs: Path) -> None:
    """JobBusy while it runs; afterwards the folder is gone, and results that were handed out can be read."""
    with LLMServer(latency_s=0.1) as server:
        with running(server) as host:
            wait_for(lambda: server.stats().ok >= 2)
            with pytest.raises(JobBusy, match="cancel"):
                Job("j").purge()
            assert host.status().state == "running"
        results = Job("j").results()
        Job("j").purge()
    assert list(jobs.iterdir()) == []
    assert [result.result for result in results]
    for act in (Job("j").purge, Job("j").status, Job("j").cancel, Job("j").uncancel):
        with pytest.raises(JobNotFound):
            act()


@pytest.mark.parametrize("asked", ["lstat", "chmod"])
def test_a_folder_that_is_purged_while_it_is_made_is_made_again(
    asked: str, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and nobody is told of permissions that were never missing."""
    really, purges = getattr(os, asked), iter("ab")

    def purged(path: Any, *more: Any) -> Any:
        if path == jobs / "c" and next(purges, None):
            os.rmdir(path)
        return really(path, *more)

    monkeypatch.setattr(os, asked, purged)
    make_private(jobs / "c")
    assert stat.S_IMODE((jobs / "c").stat().st_mode) == 0o700
    assert next(purges, None) is None


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(jobs: Path) -> None:
    """Where there is no place for it, and where a file stands in its place."""
    with pytest.raises(ConfigError, match=r"/proc/none cannot be made or written .* set MRENGINE_STATE_DIR"):
        make_private(Path("/proc/none"))
    jobs.mkdir(parents=True, exist_ok=True)
    (jobs / "c").touch()
    with pytest.raises(ConfigError, match="not a folder of its own"):
        make_private(jobs / "c")


def anything(say: Say, seed: int, strategy: Any, acts: int) -> None:
    """Runs, looks, cancels, purges in random order; what came of each."""
    chance = random.Random(seed)
    model = fake("ok", latency_s=0.005)

    def run() -> None:
        keep = chance.choice(["always", "results", "on_failure"])
        found = runner("c", strategy=strategy, models=model, keep=keep, drain_s=1.0).run(DOCUMENTS, ask)
        assert [result.result for result in found.results] == ["ok"] * 12

    def read() -> None:
        assert {result.result for result in Job("c").results()} <= {"ok"}

    def check() -> None:
        assert verify(Job("c").folder).sound

    job = Job("c")
    what = [run, run, run, read, check, job.status, job.cancel, job.uncancel, job.uncancel, job.purge]
    for _ in range(acts):
        act = chance.choice(what)
        try:
            act()
            say("did", act.__name__)
        except (JobBusy, JobCancelled, JobNotFound):
            continue


@pytest.mark.parametrize(
    ("strategy", "acts"),
    [("sequential", 60), pytest.param("parallel", 100, marks=[pytest.mark.system, pytest.mark.timeout(300)])],
)
def test_whatever_many_processes_do_to_one_job_at_once_ends_well(strategy: str, acts: int) -> None:
    """Results are right, logs are sound; what cannot be done now is busy, cancelled or not there."""
    hosts = [Host(lambda say, seed=seed: anything(say, seed, strategy, acts)) for seed in range(4)]
    said = [fact for host in hosts for fact in host.finish()]
    assert [fact for fact in said if fact[0] == "raised"] == []
    assert {"run", "purge", "check", "read"} <= {fact[1] for fact in said}
    assert [path.name for path in Job("c").folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("rounds", [10, pytest.param(60, marks=pytest.mark.system)])
def test_a_source_that_is_refused_removes_no_job_that_is_just_beginning(jobs: Path, rounds: int) -> None:
    """Nor is that told that it was purged: it runs, or hears that the other one holds the job for a moment."""
    ends: list[str] = []

    def bad() -> None:
        with suppress(JobBusy, SourceError):
            runner("c", strategy="sequential").run(jobs / "there is no such file", ask)

    def good() -> None:
        def slowly() -> Iterator[Document]:
            for n in range(3):
                time.sleep(0.002)
                yield Document(str(n), "text")

        while True:
            try:
                MapReduceRunner("c", strategy="sequential").run(slowly(), lambda chunk, context: 1)
            except JobBusy:
                continue
            except BaseException as error:
                ends.append(f"{type(error).__name__}: {error}")
            else:
                ends.append("done")
            return

    for _ in range(rounds):
        threads = [threading.Thread(target=act) for act in (good, bad, bad)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with suppress(JobNotFound):
            Job("c").purge()
    assert ends == ["done"] * rounds


def test_a_job_that_is_purged_while_jobs_are_listed_is_left_out(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes a folder between two looks at it."""
    for name in ("a", "b"):
        make_private(jobs / name)
        (jobs / name / "log").touch()
    there = os.path.lexists

    def purged(path: Any) -> bool:
        found = there(path)
        if Path(path) == jobs / "a" / "log":
            Path(path).unlink()
            (jobs / "a").rmdir()
        return found

    monkeypatch.setattr(os.path, "lexists", purged)
    assert [job.job_id for job in list_jobs()] == ["b"]
