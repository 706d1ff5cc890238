"""The threads of a worker, and its pipe: no task is lost, frames stay whole, and nobody but the worker writes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from mrengine.backends.process import framing, slots
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import CLOSED, Lines, Outbox, Parcel, Slots, patched
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Start
from mrengine.errors import ConfigError
from mrengine.log.format import codec
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


class Ended(BaseException):
    """Instead of the process."""


class Pipe:
    """A worker's end and the supervisor's."""

    def __init__(self) -> None:
        self.read_fd, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        self.board = Scoreboard(2)
        self.outbox = Outbox(self.fd, self.board)
        self.reader = framing.TaggedReader(self.read_fd)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    def end(_code: int) -> None:
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    made = Pipe()
    yield made
    for fd in (made.fd, made.read_fd):
        try:
            os.close(fd)
        except OSError:
            pass  # closed by the test


def test_a_frame_larger_than_the_pipe_arrives_whole_while_others_wait(pipe: Pipe) -> None:
    """Two threads, each with a megabyte."""
    payloads = [bytes([number]) * (1 << 20) for number in (1, 2)]
    threads = [threading.Thread(target=pipe.outbox.emit, args=(codec.RESULT, n, 0, p)) for n, p in enumerate(payloads)]
    for thread in threads:
        thread.start()
    found: list[Any] = []
    while len(found) < 2:
        found += pipe.reader.read(0)
    for thread in threads:
        thread.join()
    assert sorted(bytes(message[-1]) for message in found) == payloads


def test_an_exception_from_outside_waits_until_the_frame_is_sent(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that is torn would tear all that follow."""
    monkeypatch.setattr(pipe.board, "called", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipe.outbox.send(Parcel(codec.INTENT, 5, 0, b"whole"))
    (message,) = pipe.reader.read(0)
    assert message[-1] == b"whole"


def test_what_only_the_scoreboard_must_know_is_not_sent(pipe: Pipe) -> None:
    """Waiting for the budget, and calls in flight, cost no message of their own."""
    pipe.board.start(0, 5, 0)
    pipe.outbox.emit(m.WAITING, 5, 0)
    pipe.outbox.emit(m.RESUMED, 5, 0)
    pipe.outbox.emit(codec.INTENT, 5, 0, b"i")
    assert pipe.board.calls == 1
    pipe.outbox.emit(codec.CALL, 5, 0, b"c")
    assert pipe.board.calls == 1  # the budget does not know of it yet
    pipe.board.settled(1)
    assert pipe.board.calls == 0
    assert [message[-1] for message in pipe.reader.read(0)] == [b"i", b"c"]


@pytest.mark.parametrize("reopened", [False, True])
def test_a_pipe_that_was_closed_ends_the_worker_and_says_why(pipe: Pipe, reopened: bool) -> None:
    """Also where another file has its number: nothing is written there."""
    os.close(pipe.fd)
    if reopened:
        other, _ = os.pipe()
        os.dup2(other, pipe.fd)
    with pytest.raises(Ended):
        pipe.outbox.emit(codec.RESULT, 1, 0, b"x")
    assert pipe.board.cause == CLOSED


def test_a_fork_may_not_speak(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by an exception's way."""
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    assert not pipe.outbox.own
    with pytest.raises(ConfigError, match="forked"):
        pipe.outbox.emit(codec.RESULT, 1, 0, b"x")


def test_a_log_record_becomes_a_line_and_a_broken_one_harms_nobody(pipe: Pipe) -> None:
    """Logger, level and text."""
    handler = Lines(pipe.outbox)
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    handler.emit(logging.LogRecord("mine", logging.WARNING, "f.py", 1, "%d", ("no number",), None))
    handler.emit(logging.LogRecord("mine", logging.WARNING, "f.py", 1, "seen %d", (3,), None))
    (message,) = pipe.reader.read(0)
    assert msgpack.unpackb(message[-1]) == ["mine", logging.WARNING, "seen 3"]
