"""What recovery does to a log's file: save damaged bytes aside and fill the gap, cut the tail, sync."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mrengine.log.file.recovery import BLOCK_BYTES, Recovery, Source
from mrengine.log.format.codec import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    OVERHEAD_BYTES,
    VOID,
    encode_frame,
    encode_header,
    padding,
)

__all__ = ["REPAIRED", "repair_log", "voids"]

REPAIRED = b"\1"  # the first byte of a VOID that took the place of damage; that of padding is 0


def repair_log(source: Source, recovery: Recovery) -> int:
    """Make the file match ``recovery``; returns its end. OSError: the disk failed; repeating it is harmless."""
    for start, end in recovery.damage:
        _save_aside(source, start, end)
    if source.rescued:
        _write(source, encode_header(source.header), 0)
    for start, end in recovery.damage:
        for offset, frame in voids(source, max(start, HEADER_BYTES), end):
            _write(source, frame, offset)
    if recovery.torn:
        source.files.truncate(source.fd, recovery.end)
    end, filler = recovery.end, padding(recovery.end)
    if filler is not None:
        frame = encode_frame(source.prefix, source.seed, end, recovery.watermark, VOID, bytes(filler))
        _write(source, frame, end)
        end += len(frame)
    source.files.sync(source.fd)
    return end


def voids(source: Source, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """VOID frames that fill ``start:end`` exactly; a gap has at least 21 bytes, as it held a frame."""
    offset = start
    while offset < end:
        piece = min(end - offset, MAX_PAYLOAD_BYTES + OVERHEAD_BYTES)
        if 0 < end - offset - piece < OVERHEAD_BYTES:
            piece -= OVERHEAD_BYTES
        payload = REPAIRED + bytes(piece - OVERHEAD_BYTES - 1) if piece > OVERHEAD_BYTES else b""
        yield offset, encode_frame(source.prefix, source.seed, offset, start, VOID, payload)
        offset += piece


def _save_aside(source: Source, start: int, end: int) -> None:
    if source.path is None:
        return
    files = source.files
    fd = files.open(f"{source.path}.damaged-{start}-{end}", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for offset in range(start, end, BLOCK_BYTES):
            data = files.pread(source.fd, min(BLOCK_BYTES, end - offset), offset)
            _write_to(source, fd, data, offset - start)
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_folder(os.path.dirname(source.path) or ".")


def _write(source: Source, data: bytes, offset: int) -> None:
    _write_to(source, source.fd, data, offset)


def _write_to(source: Source, fd: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += source.files.pwrite(fd, data[done:], offset + done)
