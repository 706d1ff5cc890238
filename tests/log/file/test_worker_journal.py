"""Answers outlive the supervisor that never committed them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mrengine.errors import LogError
from mrengine.job.job_store import JobStore
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.file.worker_journal import RING_BYTES, WorkerJournal
from mrengine.log.format import codec
from mrengine.log.format.task_records import CallRecord, pack_call
from mrengine.records import Usage


def call(number: int, *, size: int = 200, reusable: bool = True) -> bytes:
    digest = number.to_bytes(16, "big")
    return pack_call(
        CallRecord(0, number, 0, digest, float(number), Usage(1, 2), None, reusable, "m", "stop", 1.0, "x" * size)
    )


def stored(folder: Path) -> list[bytes]:
    """What the log has after the next open."""
    job = JobStore.open(folder, "job", durability="flush")
    try:
        return [frame.payload for frame in job._reader.frames() if frame.kind == codec.CALL]
    finally:
        job.close()


def in_a_child_that_is_killed(folder: Path, payloads: list[bytes], worker: int = 0, slots: int = 1) -> None:
    pid = os.fork()
    if pid == 0:
        journal = WorkerJournal(folder, "job", worker, slots)
        for payload in payloads:
            journal.keep(payload)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_killed_worker_kept_is_in_the_log_after_the_next_open(tmp_path: Path) -> None:
    """Of every worker; and the files are gone."""
    in_a_child_that_is_killed(tmp_path, [call(1), call(2)], worker=0)
    in_a_child_that_is_killed(tmp_path, [call(3)], worker=1)
    assert sorted(stored(tmp_path)) == sorted([call(1), call(2), call(3)])
    assert not list(tmp_path.glob("salvage-*"))


def test_an_answer_is_taken_in_once(tmp_path: Path) -> None:
    """Where the supervisor had committed it, the log is as it was."""
    job = JobStore.open(tmp_path, "job", durability="flush")
    for number in (1, 2):
        job.append(codec.CALL, call(number))
    job.log.commit()
    job.close()
    in_a_child_that_is_killed(tmp_path, [call(1), call(2), call(3)])
    assert stored(tmp_path) == [call(1), call(2), call(3)]
    assert stored(tmp_path) == [call(1), call(2), call(3)]


def test_the_file_is_a_ring_that_holds_the_last_answers(tmp_path: Path) -> None:
    """It never grows beyond its bound, and the last two megabytes are always there."""
    size = 50_000
    payloads = [call(number, size=size) for number in range(3 * RING_BYTES // size)]
    in_a_child_that_is_killed(tmp_path, payloads)
    (path,) = tmp_path.glob("salvage-*")
    assert path.stat().st_size < RING_BYTES + 2 * size
    found = set(stored(tmp_path))
    assert found <= set(payloads)
    assert set(payloads[-(2 << 20) // size :]) <= found


def test_large_answers_of_many_slots_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Each slot may still be sending its own, behind two megabytes that were sent and not committed."""
    slots, size = 8, 1 << 20
    payloads = [call(number, size=size) for number in range(60)]
    in_a_child_that_is_killed(tmp_path, payloads, slots=slots)
    assert set(payloads[-slots - 2 :]) <= set(stored(tmp_path))


def test_a_salvage_that_cannot_be_taken_in_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor lives on: the job's lock is free, its log closed."""
    JobStore.open(tmp_path, "job", durability="flush").close()
    in_a_child_that_is_killed(tmp_path, [call(1)])

    def full(log: WriteAheadLog, kind: int, payload: bytes) -> int:
        raise LogError("no space left", reason="full")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(WriteAheadLog, "append", full)
        with pytest.raises(LogError):
            JobStore.open(tmp_path, "job", durability="flush")
    assert os.listdir("/proc/self/fd") == before
    assert stored(tmp_path) == [call(1)]


def test_what_may_answer_no_other_call_is_not_kept(tmp_path: Path) -> None:
    """reuse=False, a question that was asked again."""
    in_a_child_that_is_killed(tmp_path, [call(1, reusable=False)])
    assert stored(tmp_path) == []


@pytest.mark.parametrize("cut", [0, 100, codec.HEADER_BYTES + 50])
def test_a_torn_file_costs_nothing_else(tmp_path: Path, cut: int) -> None:
    """Its writer was killed while it wrote; the others are read."""
    in_a_child_that_is_killed(tmp_path, [call(1)], worker=0)
    (path,) = tmp_path.glob("salvage-0-*")
    os.truncate(path, cut)
    in_a_child_that_is_killed(tmp_path, [call(2)], worker=1)
    assert stored(tmp_path) == [call(2)]


def test_a_folder_that_takes_no_file_costs_no_task(tmp_path: Path) -> None:
    """An answer that cannot be kept is sent all the same."""
    journal = WorkerJournal(tmp_path / "not there", "job", 0)
    journal.keep(call(1))
    journal.close()
    assert stored(tmp_path) == []
