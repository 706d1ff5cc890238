"""A child of the supervisor, and the descriptor that tells of its end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from mrengine import posix
from mrengine.backends.process.child import ChildProcess


def _waits(_held: int, gate: int) -> None:
    os.read(gate, 1)
    os._exit(3)


@pytest.fixture(params=["pidfd", "pipe"])
def child(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that ends with 3 when a byte comes, and what to write that byte to."""
    if request.param == "pipe":
        monkeypatch.setattr(posix, "open_pidfd", lambda pid: None)
    gate, bell = os.pipe()
    made = ChildProcess(_waits, (gate,), "child", daemon=True)
    yield made, bell
    posix.kill_process(made.pid)
    made.exitcode(5)
    made.close()
    os.close(gate)
    os.close(bell)


def test_its_end_is_readable_before_it_is_reaped(child: Any) -> None:
    """Until then its pid is nobody else's."""
    made, bell = child
    assert not posix.readable((made.life,), 0.0)
    assert not made.ended
    os.write(bell, b"x")
    assert posix.readable((made.life,), 10.0)
    assert made.exitcode(5) == 3


def test_a_kill_is_an_end_like_any_other(child: Any) -> None:
    """The exit code names the signal."""
    made, _ = child
    assert made.exitcode(0.0) is None
    os.kill(made.pid, signal.SIGKILL)
    assert posix.readable((made.life,), 10.0)
    assert made.exitcode(5) == -signal.SIGKILL
