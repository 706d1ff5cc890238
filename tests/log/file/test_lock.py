"""The lock of a job folder: one winner, whoever dies how."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrengine.errors import LogError
from mrengine.log.file.disk import OsFiles
from mrengine.log.file.lock import JobLock
from mrengine.proc import start_time

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs this program and says so on stdout."""
    command = [
        sys.executable,
        "-c",
        "import os, sys, time\nfrom mrengine.log.file.lock import JobLock\n" + program,
        *arguments,
    ]
    return subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


HOLD = "lock = JobLock(sys.argv[1]); lock.try_acquire(); print('held', flush=True); sys.stdin.read()"


def test_a_second_one_is_busy_and_told_who_has_it(tmp_path: Path) -> None:
    """In this process, too: the lock belongs to the open file, not to the process."""
    first, second = JobLock(tmp_path), JobLock(tmp_path)
    assert first.try_acquire()
    assert not second.try_acquire()
    owner = second.holder()
    assert owner is not None
    assert (owner.pid, owner.state, owner.alive) == (os.getpid(), "running", True)
    first.release()
    assert second.holder() is None
    assert second.try_acquire()
    second.release()


def test_closing_another_descriptor_of_the_file_does_not_drop_it(tmp_path: Path) -> None:
    """As it would with lockf."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    with open(tmp_path / "lock"):
        pass
    assert not JobLock(tmp_path).try_acquire()
    assert JobLock(tmp_path).holder() is not None
    lock.release()


def test_twenty_processes_one_winner(tmp_path: Path) -> None:
    """All start at once; the others hear the winner's pid, or 0 and None where it was not told yet, or already gone."""
    program = (
        "print('ready', flush=True); sys.stdin.readline(); lock = JobLock(sys.argv[1])\n"
        "if lock.try_acquire(): print('won', os.getpid(), flush=True)\n"
        "else: owner = lock.holder(); print('busy', owner and owner.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    processes = [start(program, str(tmp_path)) for _ in range(20)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.readline().split() for process in processes]  # type: ignore[union-attr]
    finally:
        for process in processes:
            finish(process)
    winners = [pid for word, pid in said if word == "won"]
    assert len(winners) == 1
    assert {pid for word, pid in said if word == "busy"} <= {winners[0], "None", "0"}
    assert JobLock(tmp_path).try_acquire()


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    """SIGKILL: the kernel gives it up."""
    process = start(HOLD, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    owner = JobLock(tmp_path).holder()
    assert owner is not None
    assert owner.pid == process.pid
    finish(process)
    assert JobLock(tmp_path).try_acquire()


@pytest.mark.parametrize("copied", [False, True])
def test_a_grandchild_that_lives_on_keeps_only_a_copy_of_the_descriptor(tmp_path: Path, copied: bool) -> None:
    """SIGKILL the holder while a child of its child lives: every forked child has closed the lock by itself."""
    program = (
        "lock = JobLock(sys.argv[1]); lock.try_acquire()\n"
        "if sys.argv[2] == 'True': os.dup(lock._fd)\n"
        "if not os.fork():\n"
        "    if not os.fork():\n"
        "        print(os.getpid(), flush=True); time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait(); time.sleep(60)"
    )
    process = start(program, str(tmp_path), str(copied))
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        owner = JobLock(tmp_path).holder()
        if not copied:
            assert owner is None
            assert JobLock(tmp_path).try_acquire()
        else:
            assert owner is not None
            assert not owner.alive
            assert not JobLock(tmp_path).try_acquire()
    finally:
        os.kill(grandchild, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()  # type: ignore[union-attr]


def test_a_child_that_forgets_does_not_release(tmp_path: Path) -> None:
    """And what the child does later does not matter."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    pid = os.fork()
    if not pid:
        lock.release()
        os._exit(0)
    os.waitpid(pid, 0)
    assert not JobLock(tmp_path).try_acquire()
    lock.release()


def test_release_frees_it_though_children_have_it_open(tmp_path: Path) -> None:
    """A supervisor that ends in order does not depend on its children."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    copy = os.dup(lock._fd)
    lock.release()
    assert JobLock(tmp_path).try_acquire()
    os.close(copy)


def test_a_holder_whose_host_is_dead_drains_though_it_has_not_noticed(tmp_path: Path) -> None:
    """A run that comes at once after the death waits; also while the dead host is not buried."""
    host = start("sys.stdin.read()")
    lock = JobLock(tmp_path)
    assert lock.try_acquire(host=host.pid)
    owner = JobLock(tmp_path).holder()
    assert owner is not None
    assert not owner.draining
    host.kill()
    os.waitid(os.P_PID, host.pid, os.WEXITED | os.WNOWAIT)
    assert owner.draining
    finish(host)
    assert owner.draining
    lock.mark_draining(7.0)
    assert JobLock(tmp_path).holder().drain_s == 7.0  # type: ignore[union-attr]
    lock.release()


def test_a_lock_file_removed_by_a_purge_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """Whoever opened it before is not the owner of the new one."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    os.unlink(tmp_path / "lock")
    other = JobLock(tmp_path)
    assert other.try_acquire()
    assert os.fstat(other._fd).st_ino == os.stat(tmp_path / "lock").st_ino


def test_a_purge_between_opening_and_locking_is_noticed(tmp_path: Path) -> None:
    """What is locked then has no name any more: it is opened anew."""

    class Purged(OsFiles):
        times = 2

        def open(self, path: str, flags: int) -> int:
            fd = super().open(path, flags)
            if self.times:
                self.times -= 1
                os.unlink(path)
            return fd

    lock = JobLock(tmp_path, files=Purged())
    assert lock.try_acquire()
    assert os.fstat(lock._fd).st_ino == os.stat(tmp_path / "lock").st_ino
    lock.release()


def test_the_facts_are_not_believed_without_the_lock(tmp_path: Path) -> None:
    """What a dead holder wrote says nothing; nor does garbage."""
    facts = {"pid": os.getpid(), "boot_id": "x", "start_time": 1, "state": "running"}
    (tmp_path / "lock").write_text(json.dumps(facts))
    assert JobLock(tmp_path).holder() is None
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    (tmp_path / "lock").write_bytes(b"\xff garbage")
    owner = JobLock(tmp_path).holder()
    assert owner is not None
    assert (owner.pid, owner.state) == (0, "unknown")
    lock.release()


def test_a_pid_that_was_given_again_is_reported_by_its_start_time() -> None:
    """Two processes never share pid and start time on one boot."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert start_time(process.pid) == start_time(process.pid)
        assert start_time(process.pid) >= start_time(os.getpid())  # type: ignore[operator]
    finally:
        process.kill()
        process.wait()
    assert start_time(process.pid) is None


def test_no_folder_is_an_error_and_no_lock_is_no_holder(tmp_path: Path) -> None:
    """LogError, which says what is missing; asking for the holder creates nothing."""
    with pytest.raises(LogError, match="lock"):
        JobLock(tmp_path / "none").try_acquire()
    assert JobLock(tmp_path).holder() is None
    assert not os.listdir(tmp_path)


def test_the_lock_does_not_pass_to_programs_that_are_run(tmp_path: Path) -> None:
    """Close-on-exec."""
    lock = JobLock(tmp_path)
    assert lock.try_acquire()
    process = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        os.close(lock._fd)
        deadline = time.monotonic() + 10
        other = JobLock(tmp_path)
        while not other.try_acquire():
            assert time.monotonic() < deadline
        other.release()
    finally:
        process.kill()
        process.wait()
        lock._fd = -1
