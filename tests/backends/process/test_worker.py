"""A worker's main thread: frames in, and what it looks after between them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import msgpack
import pytest

from mrengine.backends.process import framing, worker
from mrengine.backends.process.worker import LOOK_S, ORPHANS_S, WorkerSetup, _serve, _Worker
from mrengine.engine import protocol as m
from mrengine.engine.protocol import JobFiles, Start, WorkerConfig


class Outbox:
    """Keeps what is sent."""

    own = True

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, bytes]] = []

    def emit(self, kind: int, chunk: int, model: int, payload: bytes = b"") -> None:
        self.sent.append((kind, chunk, payload))


class Runner:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def run(self, task: Start) -> None:
        self.ran.append(task)

    def endpoint_came(self, *answer: str) -> None:
        self.ran.append(answer)

    def close(self) -> None:
        self.ran.append("closed")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker whose slots run their tasks at once."""
    outbox: Any = Outbox()
    found: Any = _Worker(0, 1, None, None, outbox, 0)  # type: ignore[arg-type]
    found.outbox = outbox
    monkeypatch.setattr(found._slots, "put", found.run)
    monkeypatch.setattr(found._slots, "emit", outbox.emit)
    return found


TASKS = framing.pack_tasks([Start(1, 0, 1), Start(2, 0, 1)])


def test_a_setup_crosses_the_pipe_whole() -> None:
    """Blobs, files and the place of the budget."""
    config = WorkerConfig("j", 0, "P1_user", False, b"m" * 70_000, b"n", b"o", 60, 0, 30)
    setup = WorkerSetup(config, JobFiles("/f", "spool", [[0, 0, 1, 8]], [[0, 1, 4]], 9, True), "/a", b"key", ["/p"])
    assert WorkerSetup.unpack(setup.pack()) == setup


def test_tasks_before_a_setup_and_after_a_drop_come_back(made: Any) -> None:
    """They have not run: another worker may have them."""
    made.handle(framing.TASKS, TASKS)
    assert made.outbox.sent == [(m.DROPPED, 1, b""), (m.DROPPED, 2, b"")]
    made._runner = runner = Runner()
    made.handle(framing.TASKS, TASKS)
    assert runner.ran == [Start(1, 0, 1), Start(2, 0, 1)]
    made.handle(framing.DROP, b"")
    made.handle(framing.TASKS, TASKS)
    assert len(made.outbox.sent) == 4


def test_a_setup_that_fails_is_reported_and_the_worker_waits_for_the_next(made: Any, monkeypatch: Any) -> None:
    """The engine decides; user code may fail in one job and not in the next."""

    def fails(*args: Any, **more: Any) -> None:
        raise LookupError("no such table")

    monkeypatch.setattr(worker, "TaskRunner", fails)
    config = WorkerConfig("j", 0, "P1_user", False, b"m", b"n", b"o", 60, 0, 30)
    setup = WorkerSetup(config, JobFiles("/f", "spool", [], [], 9, True), "/a", b"key", None)
    assert made.handle(framing.SETUP, setup.pack())
    ((kind, _, cause),) = made.outbox.sent
    assert kind == m.FAILED_START
    assert b"LookupError" in cause


def test_it_leaves_when_it_is_reported_to_and_sees_the_end_of_its_pipe(made: Any, monkeypatch: Any) -> None:
    """LEAVE is an end in order; a pipe that ends is none."""
    monkeypatch.setattr(made, "look_after", lambda: None)
    made._runner = runner = Runner()
    for frame, in_order in ((framing.frame(framing.LEAVE), True), (b"", False)):
        read_fd, fd = os.pipe()
        os.write(fd, framing.frame(framing.ENDPOINT, msgpack.packb(["m", "u", "k"])) + frame)
        os.close(fd)
        assert _serve(made, read_fd) is in_order
        os.close(read_fd)
        made._runner = made._runner or runner
    assert runner.ran == [("m", "u", "k"), "closed", ("m", "u", "k")]


def test_orphans_are_looked_for_more_often_while_there_are_some(made: Any, monkeypatch: Any) -> None:
    """Their zombies count against the limit of processes."""
    for some, wanted in ((True, ORPHANS_S), (False, LOOK_S)):
        monkeypatch.setattr(type(made._orphans), "any", some)
        assert made.look_s == wanted
    assert ORPHANS_S < LOOK_S
    assert threading.current_thread() is threading.main_thread()


SCRIPT = """
import os, resource
from mrengine.backends.process.worker import WorkerHandle
from mrengine.log.file.call_index import CallIndex
from mrengine.log.view.call_totals import CallTotals
index = CallIndex.build(CallTotals(), expected=1)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
def opened():
    return set(os.listdir("/proc/self/fd"))
before = opened()
room = max(map(int, before))
for more in range(6):  # the first pipe fails, or the second, or that of its life
    resource.setrlimit(resource.RLIMIT_NOFILE, (room + more, hard))
    try:
        WorkerHandle(0, 1, index, 1, 2, 0)
    except OSError:
        pass
    else:
        raise AssertionError(more)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room + 99, hard))
    assert opened() == before, (more, opened() - before)
print("whole")
"""


def test_a_worker_that_cannot_be_started_leaves_no_descriptor_open() -> None:
    """The supervisor lives on, and the next job wants them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr
