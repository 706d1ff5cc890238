"""The supervisor's process: what goes wrong in it is heard."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from mrengine import MapReduceRunner
from mrengine.backends.process import framing, supervisor_handle
from mrengine.backends.process.supervisor import MOST_NOTES, HostConnection
from mrengine.backends.process.supervisor_handle import SupervisorHandle
from mrengine.errors import LogError
from tests.system.processes import wait_for

TALKS_AND_CRASHES = """
from mrengine.backends.process.supervisor import Supervisor
def crash(supervisor, payload):
    supervisor._connection.note("talk", {"said": "x" * (8 << 20)})
    raise RuntimeError("no way on")
def closed(supervisor, close=Supervisor.close):
    close(supervisor)
    open(os.environ["CLOSED"], "w").close()
Supervisor._on_sync = crash
Supervisor.close = closed
main(fd, facts)"""
DISK_FULL_AT_THE_END = """
from mrengine.backends.process.supervisor import Supervisor
from mrengine.job.job_store import JobStore
from mrengine.errors import LogError
def full(job):
    raise LogError("no space left", reason="full")
on_run = Supervisor._on_run
def on_run_and_then(supervisor, payload):
    JobStore.settled = full
    on_run(supervisor, payload)
Supervisor._on_run = on_run_and_then
main(fd, facts)"""


def test_a_crash_is_heard_by_a_host_that_was_slow_to_listen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Behind the rest of the frame that did not fit, not in the middle of it."""
    boot = supervisor_handle._BOOT.replace("main(fd, facts)", TALKS_AND_CRASHES)
    monkeypatch.setattr(supervisor_handle, "_BOOT", boot)
    monkeypatch.setenv("CLOSED", os.fspath(tmp_path / "closed"))
    supervisor = SupervisorHandle()
    supervisor.send(framing.SYNC)
    wait_for((tmp_path / "closed").exists)  # all that is left to do is to say why
    frames: list[tuple[int, bytes]] = []
    until = time.monotonic() + 30
    while not supervisor.gone and time.monotonic() < until:
        frames += supervisor.receive(0.5)
    supervisor.close(wait_s=5.0)
    assert [kind for kind, _ in frames] == [framing.NOTE, framing.CRASH]
    assert b"no way on" in frames[1][1]


@pytest.mark.usefixtures("state_dir")
def test_a_log_that_fails_at_the_end_of_a_round_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own error: the supervisor lives on."""
    boot = supervisor_handle._BOOT.replace("main(fd, facts)", DISK_FULL_AT_THE_END)
    monkeypatch.setattr(supervisor_handle, "_BOOT", boot)
    with pytest.raises(LogError, match="no space left"):
        MapReduceRunner(workers=1, models="fake").run("a", lambda chunk, context: 1)


@pytest.fixture
def pair() -> Iterator[tuple[HostConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    yield HostConnection(ours.fileno()), theirs
    theirs.close()
    ours.close()


def received(connection: HostConnection, host: socket.socket) -> list[tuple[int, bytes]]:
    reader, frames = framing.FrameReader(host.fileno()), []
    while connection.waiting or not frames:
        connection.flush()
        frames += reader.read()
    return frames + reader.read()


def test_only_the_last_durable_offset_is_sent_and_before_what_must_not_be_dropped(
    pair: tuple[HostConnection, socket.socket],
) -> None:
    """The host reads up to it: an end of the round that overtakes it would hide outcomes."""
    connection, host = pair
    for number in range(5000):  # until the socket is full
        connection.note("chunk:retry", {"n": number})
    for offset in (1, 2, 3):
        connection.durable(offset)
    connection.send(framing.END, b"")
    frames = received(connection, host)
    assert [payload for kind, payload in frames if kind == framing.DURABLE] == [struct.pack("<Q", 3)]
    assert [kind for kind, _ in frames][-2:] == [framing.DURABLE, framing.END]


def test_notes_that_a_slow_host_does_not_take_are_dropped_and_counted(
    pair: tuple[HostConnection, socket.socket],
) -> None:
    """The number is told once it can be."""
    connection, host = pair
    text = "x" * 500
    for _ in range(MOST_NOTES + 3000):
        connection.note("n", {"text": text})
    dropped = connection.dropped
    assert dropped > 0
    connection.note_dropped()
    assert connection.dropped == 0
    assert msgpack.unpackb(received(connection, host)[-1][1]) == ["notes:dropped", {"count": dropped}]


def test_a_host_that_is_gone_breaks_the_connection_and_raises_nothing(
    pair: tuple[HostConnection, socket.socket],
) -> None:
    """The supervisor decides what its end means."""
    connection, host = pair
    host.close()
    connection.note("n", {})
    assert connection.broken
    assert connection.ended
