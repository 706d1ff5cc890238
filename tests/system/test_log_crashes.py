"""Crashes, full disks and damage through the whole engine: what the log promises, seen from outside."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.errors import JobMismatch, LogError
from mrengine.log.file import wal
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.lock import JobLock
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.packing import key
from mrengine.log.view.verify import verify
from mrengine.testing.llm_server import LLMServer
from tests.log.second_reader import read
from tests.system.forked import Host, Say
from tests.system.processes import alive, children, wait_for

DOCUMENTS = [f"Document {i}" for i in range(24)]


def ask(chunk: Any, context: Any) -> str:
    return str(context.complete("Q " + chunk.text, max_tokens=9).text)


def runner(model: str, **settings: Any) -> MapReduceRunner:
    settings = {"workers": 2, "slots": 2, "target_tokens": None, "drain_s": 5.0, **settings}
    return MapReduceRunner("job", models=model, **settings)


def announcing(model: str, *, documents: int = 24, **settings: Any) -> Callable[[Say], None]:
    """A host's work: run the job, say what is announced and how it ended."""

    def work(say: Say) -> None:
        host = runner(model, **settings)
        host.on("job:start", lambda event: say("start", event.resumed))
        host.on("chunk:processed", lambda event: say("ack", event.chunk_id))
        say("done", host.run(DOCUMENTS[:documents], ask).summary.resumed_chunks)

    return work


@pytest.fixture
def server(state_dir: Path) -> Iterator[LLMServer]:
    with LLMServer(latency_s=0.05) as running:
        yield running


def model_of(server: LLMServer) -> str:
    return f"{server.url}#m"


def acknowledged(said: list[list[Any]]) -> set[int]:
    found = [fact[1] for fact in said if fact[0] == "ack"]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize(
    "strategy", ["sequential", pytest.param("parallel", marks=[pytest.mark.system, pytest.mark.timeout(300)])]
)
def test_of_twenty_processes_that_start_one_job_one_wins(server: LLMServer, strategy: str) -> None:
    """The others are told that it is busy, or find it done; no chunk is paid for twice."""
    hosts = [Host(announcing(model_of(server), strategy=strategy)) for _ in range(20)]
    said = [host.finish() for host in hosts]
    assert {(facts[-1][0], facts[-1][1]) for facts in said} <= {("done", 0), ("done", 24), ("raised", "JobBusy")}
    winners = [facts for facts in said if acknowledged(facts)]
    assert len(winners) == 1
    assert acknowledged(winners[0]) == set(range(24))
    assert server.stats().requests == 24


@pytest.mark.parametrize("strategy", ["parallel", pytest.param("sequential", marks=pytest.mark.system)])
def test_a_run_waits_for_a_supervisor_that_drains(server: LLMServer, strategy: str) -> None:
    """The host is killed while its calls take long; the next run begins when they are committed, and repeats none."""
    server.reset(latency_s=0.8)
    host = Host(announcing(model_of(server), documents=6))
    wait_for(lambda: server.stats().in_flight_max == 4)
    host.kill()
    host.finish()
    run = runner(model_of(server), strategy=strategy, drain_s=0.1).run(DOCUMENTS[:6], ask)
    assert len(run.results) == 6
    assert run.summary.resumed_chunks + run.summary.reused_calls == 4
    assert server.stats().requests == 6


def test_a_job_whose_supervisor_was_killed_is_free_though_a_grandchild_lives(server: LLMServer, tmp_path: Path) -> None:
    """map_fn had forked a process that left its group: it holds no lock and no log."""
    born = tmp_path / "born"

    def forking(chunk: Any, context: Any) -> str:
        if chunk.id == 0 and not born.exists():
            pid = os.fork()
            if not pid:
                os.setsid()
                time.sleep(60)
                os._exit(0)
            born.write_text(str(pid))
        return ask(chunk, context)

    def work(say: Say) -> None:
        host = runner(model_of(server), map_version="1")
        host.on("chunk:processed", lambda event: say("ack", event.chunk_id))
        host.run(DOCUMENTS, forking)

    host = Host(work)
    wait_for(lambda: born.exists() and born.read_text())
    grandchild = int(born.read_text())
    try:
        supervisor = children(host.pid)[0]
        host.kill()
        os.kill(supervisor, signal.SIGKILL)
        host.finish()
        wait_for(lambda: not alive(supervisor))
        assert JobLock(Job("job").folder).holder() is None
        assert len(runner(model_of(server), map_version="1").run(DOCUMENTS, ask).results) == 24
        assert alive(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder on a tmpfs of 400 KiB. Mounting needs root: skipped without it, but not where CI=true."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        reason = f"cannot mount a tmpfs: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    monkeypatch.setenv("MRENGINE_STATE_DIR", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def padded(chunk: Any, context: Any) -> str:
    return ask(chunk, context) + "." * 10_000


@pytest.mark.parametrize("strategy", ["sequential", "parallel"])
def test_a_full_disk_stops_the_job_and_room_resumes_it(server: LLMServer, small_disk: Path, strategy: str) -> None:
    """ENOSPC on a real file system: nothing that was announced is lost, nothing that was committed is paid again."""
    server.reset(latency_s=0.03)
    (small_disk / "ballast").write_bytes(bytes(200_000))
    announced = []
    host = runner(model_of(server), strategy=strategy)
    host.on("chunk:processed", lambda event: announced.append(event.chunk_id))
    with pytest.raises(LogError, match="room") as caught:
        host.run(DOCUMENTS, padded)
    assert caught.value.reason == "full"
    assert 5 < len(announced) < 24
    assert Job("job").status().state == "interrupted"
    assert announced_in(small_disk) >= set(announced)
    os.unlink(small_disk / "ballast")
    again = runner(model_of(server), strategy=strategy).run(DOCUMENTS, padded)
    assert again.summary.resumed_chunks >= len(announced)
    assert len(again.results) == 24
    assert server.stats().requests <= 24 + 2 * 4  # answered and refused by the disk, and in flight behind them


def announced_in(state_dir: Path) -> set[int]:
    return {result.chunk_id for result in Job("job", state_dir=state_dir).results()}


class FailingDisk(OsFiles):
    """The N-th write or sync fails, and none after it."""

    left = 0

    def _count(self) -> None:
        FailingDisk.left -= 1
        if FailingDisk.left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self._count()
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._count()
        super().sync(fd)

    def sync_folder(self, path: str) -> None:
        self._count()
        super().sync_folder(path)


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.system)])
def test_an_input_output_error_at_any_operation_stops_the_job_and_loses_nothing(
    server: LLMServer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """EIO at the N-th write or sync of a run, for all N (or every sixth): LogError, then a run that goes on."""
    monkeypatch.setattr(wal, "OsFiles", FailingDisk)
    model, documents, survived = model_of(server), DOCUMENTS[:4], 0
    server.reset()
    for n in range(1, 200, step):
        FailingDisk.left, announced = n, set[int]()
        host = runner(model, strategy="sequential")
        host.on("chunk:processed", lambda event, announced=announced: announced.add(event.chunk_id))
        before = server.stats().requests
        with suppress(LogError):
            host.run(documents, ask)
        failed, FailingDisk.left = FailingDisk.left <= 0, 0
        again = runner(model, strategy="sequential").run(documents, ask)
        assert announced <= {result.chunk_id for result in again.results if result.resumed}
        assert len(again.results) == 4
        assert server.stats().requests <= before + 4 + 1
        Job("job").purge()
        survived += failed
        if not failed:
            break
    assert survived * step > 15


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def frame_of(path: Path, kind: int, nth: int) -> int:
    """Where the n-th record of a kind begins."""
    with LogReader(path) as reader:
        return [frame.offset for frame in reader.frames() if frame.kind == kind][nth]


def test_damage_costs_the_chunks_that_it_strikes_and_is_reported(
    server: LLMServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Two results are struck: they run again, with the answers in the log; the bytes are kept aside, and named."""
    first = [result.result for result in runner(model_of(server)).run(DOCUMENTS, ask).results]
    log = Job("job").folder / "log"
    struck = [frame_of(log, codec.RESULT, 3), frame_of(log, codec.RESULT, 9)]
    for offset in struck:
        flip(log, offset + 60)
    with pytest.raises(LogError, match="nothing was changed") as caught:
        runner(model_of(server), strict=True).run(DOCUMENTS, ask)
    assert [start for start, _ in caught.value.ranges] == struck
    assert Job("job").status().done == 22
    with caplog.at_level(logging.WARNING, "mrengine"):
        again = runner(model_of(server)).run(DOCUMENTS, ask)
    assert again.summary.resumed_chunks == 22
    assert again.summary.reused_calls == 2
    assert server.stats().requests == 24
    assert [result.result for result in again.results] == first
    for start, end in caught.value.ranges:
        assert f"{start} to {end}" in caplog.text
        assert any(f"{start} to {end}" in warning for warning in again.summary.warnings)
        assert (log.parent / f"log.damaged-{start}-{end}").stat().st_size == end - start
    assert runner(model_of(server), strict=True).run(DOCUMENTS, ask).summary.warnings == ()


def test_an_answer_that_is_damaged_costs_one_call(server: LLMServer) -> None:
    """A CALL is struck, and the result that was made of it too."""
    server.reset()
    runner(model_of(server), strategy="sequential").run(DOCUMENTS, ask)
    log = Job("job").folder / "log"
    with LogReader(log) as reader:
        frames = [frame for frame in reader.frames() if frame.kind in (codec.CALL, codec.RESULT)]
    struck = [frame for frame in frames if key(frame.payload) == key(frames[5].payload)]
    assert {frame.kind for frame in struck} == {codec.CALL, codec.RESULT}
    for frame in struck:
        flip(log, frame.offset + 70)
    again = runner(model_of(server), strategy="sequential").run(DOCUMENTS, ask)
    assert (again.summary.resumed_chunks, again.summary.reused_calls) == (23, 0)
    assert server.stats().requests == 25


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.system)])
def test_whatever_is_struck_the_job_ends_with_the_same_results_and_buys_what_is_lost(
    server: LLMServer, step: int
) -> None:
    """Each record of a log of two epochs, or each third, and each page; JobMismatch only if the last JOB is gone."""
    server.reset()
    model, strategy, documents = model_of(server), "sequential", DOCUMENTS[:5]
    runner(model, strategy=strategy).run(documents, ask)
    documents.append("One more")
    extended = runner(model, strategy=strategy, on_mismatch="extend").run(documents, ask)
    expected = [result.result for result in extended.results]
    folder = Job("job").folder
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    with LogReader(folder / "log") as reader:
        frames = list(reader.frames())
    calls = [frame.offset for frame in frames if frame.kind == codec.CALL]
    last_job = [frame for frame in frames if frame.kind == codec.JOB][-1]
    pages = [(at, min(at + 2048, len(kept["log"]))) for at in range(512, len(kept["log"]), 2048)]
    for start, end in [*((frame.offset + 9, frame.offset + 10) for frame in frames[::step]), *pages]:
        for path in folder.iterdir():
            path.unlink()
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        with open(folder / "log", "r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * (end - start))
        before, told = server.stats().requests, None
        try:
            run = runner(model, strategy=strategy).run(documents, ask)
        except JobMismatch as error:
            told = str(error)
            run = runner(model, strategy=strategy, on_mismatch="recompute").run(documents, ask)
        assert told is None or ("damaged" in told and start < last_job.end and end > last_job.offset)
        lost = [offset for offset in calls if start < offset + 9 and offset < end] if end - start > 1 else []
        bought = server.stats().requests - before
        assert bought <= len(lost)
        same = [result.result for result in run.results]
        assert same == expected if not bought else len(same) == len(expected)
        assert verify(folder).sound


def test_a_text_that_is_not_what_was_cut_is_never_given_to_map_fn(server: LLMServer) -> None:
    """The spool is struck: its chunk fails, says so, and no call is made for it; documents given again heal it."""

    def stop_first(say: Say) -> None:
        host = runner(model_of(server), strategy="sequential")
        host.on("chunk:processed", lambda event: os.kill(os.getpid(), signal.SIGKILL))
        host.run(DOCUMENTS, ask)

    Host(stop_first).finish()
    (spool,) = Job("job").folder.glob("spool-*")
    flip(spool, spool.stat().st_size - 3)
    run = runner(model_of(server)).resume("job", ask)
    assert [(failure.chunk_id, failure.kind) for failure in run.failures] == [(23, "damaged")]
    assert "run the job again with its documents" in run.failures[0].message
    assert server.stats().requests == 23
    assert len(runner(model_of(server)).run(DOCUMENTS, ask).results) == 24
    assert server.stats().requests == 24


def test_the_second_reader_agrees_on_a_log_that_the_engine_wrote(server: LLMServer) -> None:
    """Cut at any sector and struck anywhere: the same frames, the same damage, the same end."""
    runner(model_of(server)).run(DOCUMENTS[:5], ask)
    whole = (Job("job").folder / "log").read_bytes()
    copy = Job("job").folder / "copy"
    for at in range(512, len(whole), 97):
        struck = bytearray(whole)
        struck[at] ^= 1
        for data in (whole[:at], bytes(struck)):
            copy.write_bytes(data)
            second, frames = read(data), []
            with LogReader(copy) as reader:
                found = reader.walk(frames.extend)
            kept = [(frame.offset, frame.kind, frame.payload) for frame in frames if frame.offset < found.end]
            assert kept == second.frames
            assert list(found.damage) == second.damage
            assert found.end == second.end


def test_a_run_that_was_killed_after_its_last_result_is_reported_to_be_done(server: LLMServer) -> None:
    """Its CLOSE is missing, and its outcomes say it; the next run finds everything and asks nothing."""

    def work(say: Say) -> None:
        host = runner(model_of(server))
        host.on("chunk:processed", lambda event: event.done == 24 and os.kill(os.getpid(), signal.SIGKILL))
        host.run(DOCUMENTS, ask)

    Host(work).finish()
    wait_for(lambda: JobLock(Job("job").folder).holder() is None)
    assert Job("job").status().state == "done"
    run = runner(model_of(server)).run(DOCUMENTS, ask)
    assert run.summary.resumed_chunks == 24
    assert Job("job").status().state == "done"
    assert server.stats().requests == 24


def test_chunks_that_failed_run_again_and_no_others(server: LLMServer) -> None:
    """And when all are done nothing runs, nothing is asked and no process is started."""
    broken = Path(os.environ["MRENGINE_STATE_DIR"]) / "broken"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("")
    ran = broken.with_name("ran")

    def careful(chunk: Any, context: Any) -> int:
        with open(ran, "a") as file:
            file.write(f"{chunk.id}\n")
        if chunk.id % 5 == 0 and broken.exists():
            raise ValueError("not today")
        return int(chunk.id)

    first = runner(model_of(server)).run(DOCUMENTS, careful)
    assert [failure.chunk_id for failure in first.failures] == [0, 5, 10, 15, 20]
    ran.unlink()
    broken.unlink()
    second = runner(model_of(server)).run(DOCUMENTS, careful)
    assert sorted(map(int, ran.read_text().split())) == [0, 5, 10, 15, 20]
    assert (second.summary.resumed_chunks, second.failures[:]) == (19, [])
    ran.unlink()
    third = runner(model_of(server))
    third.on("*", lambda event: started.extend(children(os.getpid())))
    started: list[int] = children(os.getpid())
    known = set(started)
    assert third.run(DOCUMENTS, careful).summary.resumed_chunks == 24
    assert set(started) == known
    assert not ran.exists()
