"""Opens sources of every kind: first bytes and name choose a loader, which makes pieces of text."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from mrengine.errors import SourceError, UrlRefused
from mrengine.sources import filetypes
from mrengine.sources.encodings import decoded
from mrengine.sources.filetypes import mark_of
from mrengine.sources.formats import dicom_file
from mrengine.sources.formats.office import LARGE, MOST_RATIO
from mrengine.sources.loaders import FileLoader, Notes, find_loader, loaded, needs
from mrengine.sources.urls import Url, parse

__all__ = ["BLOCK", "File", "TextSource", "blocks", "open_pieces", "whole_lines"]

_MOST_UNPACKED = 1 << 30  # bytes, of a file in a format that is read as a whole
_NESTED = 3  # layers of packing
BLOCK = 1 << 17  # characters

# str (always text), Path, Url, bytes, a text or binary file object, or an iterable of the pieces of one text
TextSource = Any


@dataclass(frozen=True, slots=True)
class File:
    """A file, with what the caller knows of it. ``encoding`` "": unknown. ``pages``: the pages of another file that
    the text was taken from; see Notes.
    """

    path: Path
    encoding: str = ""
    pages: tuple[tuple[int, int], ...] = ()


def blocks(document: TextSource, *, name: str = "", notes: Notes | None = None) -> Iterator[str]:
    """The text of a document in blocks of ``BLOCK`` characters. ``name``: what errors call it if it has no name.

    ``notes``: takes pages and warnings; without it, warnings are logged. Raises SourceError for what cannot be read,
    is damaged, or is no kind of text (``offset`` in bytes).
    """
    if isinstance(document, str):
        return _slices(document)
    if notes is not None:
        return _regrouped(_pieces(document, name, notes))
    return _logging_notes(document, name)


def _logging_notes(document: TextSource, name: str) -> Iterator[str]:
    notes = Notes()
    yield from _regrouped(_pieces(document, name, notes))
    notes.log()


def _slices(text: str) -> Iterator[str]:
    if len(text) <= BLOCK:
        yield text
        return
    for begin in range(0, len(text), BLOCK):
        yield text[begin : begin + BLOCK]


def _regrouped(pieces: Iterable[str]) -> Iterator[str]:
    waiting: list[str] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= BLOCK:
            text = "".join(waiting)
            whole = length - length % BLOCK
            yield from _slices(text[:whole])
            waiting, length = [text[whole:]], length - whole
    if length:
        yield "".join(waiting)


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text whose pieces end anywhere, each with its LF. Nothing else ends a line."""
    # Not splitlines(): strings of JSON and cells of a CSV may hold a CR, and all other line separators of Unicode.
    waiting: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        waiting.append(first)
        for other in others:
            yield "".join(waiting) + "\n"
            waiting = [other]
    if any(waiting):
        yield "".join(waiting)


def _pieces(document: TextSource, name: str, notes: Notes) -> Iterator[str]:
    kinds = (os.PathLike, bytes, bytearray, memoryview, File, Url)
    if isinstance(document, kinds) or hasattr(document, "read"):
        return open_pieces(document, name, notes)
    if isinstance(document, Iterable):
        return _text_pieces(document)
    kind = type(document).__name__
    message = f"a document cannot be of type {kind}: give a str, Path, Url, bytes, file or iterable of str"
    raise SourceError(message, source=kind)


def _text_pieces(pieces: Iterable[Any]) -> Iterator[str]:
    for piece in pieces:
        if not isinstance(piece, str):
            kind = type(piece).__name__
            raise SourceError(f"an iterable document must give str pieces of one text, not {kind}", source=kind)
        yield piece


def open_pieces(origin: Any, name: str, notes: Notes) -> Iterator[str]:
    """The text of a path, ``File``, ``Url``, bytes or file object, in pieces. ``name``: of one without a name.

    SourceError: it cannot be read, is no kind of text, or needs a package.
    """
    if isinstance(origin, Url):
        return _from_url(origin, notes)
    if isinstance(origin, (os.PathLike, File)):
        file = origin if isinstance(origin, File) else File(Path(origin))
        return _from_path(file, notes)
    if isinstance(origin, (bytes, bytearray, memoryview)):
        return _Opened(io.BytesIO(origin), name or "bytes", notes).pieces()
    return _from_file(origin, str(getattr(origin, "name", "") or name or type(origin).__name__), notes)


def _from_path(file: File, notes: Notes) -> Iterator[str]:
    path = file.path
    notes.pages += file.pages
    try:
        with path.open("rb") as binary:
            yield from _Opened(binary, str(path), notes, encoding=file.encoding).pieces()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}", source=str(path)) from error


def _from_url(url: Url, notes: Notes) -> Iterator[str]:
    from mrengine.sources.fetch import fetch

    shown = parse(url.url).shown
    fetched = fetch(url)
    with fetched.file as binary:
        opened = _Opened(
            binary,
            shown,
            notes,
            path=fetched.path,
            media_type=fetched.media_type,
            charset=fetched.charset,
            most=url.max_bytes,
        )
        yield from opened.pieces()


def _from_file(file: Any, name: str, notes: Notes) -> Iterator[str]:
    first = _read(file, name)
    if isinstance(first, bytes):
        return _Opened(file, name, notes, first=first).pieces()
    # It was opened as text and decoded by the caller; only what is recognised as text, too, can be refused.
    filetypes.refuse_signed(first, name)
    return _checked(_chain(first, iter(lambda: _read(file, name), "")), name)


@dataclass(slots=True)
class _Opened:
    """A binary file on its way to text. ``path``: its suffix hints at its kind; ``first``: what was read already;
    ``most``: bytes that a Url may unpack to; ``depth``: layers of packing around it.
    """

    binary: Any
    name: str
    notes: Notes
    path: str = ""
    media_type: str = ""
    encoding: str = ""
    charset: str = ""
    most: int | None = None
    first: bytes = b""
    depth: int = 0

    def pieces(self) -> Iterator[str]:
        """Its text."""
        while len(self.first) < filetypes.PROBE_BYTES and (more := self._read()):
            self.first += more  # a pipe gives as little as it likes, and signatures need the whole beginning
        first, name, path = self.first, self.name, self.path or self.name
        if path.lower().endswith(".dcm") or dicom_file.is_dicom(first):
            return iter((dicom_file.dump(self._rewound(), name),))
        if (packing := _packing(first)) and self.depth < _NESTED:
            return self._unpacked(packing, path)
        mark, loader = mark_of(first), find_loader(path, self.media_type, first)
        if loader is not None and not loader.is_text:
            if not mark:
                return self._loaded(loader)
            loader = None  # a byte order mark: text, whatever its name says
        # A caller who names the encoding has looked; UTF-16 has the NULs and controls that give binary data away.
        if not self.encoding and not (mark and filetypes.is_wide_text(first, mark)):
            filetypes.refuse_binary(first, name)
        if loader is not None:
            return self._loaded(loader)
        data = _chain(first, iter(self._read, b""))
        return decoded(data, name, self.notes, encoding=self.encoding, charset=self.charset)

    def _read(self) -> bytes:
        data = _read(self.binary, self.name)
        if not isinstance(data, bytes):
            raise SourceError(f"{self.name}.read() gave text after bytes", source=self.name)
        return data

    def _rewound(self) -> Any:
        """The file from its first byte again; read into memory if it cannot seek."""
        try:
            self.binary.seek(-len(self.first), io.SEEK_CUR)
        except (OSError, AttributeError, ValueError):
            return io.BytesIO(self.first + self.binary.read())
        return self.binary

    def _seekable(self, stack: ExitStack) -> BinaryIO:
        """The same for formats that are read from their end: a copy on the disk, unless it is a real file."""
        file: Any = self._rewound()
        if isinstance(file, (io.BytesIO, io.BufferedReader, io.BufferedRandom)):
            return file
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        taken = 0
        while data := _read(file, self.name):
            taken += len(data)
            if taken > _MOST_UNPACKED:
                raise SourceError(f"{self.name} has more than {_MOST_UNPACKED} bytes unpacked", source=self.name)
            copy.write(data)
        copy.seek(0)
        return copy

    def _loaded(self, loader: FileLoader) -> Iterator[str]:
        with ExitStack() as stack:
            file = self._in_its_charset(self._seekable(stack))
            yield from loaded(loader, file, self.name, self.notes.pages)

    def _in_its_charset(self, file: BinaryIO) -> BinaryIO:
        """A web page in the charset that its server named, as UTF-8; any other file as it is."""
        if not self.charset or not self.media_type.endswith("html"):
            return file
        data = file.read()
        with suppress(LookupError, UnicodeError):  # servers are often wrong: then the page's own word counts
            data = data if mark_of(data) else data.decode(self.charset).encode("utf-8", "surrogatepass")
        return io.BytesIO(data)

    def _unpacked(self, packing: str, path: str) -> Iterator[str]:
        packed = _Counted(self._rewound())
        with _unpacker(packing, packed, self.name) as binary:
            limited = _Limited(binary, packed, self.most, self.name)
            suffix = Path(path).suffix.lower()
            inner = path[: -len(suffix)] if suffix in (".gz", ".zst", ".zstd", ".gzip") else path
            packed_type = self.media_type.endswith(("gzip", "zstd", "octet-stream"))  # it says nothing of the inside
            media_type = "" if packed_type else self.media_type
            unpacked = replace(self, binary=limited, path=inner, media_type=media_type, charset="", first=b"")
            unpacked.depth += 1
            yield from unpacked.pieces()


def _packing(first: bytes) -> str:
    if first[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if first[:4] == b"\x28\xb5\x2f\xfd" else ""


def _unpacker(packing: str, binary: Any, name: str) -> Any:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=binary, mode="rb")
    try:
        import zstandard
    except ImportError:
        raise needs("zstd", f"{name}, which is packed with zstd,") from None
    return zstandard.ZstdDecompressor().stream_reader(binary, read_across_frames=True, closefd=False)


class _Counted:
    """A packed file that counts the bytes read from it."""

    def __init__(self, binary: Any) -> None:
        self._binary, self.taken = binary, 0

    def read(self, size: int = -1) -> Any:
        data = self._binary.read(size)
        self.taken += len(data)
        return data


class _Limited:
    """An unpacked file with limits: ``most`` bytes of a Url, and of any file no more than a text of its size holds.

    A few kilobytes can unpack to terabytes, which would fill the disk and be paid for.
    """

    def __init__(self, binary: Any, packed: _Counted, most: int | None, name: str) -> None:
        self._binary, self._packed, self._most, self._name = binary, packed, most, name
        self._unpacked = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        data: bytes = self._binary.read(size)
        self._unpacked += len(data)
        if self._most is not None and self._unpacked > self._most:
            message = f"{self._name}: unpacked it has more bytes than are taken (max_bytes)"
            raise UrlRefused(message, rule="max_bytes", url=self._name)
        if self._unpacked > LARGE and self._unpacked > MOST_RATIO * self._packed.taken:
            why = f"unpacks to over {MOST_RATIO} times its size, as no text does: if this one does, unpack it first"
            raise SourceError(f"{self._name} {why}", source=self._name)
        return data


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first:
        yield first
        yield from rest


def _read(file: Any, name: str) -> Any:
    try:
        data = file.read(BLOCK)
    except UnicodeDecodeError as error:
        filetypes.refuse_binary(error.object, name)
        raise filetypes.undecodable(name, error.encoding) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SourceError(f"{name} is packed, and damaged or cut off", source=name) from None
    except (OSError, io.UnsupportedOperation, ValueError) as error:
        raise SourceError(f"cannot read {name}: {error}", source=name) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "zstandard":  # an extra: its error cannot be named here
            raise
        raise SourceError(f"{name} is packed, and damaged or cut off", source=name) from None
    if not isinstance(data, (str, bytes)):
        raise SourceError(f"{name}.read() gave {type(data).__name__}, not str or bytes", source=name)
    return data


def _checked(pieces: Iterable[Any], name: str) -> Iterator[str]:
    for piece in pieces:
        if not isinstance(piece, str):
            raise SourceError(f"{name}.read() gave {type(piece).__name__} after text", source=name)
        yield piece
