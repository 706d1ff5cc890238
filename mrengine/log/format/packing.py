"""Packs and unpacks msgpack as the log has it, and reads the fixed-size heads of records without unpacking."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence, Set
from typing import Any

import msgpack

from mrengine.errors import LogError

__all__ = [
    "HEAD_BYTES", "HEAD_TYPES", "Types", "array", "bad_record", "check_types", "full_key", "head", "key", "pack",
    "stamp", "task", "unpack",
]  # fmt: skip

HEAD_BYTES = 22
Types = Sequence[Set[object]]  # at each place of a record, those that its value may have
HEAD_TYPES: Types = ({int}, {int}, {int})  # round, chunk_id, model_index
_MAX_ITEMS = 1 << 24
_KEPT_BYTES = 1 << 20
# By the name of a record, the rows of types that passed. There are few: only those that the record's types allow.
_KNOWN_ROWS: dict[str, set[tuple[type, ...]]] = {}
# Tags of msgpack and what they announce: array 16 (0xDC), uint 32 (0xCE), uint 64 (0xCF), int 32 (0xD2).
_HEAD = struct.Struct(">BHBIBQBi")
_KEY = struct.Struct(">4xHHxQxi")


def _packer() -> Any:
    return msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")


class _Packers(threading.local):
    """One packer for each thread, as a packer must not be used by two at once."""

    # Kept, because to make one, with its buffer, takes twice as long as to pack the record of a short task.

    def __init__(self) -> None:
        self.packer = _packer()


_mine = _Packers()


def pack(value: Any) -> bytes:
    """msgpack bytes of a plain value; lone surrogates are kept. ValueError, TypeError, OverflowError: not plain."""
    packed: bytes = _mine.packer.pack(value)
    if len(packed) > _KEPT_BYTES:
        _mine.packer = _packer()  # the old one would keep a buffer of that size
    return packed


def unpack(payload: bytes) -> Any:
    """Unpack a payload. LogError(reason="damaged"): not msgpack, or beyond the limits."""
    size = len(payload)
    try:
        # msgpack itself takes no more items than there are bytes: a short payload needs no limits of ours.
        if size <= _MAX_ITEMS:
            return msgpack.unpackb(payload, unicode_errors="surrogatepass", max_ext_len=0)
        return msgpack.unpackb(
            payload, unicode_errors="surrogatepass", max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS, max_ext_len=0
        )
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError, msgpack.UnpackException) as error:
        raise LogError(f"a record is not msgpack: {type(error).__name__}", reason="damaged") from None


def array(payload: bytes, types: Types, name: str) -> list[Any]:
    """The first elements of a payload, one for each of the ``types``. LogError: there are fewer, or of other types."""
    values = unpack(payload)
    if not isinstance(values, list):
        raise bad_record(name)
    del values[len(types) :]  # those of a later mrengine
    check_types(values, types, name)
    return values


def bad_record(name: str) -> LogError:
    """The error for a record that passed its CRC but does not have the layout of its kind."""
    return LogError(f"a {name} record does not hold what it must", reason="damaged")


def check_types(values: Sequence[Any], allowed: Types, name: str) -> None:
    """Check the types of a record's values against those allowed at each place. LogError: a value has another."""
    # There is a record for each chunk, and nearly all have the same row of types: it is looked up as a whole.
    row = tuple(map(type, values))
    known = _KNOWN_ROWS.setdefault(name, set())
    if row in known:
        return
    if len(row) != len(allowed) or any(kind not in kinds for kind, kinds in zip(row, allowed, strict=True)):
        raise bad_record(name)
    known.add(row)


def head(elements: int, round_: int, chunk_id: int, model_index: int) -> bytes:
    """The 22 bytes that begin the payload of a task's record. struct.error: a number is out of range."""
    return _HEAD.pack(0xDC, elements, 0xCE, round_, 0xCF, chunk_id, 0xD2, model_index)


def key(payload: bytes) -> tuple[int, int, int]:
    """(round, chunk_id, model_index) of a task's record, without unpacking it. LogError: it is too short."""
    return full_key(payload)[1:]


def full_key(payload: bytes) -> tuple[int, int, int, int]:
    """(epoch, round, chunk_id, model_index) of a task's record; the epoch modulo 65,536. LogError: it is too short."""
    try:
        return _KEY.unpack_from(payload)
    except struct.error:
        raise bad_record("task") from None


def task(payload: bytes, types: Types, name: str) -> list[Any]:
    """Like ``array``, for a task's record; the round comes without the epoch. ``types``: of what follows its head."""
    values = array(payload, (*HEAD_TYPES, *types), name)
    values[0] &= 0xFFFF
    return values


def stamp(payload: bytes, epoch: int) -> bytes:
    """A payload with this epoch in the upper half of its round."""
    # Workers pack records with 0 there: the one who writes the log knows the epoch.
    return payload[:4] + (epoch & 0xFFFF).to_bytes(2, "big") + payload[6:]
