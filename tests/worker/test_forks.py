"""Who may speak for a task: the process that took it, and no fork of it."""

from __future__ import annotations

import os

import pytest

from mrengine.errors import ConfigError
from mrengine.worker import forks
from mrengine.worker.forks import OwnProcess


def test_a_fork_is_not_the_process_that_was_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pid, for a fork in C runs no hook."""
    own = OwnProcess()
    own.check()
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    assert not own.here
    with pytest.raises(ConfigError, match="call the model in map_fn itself"):
        own.check()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(7), 7),
        (SystemExit("text"), 1),
        (KeyError("k"), 1),
        (SystemExit(300), 44),
    ],
)
def test_a_fork_that_leaves_map_fn_exits_as_a_program_would(
    error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And names the class of what ended it, never its text."""
    codes: list[int] = []

    def exits(status: int) -> None:
        codes.append(status)
        raise GeneratorExit

    monkeypatch.setattr(forks.os, "_exit", exits)
    with pytest.raises(GeneratorExit):
        forks.leave(error)
    assert codes == [code]
    err = capfd.readouterr().err
    assert err == ("a process that map_fn forked ended with KeyError\n" if isinstance(error, KeyError) else "")
