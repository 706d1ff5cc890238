"""Disks and namespaces as containers have them: read-only roots, full disks, one /tmp for two PID namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Job, MapReduceRunner
from mrengine.log.file.lock import JobLock
from tests.system.processes import alive, children, tree, wait_for, wait_until_gone

ROOT = Path(__file__).parents[2]
PRELUDE = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from mrengine import Job, MapReduceRunner
from mrengine.errors import *
DOCUMENTS = ["one", "two", "three"]
def runner(job_id="job", **more):
    return MapReduceRunner(job_id, **{{"workers": 2, "models": "fake", "map_version": "1", **more}})
def ask(chunk, context):
    return context.complete(chunk.text).text
"""


@pytest.fixture
def unshare(require: Callable[[str], str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run a shell's lines, and then a program, in namespaces of their own."""
    program = require("unshare")
    if subprocess.run([program, "--mount", "--pid", "--fork", "true"], check=False).returncode:
        reason = "this user may not unshare"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)

    def start(python: str, *flags: str, shell: str = ":", **env: str) -> subprocess.Popen[str]:
        command = [program, "--mount", *flags, "sh", "-ec", f'{shell}\nexec "$0" -c "$1"']
        code = PRELUDE + textwrap.dedent(python)
        process = subprocess.Popen(
            [*command, sys.executable, code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        started.append(process)
        return process

    started: list[subprocess.Popen[str]] = []
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


Unshare = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder, short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.parametrize(
    "disk", ["mount --bind {state} {state}; mount -o remount,ro,bind {state}", "mount -t tmpfs -o size=256k t {full}"]
)
def test_a_finished_job_returns_at_once_where_nothing_can_be_written(
    disk: str, state_dir: Path, unshare: Unshare
) -> None:
    """On a read-only disk, and on one that is full: its results are there."""
    full = state_dir.parent / "full"
    full.mkdir()
    shell = disk.format(state=state_dir, full=full)
    if "tmpfs" in disk:
        shell += f"; cp -r {state_dir} {full}/state; cat /dev/zero > {full}/filled 2> /dev/null || true"
    MapReduceRunner("job", workers=1, models="fake", map_version="1").run(
        ["one", "two", "three" * 100_000][:2], lambda chunk, context: context.complete(chunk.text).text
    )
    program = """
        run = runner().run(DOCUMENTS[:2], ask)
        print(len(run.results), run.summary.resumed_chunks, len(runner().resume("job", ask).results))
        try:
            runner().run(DOCUMENTS, ask)
        except JobMismatch:
            print("mismatch")
        try:
            runner(on_mismatch="extend").run([*DOCUMENTS[:2], "x" * 10_000_000], ask)
        except (ConfigError, SourceError, LogError) as error:
            print(type(error).__name__, error)
    """
    where = full / "state" if "tmpfs" in disk else state_dir
    lines = said(unshare(program, shell=shell, MRENGINE_STATE_DIR=str(where))).splitlines()
    assert lines[:2] == ["2 2 2", "mismatch"]
    assert "Read-only file system" in lines[2] or "No space left" in lines[2]


# What is below /tmp stays to be read: this very checkout may be there.
NOWHERE = (
    "for d in /tmp /var/tmp; do mount --bind $d $d; mount -o remount,ro,bind $d; done; mount -o remount,ro,bind /; cd /"
)


def test_a_read_only_root_needs_a_state_folder_and_no_more(unshare: Unshare) -> None:
    """Sockets stand in the job's own folder."""
    shell = f"mount -t tmpfs t /mnt; {NOWHERE}"
    program = """
        print(len(runner().run(DOCUMENTS, ask).results))
        print(sorted(os.listdir("/mnt/state/jobs/job")))
    """
    out = said(unshare(program, shell=shell, MRENGINE_STATE_DIR="/mnt/state", TMPDIR="/tmp"))
    count, files = out.splitlines()
    assert count == "3"
    assert "socket" not in files


def test_without_room_for_a_socket_it_is_said_what_is_needed(unshare: Unshare) -> None:
    """A path that is too long for one, and no temporary folder."""
    program = """
        try:
            runner().run(DOCUMENTS, ask)
        except PoolBroken as error:
            print(error)
    """
    deep = f"/mnt/{'d' * 100}"
    out = said(unshare(program, shell=f"mount -t tmpfs t /mnt; {NOWHERE}", MRENGINE_STATE_DIR=deep, TMPDIR="/tmp"))
    assert "no place for a socket" in out
    assert "a shorter state_dir=" in out
    assert "TMPDIR" in out


LONG = "d" * 90  # no room for a socket in the job's folder
HOLDS = """
    def wait(chunk, context):
        if chunk.id == 0:
            print("runs", flush=True)
            while not os.path.exists(os.environ["GO"]):
                time.sleep(0.01)
        elif context.attempt == 1:
            time.sleep(0.3)
            os.kill(os.getpid(), 9)  # its successor needs the socket
        return ask(chunk, context)
    import logging
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
    run = runner(workers=3).run(DOCUMENTS, wait)
    print("done", len(run.results), run.summary.worker_restarts, flush=True)
"""


PLACES = [("its own", LONG), ("the host's", LONG), ("none", "s"), ("its own", "s"), ("the host's", "s"), ("none", LONG)]


@pytest.mark.parametrize(
    ("proc", "state"), [*PLACES[:3], *(pytest.param(*place, marks=pytest.mark.system) for place in PLACES[3:])]
)
def test_two_containers_that_share_tmp_and_state(
    proc: str, state: str, unshare: Unshare, temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start in another PID namespace, whatever /proc it has, sweeps nothing of a living job, which is seen as running
    and is busy.
    """
    folder, go = tmp_path / state, tmp_path / "go"
    env = {"MRENGINE_STATE_DIR": str(folder), "TMPDIR": str(temp), "GO": str(go)}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    apart = ("--pid", "--fork", "--mount-proc")
    flags = {"its own": apart, "the host's": apart[:2], "none": ()}[proc]
    hide = "mount -t tmpfs t /proc" if proc == "none" else ":"
    first = unshare(HOLDS, *apart, **env)
    assert first.stdout is not None
    while first.stdout.readline().strip() != "runs":
        assert first.poll() is None
    try:
        before = sorted(path.name for path in temp.glob("mre-*"))
        assert (before != []) == (state == LONG)
        other = """
            print(len(runner("other").run(DOCUMENTS, ask).results), Job("job").status().state)
            try:
                runner().run(DOCUMENTS, ask)
            except JobBusy as error:
                print("busy", error.draining)
        """
        assert said(unshare(other, *flags, shell=hide, **env)).splitlines() == ["3 running", "busy False"]
        assert Job("job").status().state == "running"
        assert sorted(path.name for path in temp.glob("mre-*")) == before
    finally:
        go.touch()
    out = said(first)
    assert "done 3" in out
    assert list(temp.iterdir()) == []
    wait_for(lambda: JobLock(folder / "jobs" / "job").holder() is None)


ASKS = """
    def wait(chunk, context):
        if not os.path.exists(os.environ["GO"]):
            print("runs", flush=True)
        while not os.path.exists(os.environ["GO"]):
            time.sleep(0.01)
        if context.attempt == 1 and chunk.id == 1:
            os.kill(os.getpid(), 9)  # its successor needs the socket
        return ask(chunk, context)
    import logging
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
    run = runner(sys.argv[1]).run(DOCUMENTS, wait)
    print("done", len(run.results), run.summary.worker_restarts, flush=True)
"""


APART = ("--pid", "--fork", "--mount-proc")
ORDERS = [("first", APART), ("second", APART[:2]), ("first", APART[:2]), ("second", APART)]
ORDERS += [(who, ("--user", "--map-root-user", *APART[:2])) for who in ("first", "second")]


@pytest.mark.parametrize(
    ("killed", "flags"), [*ORDERS[:1], *(pytest.param(*order, marks=pytest.mark.system) for order in ORDERS[1:])]
)
def test_of_two_containers_one_is_killed(
    killed: str, flags: tuple[str, ...], unshare: Unshare, temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, with all that is in it: what it left is cleared away, what the other one has stays, in either order."""
    folder, go = tmp_path / LONG, tmp_path / "go"
    env = {"MRENGINE_STATE_DIR": str(folder), "TMPDIR": str(temp), "GO": str(go)}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    first, second = (begun(unshare(ASKS.replace("sys.argv[1]", repr(job)), *flags, **env)) for job in ("a", "b"))
    assert len(list(temp.glob("mre-*"))) == 2
    dead, alive_, names = (first, second, "ab") if killed == "first" else (second, first, "ba")
    kill_container(dead)
    assert (Job(names[0]).status().state, Job(names[1]).status().state) == ("interrupted", "running")
    third = f'print(len(runner("c").run(DOCUMENTS, ask).results), Job("{names[1]}").status().state)'
    assert said(unshare(third, *flags, **env)).split() == ["3", "running"]
    assert len(list(temp.glob("mre-*"))) == 1
    go.touch()
    assert "done 3 1" in said(alive_)
    assert "done 3 1" in said(unshare(ASKS.replace("sys.argv[1]", repr(names[0])), *flags, **env))
    assert list(temp.iterdir()) == []


def begun(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    while process.stdout.readline().strip() != "runs":
        assert process.poll() is None, process.communicate()
    return process


def kill_container(process: subprocess.Popen[str]) -> None:
    """Its first process, and with that all others of its namespace."""
    (init,) = children(process.pid)
    everybody = tree(init)
    os.kill(init, 9)
    process.communicate()
    wait_until_gone(lambda: [pid for pid in everybody if alive(pid)], within_s=10)


@pytest.mark.parametrize(
    "shell",
    ["mount -t tmpfs t /proc", pytest.param(":", marks=pytest.mark.system)],
    ids=["none", "the host's"],
)
def test_who_is_stopped_by_a_signal_is_seen_without_proc(shell: str, unshare: Unshare, state_dir: Path) -> None:
    """A worker that a chunk stops again and again, a supervisor that is stopped once: nobody waits for ever."""
    program = """
        import signal
        once = os.environ["MRENGINE_STATE_DIR"] + "/once"
        def stops(chunk, context):
            if chunk.id == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
            if chunk.id == 1 and not os.path.exists(once):
                open(once, "w").close()
                os.kill(os.getppid(), signal.SIGSTOP)
                time.sleep(3600)
            return ask(chunk, context)
        run = runner(max_attempts=2).run(DOCUMENTS, stops)
        (failure,) = run.failures
        print([r.chunk_id for r in run.results], failure.chunk_id, failure.kind, "SIGSTOP" in failure.message)
    """
    state_dir.mkdir(mode=0o700)
    assert said(unshare(program, *APART[:2], shell=shell)) == "[1, 2] 0 crash True\n"


def test_the_numbers_of_another_namespaces_proc_are_nobody_here(unshare: Unshare) -> None:
    """A PID namespace that shows the host's /proc: whoever has the same number there is not looked at, nor ended."""
    program = """
        from mrengine import posix, proc
        print(os.getpid() != int(os.readlink("/proc/self")))
        print(proc.session_members(os.getsid(0)), proc.started_with("PATH=" + os.environ["PATH"]))
        print(repr(proc.process_state(1)), posix.is_stopped(1))
    """
    assert said(unshare(program, "--pid", "--fork")).splitlines() == ["True", "[] []", "'' False"]


@pytest.mark.parametrize(
    ("what", "state"), [("folder", LONG), pytest.param("socket", LONG, marks=pytest.mark.system), ("socket", "s")]
)
def test_a_socket_that_was_cleaned_away_is_made_again(
    what: str, state: str, temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd-tmpfiles does that after ten days: workers that come later find it all the same."""
    monkeypatch.setenv("MRENGINE_STATE_DIR", str(tmp_path / state))
    place = temp if state == LONG else tmp_path / state / "jobs" / "job"

    cleaned = tmp_path / "cleaned"

    def dies(chunk: Any, context: Any) -> str:
        while chunk.id > 1 and not cleaned.exists():
            time.sleep(0.01)
        answer: str = context.complete("x").text
        if context.attempt == 1 and chunk.id > 1:
            os.kill(os.getpid(), 9)
        return answer

    def clean(_event: Any) -> None:
        if not cleaned.exists():
            wait_for(lambda: list(place.rglob("socket")))
            (path,) = place.rglob("socket")
            path.unlink()
            if what == "folder":
                path.parent.rmdir()
            cleaned.touch()

    runner = MapReduceRunner("job", workers=2, models="fake")
    runner.on("chunk:processed", clean)
    found = runner.run([str(n) for n in range(6)], dies)
    assert [r.result for r in found.results] == [found.results[0].result] * 6
    assert found.summary.worker_restarts == 4
    assert list(temp.iterdir()) == []
    assert not list(place.rglob("socket"))
