"""Messages over the private pipes between a test and its server: ``u32 length``, cloudpickle."""

from __future__ import annotations

import struct
from typing import IO, Any

__all__ = ["pack", "receive", "send", "unpack"]


def pack(message: Any) -> bytes:
    """One framed message. Functions travel by value: a test's own are in no module that the server could import."""
    import cloudpickle

    data: bytes = cloudpickle.dumps(message)
    return struct.pack("<I", len(data)) + data


def unpack(buffer: bytes) -> tuple[Any, bytes] | None:
    """The first message of a buffer, and what follows it; None: it is not complete yet."""
    import pickle

    if len(buffer) < 4:
        return None
    (length,) = struct.unpack_from("<I", buffer)
    if len(buffer) < 4 + length:
        return None
    message = pickle.loads(buffer[4 : 4 + length])  # noqa: S301  # from our own parent, over its pipe
    return message, buffer[4 + length :]


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a message."""
    pipe.write(pack(message))
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a message. Raises EOFError when the other side is gone."""
    head = pipe.read(4)
    # A short read means the end: the pipe is buffered, and read() waits for all that it was asked for.
    message = unpack(head + pipe.read(struct.unpack("<I", head)[0])) if len(head) == 4 else None
    if message is None:
        raise EOFError("the test server has ended")
    return message[0]
