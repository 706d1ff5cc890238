"""A board outlives its writer."""

from __future__ import annotations

import os
import signal
import time

import pytest

from mrengine.backends.process.scoreboard import Scoreboard


def test_what_a_killed_process_had_started_is_read() -> None:
    """Nothing was sent to announce it."""
    board = Scoreboard(3)
    pid = os.fork()
    if pid == 0:
        board.start(0, 5, 0)
        board.start(1, 7, 1)
        board.start(2, 9, 0)
        board.clear(0)
        board.called()
        board.called()
        board.settled(1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert [(s.chunk, s.model) for s in board.started()] == [(7, 1), (9, 0)]
    assert board.calls == 1


def test_why_a_worker_ended_itself_outlives_it() -> None:
    """The first cause counts; a long one is cut between characters."""
    board = Scoreboard(2)
    assert board.cause == ""
    pid = os.fork()
    if pid == 0:
        board.note_cause("its pipe was closed " + "é" * 300)
        board.note_cause("another")
        os._exit(1)
    os.waitpid(pid, 0)
    assert board.cause.startswith("its pipe was closed é")
    assert set(board.cause[len("its pipe was closed ") :]) == {"é"}
    assert board.started() == []


def test_a_new_board_is_idle() -> None:
    """Zeros would be chunk 0."""
    assert Scoreboard(4).started() == []


def test_time_in_line_for_a_budget_is_not_the_tasks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits a task does not grow older; afterwards it is as old as it was."""
    now = [1_000_000_000]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    board = Scoreboard(2)
    board.start(0, 7, 0)
    board.start(1, 8, 0)
    now[0] += 2_000_000_000
    board.waiting(7, 0, waits=True)
    for waits in (True, True):  # of several threads of one task the first counts
        now[0] += 25_000_000_000
        board.waiting(7, 0, waits=waits)
        assert [(s.chunk, now[0] / 1e9 - s.since) for s in board.started()] == [(7, 2.0), (8, now[0] / 1e9 - 1)]
    board.waiting(7, 0, waits=False)
    board.waiting(7, 0, waits=False)
    now[0] += 3_000_000_000
    assert now[0] / 1e9 - board.started()[0].since == 5.0
    board.start(0, 9, 0)
    assert board.started()[0].since == now[0] / 1e9
