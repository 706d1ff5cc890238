"""Messages over a private pipe between a test and its server: ``u32 length``, cloudpickle."""

from __future__ import annotations

import struct
from typing import IO, Any

__all__ = ["pack", "receive", "send", "unpack"]


def pack(message: Any) -> bytes:
    """One framed message. Functions travel by value."""
    import cloudpickle

    data: bytes = cloudpickle.dumps(message)
    return struct.pack("<I", len(data)) + data


def unpack(buffer: bytes) -> tuple[Any, bytes] | None:
    """The first message of a buffer and what follows it, or None while it is not complete."""
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
    if len(head) < 4:
        raise EOFError("the test server has ended")
    body = pipe.read(struct.unpack("<I", head)[0])
    found = unpack(head + body)
    if found is None:
        raise EOFError("the test server has ended")
    return found[0]
