"""How long a task may take: its own time, without the waits for its budget."""

from __future__ import annotations

import pytest

from mrengine.worker.deadline import Deadline


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_wait_for_the_budget_puts_the_deadline_off() -> None:
    """By as long as it took, however it ended; begin and end are told."""
    clock, told, heard = Clock(), [], []
    deadline = Deadline(10.0, told.append, clock=clock)
    for error in (None, ValueError("stopped")):
        try:
            with deadline.paused(lambda model, wait_ms: heard.append((model, wait_ms))) as on_wait:
                on_wait("m", 30_000.0)
                clock.now += 30.0
                if error is not None:
                    raise error
        except ValueError:
            pass
    assert deadline.at == 170.0
    assert told == [True, False] * 2
    assert heard == [("m", 30_000.0)] * 2


def test_a_grant_at_once_is_no_wait() -> None:
    """Nobody is told, and what it cost is the task's."""
    clock = Clock()
    deadline = Deadline(10.0, lambda waiting: pytest.fail("there was no wait"), clock=clock)
    with deadline.paused(lambda model, wait_ms: None):
        clock.now += 0.01
    assert deadline.at == 110.0
