"""Encodes and decodes the header and the frames of the log, with pure functions.

::

    header  magic 8 │ version u16 │ flags u16 │ salt 8 │ n u8 │ job id 100 │ 0 × 387 │ crc u32        512 bytes
    frame   salt[0:4] │ crc u32 │ length u32 │ watermark u64 │ kind u8 │ payload                       21 + length

The format, its recovery rules and its promises are in docs/log-format.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from mrengine.errors import LogError

MAGIC = b"\x89MRLOG\r\n"
VERSION = 1
SECTOR_BYTES = 512
HEADER_BYTES = SECTOR_BYTES
OVERHEAD_BYTES = 21
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024

VOID, JOB, DOCUMENTS, CHUNKS, ROUND, INTENT, CALL, RESULT, FAILURE, ATTEMPT, CARRY, CLOSE = range(12)
NOTE, REQUEST, BATCH, READ = range(12, 16)
STAMPED = frozenset({CHUNKS, RESULT, FAILURE, ATTEMPT, CARRY, REQUEST})  # the number of their epoch is in their round
KIND_NAMES = (
    "VOID", "JOB", "DOCUMENTS", "CHUNKS", "ROUND", "INTENT", "CALL", "RESULT", "FAILURE", "ATTEMPT", "CARRY", "CLOSE",
    "NOTE", "REQUEST", "BATCH", "READ",
)  # fmt: skip

_made = tuple.__new__  # a NamedTuple's own constructor takes twice as long, and there is one for each record
_HEADER = struct.Struct("<8sHH8sB100s387x")
FRAME = struct.Struct("<4sIIQB")  # mark, CRC, length, watermark, kind; the payload follows
FRAME_HEAD = struct.Struct("<4s4xI8xB")  # the part of it that tells where the next frame begins: mark, length, kind
_COVERED = struct.Struct("<IQB")  # what the CRC covers before the payload
COVERED_AT = 8
_PAYLOAD_AT = _COVERED.size


class Frame(NamedTuple):
    """A valid frame. ``offset``: where it begins in the file; ``payload``: bytes that are not decoded yet."""

    offset: int
    kind: int
    payload: bytes
    watermark: int

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + OVERHEAD_BYTES + len(self.payload)


@dataclass(frozen=True, slots=True)
class Header:
    """The first 512 bytes. ``salt``: 8 random bytes that bind the frames to this file."""

    job_id: str
    salt: bytes
    version: int = VERSION

    @property
    def prefix(self) -> bytes:
        """The four bytes that begin every frame."""
        return self.salt[:4]

    @property
    def seed(self) -> int:
        """The CRC of the salt. A frame's CRC starts with this plus the frame's offset, modulo 2³²."""
        # So a frame that is copied to another place, as in a payload or a stale sector, is not valid there.
        return crc32(self.salt)


def new_salt() -> bytes:
    """Eight random bytes, of which the first four are never all zero."""
    # Else zeroed sectors, as a power cut leaves them, would look like frames.
    while True:
        salt = os.urandom(8)
        if any(salt[:4]):
            return salt


def encode_header(header: Header) -> bytes:
    """The 512 bytes of a header. ValueError: the job id is not 1 to 100 ASCII characters."""
    name = header.job_id.encode("ascii")
    if not 0 < len(name) <= 100:
        raise ValueError("a job id has 1 to 100 characters")
    body = _HEADER.pack(MAGIC, header.version, 0, header.salt, len(name), name)
    return body + crc32(body).to_bytes(4, "little")


def is_intact(data: bytes) -> bool:
    """Whether the CRC of a header's bytes is right."""
    whole = len(data) >= HEADER_BYTES
    return whole and crc32(data[: HEADER_BYTES - 4]) == int.from_bytes(data[HEADER_BYTES - 4 : HEADER_BYTES], "little")


def decode_header(data: bytes, *, path: str | None = None) -> Header:
    """Parse a header. LogError: "not_a_log", "newer" or "damaged"; the file must then be left untouched."""
    if len(data) < HEADER_BYTES or data[:8] != MAGIC:
        raise LogError(f"{path or 'the file'} is not a log of mrengine", reason="not_a_log", path=path)
    _, version, flags, salt, length, name = _HEADER.unpack(data[: HEADER_BYTES - 4])
    intact = is_intact(data)
    if version != VERSION or (intact and flags):
        message = f"{path or 'the log'} has format version {version}, flags {flags}; this mrengine reads {VERSION}, 0"
        raise LogError(message + ": upgrade mrengine, or start under another job id", reason="newer", path=path)
    if not intact or not any(salt[:4]) or not 0 < length <= 100:
        what = f"the header of {path or 'the log'} is damaged, and no record tells of it"
        message = f"{what}; nothing was changed. Restore it, or run under another job id"
        raise LogError(message, reason="damaged", path=path, ranges=[(0, HEADER_BYTES)])
    return Header(name[:length].decode("ascii", "replace"), salt)


def encode_frame(header_prefix: bytes, seed: int, offset: int, watermark: int, kind: int, payload: bytes) -> bytes:
    """The bytes of a frame at this offset. ValueError: the payload is above the cap."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record of {len(payload)} bytes is above the cap of {MAX_PAYLOAD_BYTES}")
    covered = _COVERED.pack(len(payload), watermark, kind)
    crc = crc32(payload, crc32(covered, (seed + offset) & 0xFFFFFFFF))
    return b"".join((header_prefix, crc.to_bytes(4, "little"), covered, payload))


def padding(size: int) -> int | None:
    """The payload size of the VOID frame that pads a log of ``size`` bytes to the end of a sector; None: no need."""
    # A sector with announced bytes is never written again, as a power cut may destroy any sector that is being written.
    missing = -size % SECTOR_BYTES
    if not missing:
        return None
    # A gap too small for a frame is padded to the end of the next sector.
    return (missing if missing >= OVERHEAD_BYTES else missing + SECTOR_BYTES) - OVERHEAD_BYTES


def decode_frame(block: bytes, at: int, offset: int, prefix: bytes, seed: int) -> Frame | int:
    """The valid frame at ``block[at:]``, which is at ``offset`` in the file; else the number of bytes needed.

    0: there is no valid frame. n > 0: to decide whether there is one takes ``n`` bytes from ``at`` on.
    """
    available = len(block) - at
    if available < OVERHEAD_BYTES:
        return OVERHEAD_BYTES
    length: int
    mark, crc, length, watermark, kind = FRAME.unpack_from(block, at)
    if mark != prefix or length > MAX_PAYLOAD_BYTES or not HEADER_BYTES <= watermark <= offset:
        return 0
    end = OVERHEAD_BYTES + length
    if available < end:
        return end
    covered = block[at + COVERED_AT : at + end]
    if crc32(covered, (seed + offset) & 0xFFFFFFFF) != crc:
        return 0
    return _made(Frame, (offset, kind, covered[_PAYLOAD_AT:], watermark))


def decode_frames(block: bytes, offset: int, prefix: bytes, seed: int) -> Generator[Frame, None, tuple[int, int, int]]:
    """The valid frames with which a block begins that is at ``offset`` in the file.

    Returns the length of them all, what ``decode_frame`` says of the bytes behind them, and the highest watermark.
    """
    # ``decode_frame`` written out: there may be a million frames, and calls would be a third of the time.
    at, size, highest, unpack = 0, len(block), 0, FRAME.unpack_from
    while at + OVERHEAD_BYTES <= size:
        mark, crc, length, watermark, kind = unpack(block, at)
        here = offset + at
        if mark != prefix or length > MAX_PAYLOAD_BYTES or not HEADER_BYTES <= watermark <= here:
            return at, 0, highest
        end = at + OVERHEAD_BYTES + length
        if end > size:
            return at, end - at, highest
        covered = block[at + COVERED_AT : end]
        if crc32(covered, (seed + here) & 0xFFFFFFFF) != crc:
            return at, 0, highest
        yield _made(Frame, (here, kind, covered[_PAYLOAD_AT:], watermark))
        at = end
        if watermark > highest:
            highest = watermark
    return at, OVERHEAD_BYTES, highest
