"""Repairs a log's file after a walk: saves damaged bytes aside, fills the gaps, cuts the tail, syncs."""

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
    """Make the file match ``recovery``; return its end. OSError: the disk failed; repeating the repair is harmless."""
    # Saved before anything is overwritten: the bytes can be examined later, even if we die half-way.
    for start, end in recovery.damage:
        _save_aside(source, start, end)
    if source.rescued:
        source.files.write_all(source.fd, encode_header(source.header), 0)
    for start, end in recovery.damage:
        for offset, frame in voids(source, max(start, HEADER_BYTES), end):
            source.files.write_all(source.fd, frame, offset)
    if recovery.torn:
        source.files.truncate(source.fd, recovery.end)
    end, filler = recovery.end, padding(recovery.end)
    if filler is not None:
        frame = encode_frame(source.prefix, source.seed, end, recovery.watermark, VOID, bytes(filler))
        source.files.write_all(source.fd, frame, end)
        end += len(frame)
    source.files.sync(source.fd)
    return end


def voids(source: Source, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, VOID frame) of each frame in a row of them that fills ``start:end`` exactly."""
    # A gap has room for one at least, as it held a frame.
    offset = start
    while offset < end:
        piece = min(end - offset, MAX_PAYLOAD_BYTES + OVERHEAD_BYTES)
        if 0 < end - offset - piece < OVERHEAD_BYTES:  # the rest would be too small for a frame
            piece -= OVERHEAD_BYTES
        payload = REPAIRED + bytes(piece - OVERHEAD_BYTES - 1) if piece > OVERHEAD_BYTES else b""
        yield offset, encode_frame(source.prefix, source.seed, offset, start, VOID, payload)
        offset += piece


def _save_aside(source: Source, start: int, end: int) -> None:
    if source.path is None:  # opened by a descriptor: there is no place beside it
        return
    files = source.files
    fd = files.open(f"{source.path}.damaged-{start}-{end}", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for offset in range(start, end, BLOCK_BYTES):
            data = files.pread(source.fd, min(BLOCK_BYTES, end - offset), offset)
            files.write_all(fd, data, offset - start)
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_folder(os.path.dirname(source.path) or ".")
