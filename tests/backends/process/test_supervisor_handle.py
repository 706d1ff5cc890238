"""The host's end of a supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from mrengine import proc
from mrengine.backends.process import framing, supervisor_handle
from mrengine.backends.process.supervisor_handle import SupervisorHandle, python_executable


class Enough(Exception):
    """What a signal handler raises."""


@pytest.fixture
def supervisor() -> Iterator[SupervisorHandle]:
    running = SupervisorHandle()
    yield running
    running.close(wait_s=5.0)


@pytest.fixture
def _handler() -> Iterator[None]:
    def strike(number: int, frame: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGUSR1, strike)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_handler")
def test_an_exception_in_the_middle_of_a_frame_ends_the_supervisor(supervisor: SupervisorHandle) -> None:
    """It would take what follows for the rest of that frame, and nobody would hear an answer."""
    os.kill(supervisor.pid, signal.SIGSTOP)  # the socket takes a part of the frame
    me = threading.get_ident()
    timer = threading.Timer(0.2, signal.pthread_kill, (me, signal.SIGUSR1))
    timer.start()
    with pytest.raises(Enough):
        supervisor.send(framing.APPEND, bytes(50_000_000))
    timer.join()
    began = time.monotonic()
    while supervisor.send(framing.BEAT):  # a machine that is busy ends it a little later
        assert time.monotonic() - began < 20
    began = time.monotonic()
    while not supervisor.gone:
        supervisor.receive(0.1)
        assert time.monotonic() - began < 20


def test_a_supervisor_that_was_stopped_takes_no_frame(
    supervisor: SupervisorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and whoever sends hears of it instead of waiting for ever."""
    monkeypatch.setattr(supervisor_handle, "STOPPED_AFTER_S", 0.2)
    os.kill(supervisor.pid, signal.SIGSTOP)
    assert not supervisor.send(framing.APPEND, bytes(50_000_000))


@pytest.mark.parametrize("executable", [None, "", "/usr/bin/uwsgi-core"])
def test_the_python_of_a_host_that_embeds_it(monkeypatch: pytest.MonkeyPatch, executable: str | None) -> None:
    """The one of its prefix, of the same version."""
    monkeypatch.setattr(sys, "executable", executable)
    found = python_executable()
    assert os.path.dirname(found) == os.path.join(sys.prefix, "bin")
    asked = [found, "-c", "import sys; print(sys.version_info[:2], sys.prefix)"]
    assert subprocess.check_output(asked, text=True).strip() == f"{sys.version_info[:2]} {sys.prefix}"


def test_a_fork_cannot_speak_for_its_parent(supervisor: SupervisorHandle) -> None:
    """For the child the supervisor is gone, and closing it ends nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, that libraries have started in pytest
        child = os.fork()
    if child == 0:
        spoke = supervisor.send(framing.CLOSE)
        supervisor.kill()
        supervisor.close(wait_s=1.0)
        os._exit(0 if not spoke and supervisor.gone and supervisor.receive(0.0) == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert proc.process_state(supervisor.pid) not in ("", "Z", "X")
    assert supervisor.send(framing.SYNC)
