"""Owns what workers and manager say to each other, and a connection on which nobody waits for ever.

The messages are plain tuples: they are pickled some thousand times a second.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any

__all__ = ["UNASKED", "Asked", "Connection", "Done", "HeldCall", "Made", "Refused", "Reply", "Waiting", "end_stopped"]

# number, model, input tokens by our count, output tokens, rank, upper bound of input tokens, whether the count is an
# estimate that the model's ratio applies to
Asked = tuple[int, str, int, int, int, int, bool]
# number, model, input tokens by our count (0: not to be learned from), max_tokens, usage, whether the call was made,
# headers
Done = tuple[int, str, int, int, "tuple[Any, ...] | None", bool, "tuple[Any, ...] | None"]
Made = Collection[int] | int | None  # which of a dead worker's tickets were calls that were sent
HeldCall = tuple[int, str, int, int]  # number, model, upper bound of input tokens, max_tokens
Refused = tuple[int, str, str, tuple[str, float, float]]  # number, "config" | "exhausted", why, (unit, spent, limit)
Waiting = tuple[int, float, int]  # number, seconds, place in the line
Reply = tuple[list[int], list[Refused], list[Waiting], list[str]]  # granted numbers, refused, waits, unlimited models

TYPEID = "ledger"
UNASKED = -1  # the number of a call to a model without a limit, for which nobody was asked
PATIENCE_S = 2.0  # for one answer; the manager needs well under a millisecond


class Connection:
    """One connection to the manager's ledger, which speaks the protocol of ``multiprocessing.managers``.

    A proxy would wait for ever for a manager that is stopped, while it connects, too. Here the kernel ends each read
    and write after ``timeout_s`` with a BlockingIOError. Raises OSError, EOFError or AuthenticationError; then it is of
    no use any more.
    """

    def __init__(self, address: str, authkey: bytes, *, timeout_s: float = PATIENCE_S) -> None:
        first = _connect(address, authkey, timeout_s)
        try:
            self._ident = _ask(first, None, "create", TYPEID)[0]
        finally:
            first.close()  # the server answers one such request a connection
        self._connection = _connect(address, authkey, timeout_s)
        try:
            _ask(self._connection, None, "accept_connection", "mrengine-budget")
        except BaseException:
            self._connection.close()
            raise

    def call(self, method: str, *args: Any) -> Any:
        """The result of a method of the ledger."""
        return _ask(self._connection, self._ident, method, *args)

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()


def _connect(address: str, authkey: bytes, timeout_s: float) -> connection.Connection:
    with socket.socket(socket.AF_UNIX) as opened:
        seconds = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        opened.connect(address)
        line = connection.Connection(opened.detach())
    try:
        connection.answer_challenge(line, authkey)
        connection.deliver_challenge(line, authkey)
    except BaseException:
        line.close()
        raise
    return line


def end_stopped(address: str) -> bool:
    """SIGKILL the manager at an address if it is stopped (SIGSTOP), so that its supervisor replaces it (Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX) as opened:
        opened.setblocking(False)
        opened.connect(address)
        pid = struct.unpack("3i", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _ask(line: connection.Connection, ident: str | None, method: str, *args: Any) -> Any:
    line.send((ident, method, args, {}))
    kind, result = line.recv()
    if kind == "#RETURN":
        return result
    what = type(result).__name__ if kind == "#ERROR" else kind
    raise ConnectionError(f"the budget manager failed: {what}")
