"""A second reader of the log, written from docs/log-format.md alone: it shares no code with the first.

The plainest program that follows the page: everything in memory, every offset tried, msgpack decoded by hand.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


class Refused(Exception):
    """The file must not be used; the message is the reason."""


@dataclass
class Reading:
    """``frames``: (offset, kind, payload); ``damage``: lost ranges; ``end``: where the log ends; ``watermark``: W."""

    job_id: str
    frames: list[tuple[int, int, bytes]]
    damage: list[tuple[int, int]]
    end: int
    watermark: int


def read(data: bytes) -> Reading:
    """The whole recovery of the format's page."""
    job_id, salt = read_header(data)
    runs, gaps = [], []
    position, found = 512, []
    while position < len(data):
        frame = frame_at(data, position, salt)
        if frame is not None:
            found.append((position, *frame))
            position += 21 + len(frame[2])
            continue
        following = next((y for y in candidates(data, position + 1, salt) if frame_at(data, y, salt)), None)
        gaps.append((position, following))
        if following is None:
            break
        position = following
    watermark = max((frame[1] for frame in found), default=512)
    torn = next((start for start, _ in gaps if start >= watermark), None)
    end = torn if torn is not None else position
    runs = [(offset, kind, payload) for offset, _, kind, payload in found if offset < end]
    return Reading(job_id, runs, [(a, b) for a, b in gaps if b is not None and a < end], end, watermark)


def read_header(data: bytes) -> tuple[str, bytes]:
    """Job id and salt."""
    if len(data) < 512 or data[:8] != bytes.fromhex("89 4D 52 4C 4F 47 0D 0A"):
        raise Refused("not_a_log")
    version, flags = struct.unpack("<HH", data[8:12])
    intact = struct.unpack("<I", data[508:512])[0] == zlib.crc32(data[:508])
    if version != 1 or (intact and flags):
        raise Refused("newer")
    if not intact:
        raise Refused("damaged")
    return data[21 : 21 + data[20]].decode("ascii"), data[12:20]


def frame_at(data: bytes, offset: int, salt: bytes) -> tuple[int, int, bytes] | None:
    """(watermark, kind, payload), if a valid frame begins here."""
    if offset + 21 > len(data) or data[offset : offset + 4] != salt[:4]:
        return None
    crc, length = struct.unpack("<II", data[offset + 4 : offset + 12])
    watermark = int.from_bytes(data[offset + 12 : offset + 20], "little")
    if length > 67_108_864 or offset + 21 + length > len(data) or not 512 <= watermark <= offset:
        return None
    start = (zlib.crc32(salt) + offset) % 2**32
    if zlib.crc32(data[offset + 8 : offset + 21 + length], start) != crc:
        return None
    return watermark, data[offset + 20], data[offset + 21 : offset + 21 + length]


def candidates(data: bytes, start: int, salt: bytes):  # type: ignore[no-untyped-def]
    """Offsets at which the salt's prefix stands."""
    at = data.find(salt[:4], start)
    while at >= 0:
        yield at
        at = data.find(salt[:4], at + 1)


def unpack(data: bytes) -> object:
    """One msgpack value, without extension types; ValueError: it is not, or there is more."""
    value, end = _value(data, 0)
    if end != len(data):
        raise ValueError("bytes left over")
    return value


def _value(data: bytes, at: int) -> tuple[object, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag < 0x90:
        return _map(data, at, tag & 15)
    if tag < 0xA0:
        return _array(data, at, tag & 15)
    if tag < 0xC0:
        return _text(data, at, tag & 31)
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag in _NUMBERS:
        form = struct.Struct(">" + _NUMBERS[tag])
        return form.unpack_from(data, at)[0], at + form.size
    width, reader = _SIZED[tag]
    size = int.from_bytes(data[at : at + width], "big")
    return reader(data, at + width, size)


def _text(data: bytes, at: int, size: int) -> tuple[object, int]:
    return data[at : at + size].decode("utf-8", "surrogatepass"), at + size


def _binary(data: bytes, at: int, size: int) -> tuple[object, int]:
    return data[at : at + size], at + size


def _array(data: bytes, at: int, size: int) -> tuple[object, int]:
    values = []
    for _ in range(size):
        value, at = _value(data, at)
        values.append(value)
    return values, at


def _map(data: bytes, at: int, size: int) -> tuple[object, int]:
    pairs = {}
    for _ in range(size):
        name, at = _value(data, at)
        pairs[name], at = _value(data, at)
    return pairs, at


_NUMBERS = {
    0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q",
}  # fmt: skip
_SIZED = {
    0xC4: (1, _binary), 0xC5: (2, _binary), 0xC6: (4, _binary), 0xD9: (1, _text), 0xDA: (2, _text), 0xDB: (4, _text),
    0xDC: (2, _array), 0xDD: (4, _array), 0xDE: (2, _map), 0xDF: (4, _map),
}  # fmt: skip
