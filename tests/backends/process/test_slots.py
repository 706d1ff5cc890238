"""Threads that run tasks: none is lost, whatever strikes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mrengine.backends.process import framing, slots
from mrengine.backends.process.outbox import Outbox
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import Slots, patched
from mrengine.engine.protocol import Start
from mrengine.log.format.codec import FAILURE, RESULT


class Stray(BaseException):
    """What a library of somebody's raises in a thread that is not its own."""


class Work:
    """Runs ``body(task)``, then reports a result."""

    def __init__(self, body: Callable[[Start], None]) -> None:
        self.body = body
        self.slots: Any = None

    def run(self, task: Start) -> None:
        self.body(task)
        self.slots.emit(RESULT, task.chunk, task.model, b"done")

    def fail(self, task: Start, error: BaseException) -> None:
        self.slots.emit(FAILURE, task.chunk, task.model, type(error).__name__.encode())


def outcomes(count: int, body: Callable[[Start], None], tasks: int) -> dict[int, tuple[int, bytes]]:
    """What comes out of ``tasks`` tasks over ``count`` threads."""
    read_fd, fd = os.pipe()
    board, work = Scoreboard(count), Work(body)
    work.slots = Slots(count, board, Outbox(fd, board), work)
    work.slots.start()
    for chunk in range(tasks):
        work.slots.put(Start(chunk, 0, 1))
    reader, found = framing.TaggedReader(read_fd), dict[int, tuple[int, bytes]]()
    while len(found) < tasks:
        found.update({chunk: (kind, bytes(payload)) for kind, chunk, _model, payload in _messages(reader)})
    assert work.slots.whole
    assert len(board.threads) == count
    return found


def _messages(reader: framing.TaggedReader) -> list[tuple[int, int, int, bytes]]:
    return [message[-4:] for message in reader.read(0)]


def test_every_task_has_one_outcome() -> None:
    """Over several threads."""
    ran = set[str]()
    gate = threading.Barrier(2, timeout=30)

    def body(task: Start) -> None:
        ran.add(threading.current_thread().name)
        if task.chunk < 2:
            gate.wait()  # both threads have one

    found = outcomes(2, body, 6)
    assert found == dict.fromkeys(range(6), (RESULT, b"done"))
    assert len(ran) == 2


def test_an_exception_that_strikes_a_thread_fails_its_task_alone() -> None:
    """The thread goes on with the next."""

    def body(task: Start) -> None:
        if task.chunk == 1:
            raise Stray

    assert outcomes(1, body, 3) == {0: (RESULT, b"done"), 1: (FAILURE, b"Stray"), 2: (RESULT, b"done")}


def test_greenlets_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is started then would never run."""
    assert not patched()
    monkeypatch.setattr(slots._thread, "start_new_thread", lambda *args: None)
    assert patched()
