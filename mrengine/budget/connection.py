"""The messages between workers and budget manager, and a connection with a timeout on every operation."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from multiprocessing import connection
from typing import Any, Protocol

from mrengine import posix

__all__ = [
    "REPLY_TIMEOUT_S", "SAME_CALL", "SAME_PREFIX", "TYPEID", "UNMETERED", "CallReport", "Connection", "Gates",
    "HeldCall", "Made", "Refused", "Reply", "RequestRow", "Transport", "Waiting", "kill_if_stopped",
]  # fmt: skip

# Messages are plain tuples, because they are pickled some thousand times a second.

# number, model, input tokens by our count, output tokens, rank, upper bound of input tokens, whether the count is an
# estimate that the model's ratio applies to
RequestRow = tuple[int, str, int, int, int, int, bool]
# number, model, input tokens by our count (0: nothing to learn from), max_tokens, usage, whether the call was
# sent, headers
CallReport = tuple[int, str, int, int, "tuple[Any, ...] | None", bool, "tuple[Any, ...] | None"]
Made = Collection[int] | int | None  # a dead worker's calls that were sent: their numbers, or how many, or None: all
HeldCall = tuple[int, str, int, int]  # number, model, upper bound of input tokens, max_tokens
Refused = tuple[int, str, str, tuple[str, float, float]]  # number, "config" | "exhausted", why, (unit, spent, limit)
Waiting = tuple[int, float, int]  # number, seconds, place in the queue, or below 0
SAME_CALL, SAME_PREFIX = -1, -2  # no place: the call waits for an identical one, or for one that begins alike
Gates = tuple[str, str]  # the digests of the call, if it is to be made only once, and of its prefix that may be cached
Reply = tuple[list[int], list[Refused], list[Waiting], list[str]]  # granted numbers, refused, waits, unlimited models

TYPEID = "service"
UNMETERED = -1  # the number of a call that needed no grant, as its model has no limit
REPLY_TIMEOUT_S = 2.0  # for one reply; the manager takes well under a millisecond


class Transport(Protocol):
    """A connection to the service. After an OSError or EOFError it cannot be used any more."""

    def call(self, method: str, *args: Any) -> Any:
        """The result of a method of the service."""

    def close(self) -> None:
        """Idempotent."""


class Connection:
    """One connection to the manager's service, speaking the protocol of ``multiprocessing.managers``.

    After an OSError, EOFError or AuthenticationError it cannot be used any more.
    """

    # Why not a proxy of ``multiprocessing``: it would block for ever on a manager that is stopped, even while
    # connecting. Here the kernel ends each read and write after ``timeout_s`` with a BlockingIOError.

    def __init__(self, address: str, authkey: bytes, *, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        first = _connect(address, authkey, timeout_s)
        try:
            self._ident = _call(first, None, "create", TYPEID)[0]
        finally:
            first.close()  # the server answers one such request per connection
        self._connection = _connect(address, authkey, timeout_s)
        try:
            _call(self._connection, None, "accept_connection", "mrengine-budget")
        except BaseException:
            self._connection.close()
            raise

    def call(self, method: str, *args: Any) -> Any:
        """The result of a method of the service."""
        return _call(self._connection, self._ident, method, *args)

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()


def _connect(address: str, authkey: bytes, timeout_s: float) -> connection.Connection:
    with socket.socket(socket.AF_UNIX) as opened:
        seconds = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        opened.connect(address)
        channel = connection.Connection(opened.detach())
    try:
        connection.answer_challenge(channel, authkey)
        connection.deliver_challenge(channel, authkey)
    except BaseException:
        channel.close()
        raise
    return channel


def kill_if_stopped(address: str) -> bool:
    """SIGKILL the manager at an address if it is stopped (SIGSTOP), so that its supervisor replaces it (Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX) as opened:
        opened.setblocking(False)
        opened.connect(address)  # the kernel queues the connection, and knows the listener's pid
        pid = struct.unpack("3i", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if posix.is_stopped(pid):
            posix.kill_process(pid)
            return True
    return False


def _call(channel: connection.Connection, ident: str | None, method: str, *args: Any) -> Any:
    channel.send((ident, method, args, {}))
    kind, result = channel.recv()
    if kind == "#RETURN":
        return result
    what = type(result).__name__ if kind == "#ERROR" else kind
    raise ConnectionError(f"the budget manager failed: {what}")
