"""The pipe of a worker: frames stay whole, and nobody but the worker writes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from mrengine.backends.process import framing, outbox
from mrengine.backends.process.outbox import CLOSED, Lines, Outbox, Parcel
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.engine import protocol as m
from mrengine.errors import ConfigError
from mrengine.log.format import codec


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

    monkeypatch.setattr(outbox.os, "_exit", end)
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
    monkeypatch.setattr(pipe.outbox, "_count", lambda parcel, done=[]: done or (done.append(1), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        pipe.outbox.send(Parcel(codec.RESULT, 5, 0, b"whole"))
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
