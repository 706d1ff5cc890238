"""The supervisor's end of the socket: it never waits for the host, and drops only what may be dropped."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgpack
import pytest

from mrengine.backends.process import framing
from mrengine.backends.process.host_connection import MOST_NOTES, HostConnection


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
