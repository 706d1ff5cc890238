"""A board outlives its writer."""

from __future__ import annotations

import os
import signal

from mrengine.backends.process.board import Board


def test_what_a_killed_process_had_started_is_read() -> None:
    """Nothing was sent to announce it."""
    board = Board(3)
    pid = os.fork()
    if pid == 0:
        board.start(0, 5, 0)
        board.start(1, 7, 1)
        board.start(2, 9, 0)
        board.clear(0)
        board.called(1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert [(s.chunk, s.model) for s in board.started()] == [(7, 1), (9, 0)]
    assert board.calls == 1


def test_a_new_board_is_idle() -> None:
    """Zeros would be chunk 0."""
    assert Board(4).started() == []
