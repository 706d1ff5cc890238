"""Owns the way in: a document of any kind becomes a stream of text blocks, the same whatever it came from.

A block has ``BLOCK`` characters, except the last; surrogate pairs may be split, CRLF, NUL and BOM are left as they are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mrengine.chunking import filetypes
from mrengine.chunking.splitters import dicom
from mrengine.errors import SourceError

__all__ = ["BLOCK", "Source", "blocks"]

BLOCK = 1 << 17

# str (always text), Path, bytes, a text or binary file object, or an iterable of the pieces of one text
Source = Any


def blocks(document: Source, *, size: int = BLOCK, name: str = "") -> Iterator[str]:
    """The text of a document in blocks of ``size`` characters. ``name``: what errors call it if it has none.

    Raises SourceError for what cannot be read, is binary, or is not UTF-8 (``offset`` in bytes).
    """
    if isinstance(document, str):
        return _slices(document, size)
    return _regrouped(_pieces(document, size, name), size)


def _slices(text: str, size: int) -> Iterator[str]:
    if len(text) <= size:
        yield text
        return
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def _regrouped(pieces: Iterable[str], size: int) -> Iterator[str]:
    waiting: list[str] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            text = "".join(waiting)
            whole = length - length % size
            yield from _slices(text[:whole], size)
            waiting, length = [text[whole:]], length - whole
    if length:
        yield "".join(waiting)


def _pieces(document: Source, size: int, name: str) -> Iterator[str]:
    if isinstance(document, os.PathLike):
        return _from_path(Path(document), size)
    if isinstance(document, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(document), size, name or "bytes")
    if hasattr(document, "read"):
        return _from_file(document, size, str(getattr(document, "name", "") or name or type(document).__name__))
    if isinstance(document, Iterable):
        return _checked(document)
    kind = type(document).__name__
    message = f"a document cannot be of type {kind}: give a str, Path, bytes, file or iterable of str"
    raise SourceError(message, source=kind)


def _from_path(path: Path, size: int) -> Iterator[str]:
    if path.suffix.lower() == ".dcm":  # whatever it begins with, it is no text
        yield dicom.dump_file(path)
        return
    try:
        with path.open("rb") as file:
            yield from _from_file(file, size, str(path))
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}", source=str(path)) from error


def _from_file(file: Any, size: int, name: str) -> Iterator[str]:
    first = _read(file, size, name)
    while isinstance(first, bytes) and 0 < len(first) < filetypes.PROBE_BYTES and (more := _read(file, size, name)):
        first += more  # a pipe gives as little as it likes; the kind of file is told by its beginning
    rest = iter(lambda: _read(file, size, name), type(first)())
    if isinstance(first, str):
        filetypes.refuse_signed(first, name)
        return _checked(_chain(first, rest))
    if dicom.is_dicom(first):
        return iter((dicom.dump(_rewound(file, first), name),))
    filetypes.refuse_binary(first, name)
    return _decoded(_chain(first, rest), name)


def _rewound(file: Any, first: bytes) -> Any:
    """The binary file from its first byte again; in memory, if it cannot go back."""
    try:
        file.seek(-len(first), io.SEEK_CUR)
    except (OSError, AttributeError, ValueError):
        return io.BytesIO(first + file.read())
    return file


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first:
        yield first
        yield from rest


def _read(file: Any, size: int, name: str) -> Any:
    try:
        data = file.read(size)
    except UnicodeDecodeError as error:
        filetypes.refuse_binary(error.object, name)
        raise filetypes.undecodable(name, error.encoding) from None
    except (OSError, io.UnsupportedOperation, ValueError) as error:
        raise SourceError(f"cannot read {name}: {error}", source=name) from error
    if not isinstance(data, (str, bytes)):
        raise SourceError(f"{name}.read() gave {type(data).__name__}, not str or bytes", source=name)
    return data


def _checked(pieces: Iterable[Any]) -> Iterator[str]:
    for piece in pieces:
        if not isinstance(piece, str):
            kind = type(piece).__name__
            raise SourceError(f"an iterable document must give str pieces of one text, not {kind}", source=kind)
        yield piece


def _decoded(pieces: Iterator[bytes], name: str) -> Iterator[str]:
    """UTF-8 (surrogatepass, as the spool) → text, cut between pieces where a character begins."""
    waiting, offset, line = b"", 0, 1
    for piece in pieces:
        data = waiting + piece
        whole = _whole_characters(data)
        yield _decode(data[:whole], name, offset, line)
        waiting, offset, line = data[whole:], offset + whole, line + data.count(b"\n", 0, whole)
    if waiting:
        yield _decode(waiting, name, offset, line)


def _whole_characters(data: bytes) -> int:
    """Where the last character that may be unfinished begins (at most four bytes before the end)."""
    for index in range(len(data) - 1, max(-1, len(data) - 5), -1):
        if data[index] & 0xC0 != 0x80:
            return index if data[index] >= 0xC0 else index + 1
    return len(data)


def _decode(data: bytes, name: str, offset: int, line: int) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        follows = data[error.start :]
        raise filetypes.undecodable(name, "utf-8", at=offset + error.start, line=line, follows=follows) from None
