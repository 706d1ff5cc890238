"""Checks an Office file, which is a ZIP archive, before anything unpacks it into memory."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from mrengine.errors import SourceError

__all__ = ["LARGE", "MOST_RATIO", "check_archive"]

MOST_BYTES = 1 << 30  # unpacked
MOST_RATIO = 200  # of a part that is large: text compresses to a twentieth at best
LARGE = 50_000_000


def check_archive(binary: BinaryIO) -> None:
    """SourceError: it unpacks to more than anybody has written, or is damaged."""
    try:
        with zipfile.ZipFile(binary) as archive:
            parts = archive.infolist()
    except zipfile.BadZipFile:
        raise SourceError("it is damaged, or no Office file: it is not a ZIP archive") from None
    size = sum(part.file_size for part in parts)
    bomb = any(part.file_size > LARGE and part.file_size > MOST_RATIO * part.compress_size for part in parts)
    if size > MOST_BYTES or bomb:
        raise SourceError(f"it would unpack to {size} bytes, more than a document has")
    if any(part.flag_bits & 1 for part in parts):
        raise SourceError("it is encrypted: save it without a password first")
    binary.seek(0)
