"""The budget's manager: found by its address, replaced when it dies, and not for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgpack
import pytest

from mrengine import posix
from mrengine.backends.process import helper_processes
from mrengine.backends.process.helper_processes import HelperProcesses
from mrengine.backends.process.private_folder import SocketPlace
from mrengine.backends.process.selector import Selector
from mrengine.engine.protocol import BROKEN, NOTE


class Played:
    """A manager that is no process; it lives until it is killed."""

    made: ClassVar[list[Played]] = []

    def __init__(self, target: Any, args: tuple[Any, ...], name: str, *, daemon: bool) -> None:
        self.address, self.pid, self.ended, self.closed = args[0], 0, False, False
        self.life, self._held = os.pipe()
        Path(self.address).touch()
        Played.made.append(self)

    def exitcode(self, wait_s: float) -> int:
        return -signal.SIGKILL

    def die(self) -> None:
        """Its life can be read."""
        self.ended = True
        os.close(self._held)

    def close(self) -> None:
        self.closed = True
        os.close(self.life)
        if not self.ended:
            os.close(self._held)


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelperProcesses]:
    Played.made = []
    monkeypatch.setattr(helper_processes, "ChildProcess", Played)
    monkeypatch.setattr(posix, "kill_process", lambda pid: True)
    monkeypatch.setattr(posix, "is_stopped", lambda pid: False)
    made: Any = HelperProcesses(Selector(), SocketPlace())
    made.terms = lambda: None
    made.folder = str(tmp_path)
    yield made
    made.close()


def polled(helpers: Any) -> list[Any]:
    return [(kind, payload) for _, kind, _, _, payload in helpers._selector.poll(0.0)]


def test_a_manager_that_dies_is_replaced_at_its_address(helpers: Any) -> None:
    """Workers come back to it by themselves; the host hears of it."""
    address, _ = helpers.manager(helpers.terms, helpers.folder)
    Played.made[0].die()
    ((kind, payload),) = polled(helpers)
    assert (kind, msgpack.unpackb(payload)) == (NOTE, ["manager:replaced", {}])
    assert [one.address for one in Played.made] == [address] * 2
    assert Played.made[0].closed
    assert helpers.look_after() == []


def test_one_that_dies_again_and_again_breaks_the_round(helpers: Any) -> None:
    """Nothing is replaced for ever."""
    helpers.manager(helpers.terms, helpers.folder)
    kinds = []
    for _ in range(helper_processes.MANAGERS + 1):
        Played.made[-1].die()
        kinds += [kind for kind, _ in polled(helpers)]
    assert kinds == [NOTE] * helper_processes.MANAGERS + [BROKEN]


def test_one_that_is_stopped_or_cut_off_is_replaced(helpers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never answer, and never end."""
    address, _ = helpers.manager(helpers.terms, helpers.folder)
    monkeypatch.setattr(posix, "is_stopped", lambda pid: len(Played.made) == 1)
    assert [kind for _, kind, *_ in helpers.look_after()] == [NOTE]
    assert helpers.look_after() == []
    Path(address).unlink()
    helpers._bound_by = 0.0  # long ago
    assert [kind for _, kind, *_ in helpers.look_after()] == [NOTE]


def test_without_a_job_nobody_needs_one(helpers: Any) -> None:
    """It is not replaced before the next."""
    helpers.manager(helpers.terms, helpers.folder)
    helpers.forget_job()
    Played.made[0].die()
    assert polled(helpers) == []
    assert len(Played.made) == 1
