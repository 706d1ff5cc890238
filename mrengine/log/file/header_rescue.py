"""Rebuilds a damaged header: everything in it but the salt is known, and every frame implies the salt.

A frame's CRC starts at ``CRC(salt) + offset``, and a CRC can be run backwards: each frame implies ``CRC(salt)``, and
begins with the first four bytes of the salt. The other four follow from both.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from mrengine.log.format.codec import (
    COVERED_AT,
    FRAME,
    HEADER_BYTES,
    KIND_NAMES,
    OVERHEAD_BYTES,
    SECTOR_BYTES,
    Frame,
    Header,
    decode_frame,
)

__all__ = ["rescued_header"]

_ALL = 0xFFFFFFFF
_LONGEST = 1 << 16  # running a CRC backwards is slow, and shorter frames imply as much
_LOOKED_AT = 4096  # sectors: give up after two megabytes without a short frame
_TABLE = [crc32(bytes([n]), _ALL) ^ _ALL for n in range(256)]  # the table of zlib's CRC
_BY_TOP = {entry >> 24: n for n, entry in enumerate(_TABLE)}

Read = Callable[[int, int], bytes]  # (count, offset)


def rescued_header(read: Read, size: int, job_id: str) -> Header | None:
    """The header that the frames of a file imply; None: there is no frame, or the file is no log."""
    # Frames are looked for where sectors begin: each commit is padded to the end of one, so that many begin there.
    # Any 21 bytes imply some salt: it counts when another frame, the next or one at a later sector, implies the same.
    seen: set[tuple[bytes, int]] = set()
    for offset in range(HEADER_BYTES, min(size, HEADER_BYTES + _LOOKED_AT * SECTOR_BYTES), SECTOR_BYTES):
        implied = _implied(read, offset, size)
        if implied is None:
            continue
        if implied in seen or _confirmed(read, offset, size, *implied):
            return Header(job_id, _salt(*implied))
        seen.add(implied)
    return None


def _implied(read: Read, offset: int, size: int) -> tuple[bytes, int] | None:
    """(the salt's first four bytes, CRC of the salt), if a frame begins at ``offset``."""
    head = read(OVERHEAD_BYTES, offset)
    if len(head) < OVERHEAD_BYTES:
        return None
    prefix, crc, length, watermark, kind = FRAME.unpack(head)
    end = offset + OVERHEAD_BYTES + length
    if not any(prefix) or length > _LONGEST or end > size or kind >= len(KIND_NAMES):
        return None
    if not HEADER_BYTES <= watermark <= offset:
        return None
    # Nothing can be checked here: any CRC fits some start value.
    covered = head[COVERED_AT:] + read(length, offset + OVERHEAD_BYTES)
    return prefix, (_started_at(crc, covered) - offset) & _ALL


def _confirmed(read: Read, offset: int, size: int, prefix: bytes, seed: int) -> bool:
    """Whether the frame behind the one at ``offset`` is valid with this salt."""
    length: int = FRAME.unpack(read(OVERHEAD_BYTES, offset))[2]
    after = offset + OVERHEAD_BYTES + length
    block = read(min(_LONGEST, size - after), after)
    return isinstance(decode_frame(block, 0, after, prefix, seed), Frame)


def _started_at(crc: int, data: bytes) -> int:
    """The start value with which zlib's CRC of ``data`` is ``crc``."""
    register = crc ^ _ALL
    # Each step of a CRC shifts a byte out and mixes in a table entry. The entries differ in their top bytes, so the top
    # byte of the register tells which entry it was, and the step can be undone.
    for byte in reversed(data):
        index = _BY_TOP[register >> 24]
        register = ((register ^ _TABLE[index]) << 8 & _ALL) | (index ^ byte)
    return register ^ _ALL


def _salt(prefix: bytes, seed: int) -> bytes:
    """The eight bytes that begin with ``prefix`` and whose CRC is ``seed``: four bytes can give any CRC."""
    # Four bytes are XORed into the register, then come four steps: undone from ``seed``, XOR gives the bytes.
    before = _started_at(seed, bytes(4))
    rest = (before ^ crc32(prefix)).to_bytes(4, "little")
    return prefix + rest
