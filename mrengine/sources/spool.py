"""The spool: one file that holds a job's documents one after another, as UTF-8 (``surrogatepass``)."""

from __future__ import annotations

import codecs
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from mrengine.errors import ConfigError, SourceError
from mrengine.private import open_file
from mrengine.sources.part_writer import PartWriter

__all__ = [
    "Spool",
    "SpoolFile",
    "SpoolReader",
    "link_spool",
    "not_kept",
    "spool_name",
    "sweep_spools",
    "whole_surrogates",
]

BLOCK_BYTES = 1 << 20


def spool_name(digest: bytes) -> str:
    """The name of the spool of documents with this digest: a chunk table never meets the text of other documents."""
    return f"spool-{digest.hex()}"


def sweep_spools(folder: Path, *, keep: Path | None = None) -> None:
    """Remove all spools of a job folder but one: those of earlier inputs, and what killed hosts left half written."""
    for entry in folder.glob("spool*"):
        if (keep is None or entry.name != keep.name) and not _is_being_written(entry):
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):  # a folder is none of ours
                entry.unlink()


def _is_being_written(entry: Path) -> bool:
    """Whether a living process is writing this file. Its lock says so; its pid would mean nothing in a container."""
    if not entry.name.endswith(".new"):
        return False
    try:
        fd = open_file(entry, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(fd)
    return False


class Spool:
    """Writes documents to a file beside the spool, which takes its place at ``publish()``. Files are 0600.

    ``optional``: a full or read-only disk becomes an error only when the file is needed: a finished job asks for no
    more than the documents' digests.
    """

    def __init__(self, folder: Path, *, optional: bool = False) -> None:
        self._folder, self._optional = folder, optional
        self._path = folder / f"spool.{os.getpid()}-{secrets.token_hex(4)}.new"
        self._file: BinaryIO | None = None
        self._error: OSError | None = None
        self._broken: OSError | None = None  # the error of a part
        self._parts = PartWriter(self._write_part)
        self.size = 0  # bytes that were added
        self._readable = 0  # bytes that were flushed
        self._published = False
        try:
            self._file = _locked_file(self._path)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self._error = error
        self.discard()  # at once: what it took of a full disk is free again
        if not self._optional:
            self.require()

    def require(self) -> None:
        """SourceError: the documents could not be written."""
        if self._error is not None:
            raise not_kept(self._error, self._folder) from self._error

    @property
    def path(self) -> Path:
        """The file's present name."""
        return self._path

    def write(self, data: bytes) -> int:
        """Add a part of a document; returns its offset."""
        at = self.size
        if self._parts.is_behind:
            self.catch_up()
        self.size += len(data)
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._failed(error)
        return at

    def write_part(self, data: bytes, digest: Any) -> None:
        """Add a part of a long document, and update its digest: both are done when ``catch_up()`` or ``flush()`` has
        returned, and a full disk is an error by then.
        """
        self._look()
        self.size += len(data)
        self._parts.add(data, digest)

    def catch_up(self) -> None:
        """Wait until all parts are in the file and in their digests."""
        self._parts.finish()
        self._look()

    def _write_part(self, data: bytes) -> None:
        # Perhaps in another thread: what is to be done about an error is for the thread that reads.
        if self._file is not None and self._broken is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._broken = error

    def _look(self) -> None:
        if self._broken is not None and self._error is None:
            self._failed(self._broken)

    def take_back(self, offset: int) -> None:
        """Forget everything from an offset on: the document there could not be read to its end."""
        self.flush()
        self.size = offset
        self._readable = min(self._readable, offset)
        if self._file is not None:
            try:
                self._file.seek(offset)
                self._file.truncate()
            except OSError as error:
                self._failed(error)

    def publish(self, place: Path) -> None:
        """Sync the file and give it its name, in place of whatever has that name. SourceError."""
        self.sync()  # before the rename: after a power cut the name must not lead to a part of the file
        assert self._file is not None
        try:
            self._file.close()
        except OSError as error:
            raise not_kept(error, self._folder) from error
        self._name(place)

    def settle(self, place: Path) -> None:
        """Give the file its name while it is written: the workers read what is there from now on."""
        self.flush()
        self.require()
        self._name(place)

    def _name(self, place: Path) -> None:
        try:
            _make_way(place)
            os.replace(self._path, place)
            self._path, self._published = place, True
            _sync_folder(self._folder)
        except OSError as error:
            raise not_kept(error, self._folder) from error

    def sync(self) -> None:
        """Make everything that was added durable. SourceError."""
        self.flush()
        self.require()
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise not_kept(error, self._folder) from error

    def move(self, folder: Path) -> None:
        """Move the file into another folder of the same file system: the job's, once its name is known."""
        place = folder / self._path.name
        if self._file is not None:
            try:
                os.rename(self._path, place)
            except OSError as error:
                self._failed(error)
        self._folder, self._path = folder, place

    def flush(self) -> None:
        """Make everything that was added readable at ``path``."""
        self.catch_up()
        if self._file is not None:
            try:
                self._file.flush()
                self._readable = self.size
            except OSError as error:
                self._failed(error)

    def read(self, start: int, stop: int) -> bytes | None:
        """Bytes that were added. None: the file has failed, or does not have that many."""
        if stop > self._readable:
            self.flush()
        return None if self._file is None else _read(self._file.fileno(), start, stop)

    def is_alike(self, place: Path) -> bool:
        """Whether a file begins with everything that was added; the published file does."""
        if self._published and place == self._path:
            return True
        self.flush()
        with SpoolFile(place) as text:
            starts = range(0, self.size, BLOCK_BYTES)
            spans = ((start, min(start + BLOCK_BYTES, self.size)) for start in starts)
            return text.exists and all(text.read(*span) == self.read(*span) is not None for span in spans)

    def discard(self) -> None:
        """Remove the file, if it was not published."""
        self._parts.stop()
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
        if not self._published:
            with suppress(OSError):
                self._path.unlink()


def _make_way(place: Path) -> None:
    """Rename a folder that stands where a spool is to be: it is none of ours, so it is kept."""
    if place.is_dir() and not place.is_symlink():
        place.rename(place.with_name(f"not-{place.name}-{secrets.token_hex(4)}"))


def _locked_file(path: Path) -> BinaryIO:
    """A new file, renamed once it is locked: between the two calls another process could sweep it away."""
    unnamed = path.with_name(f"new-{path.name}")
    file = os.fdopen(open_file(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL), "wb", BLOCK_BYTES)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
    except BaseException:
        file.close()
        raise
    return file


class SpoolFile:
    """A spool of an earlier run, to read. ``why``: what is wrong with the file; "" also if there is no file."""

    def __init__(self, path: Path) -> None:
        self._fd, self.why = -1, ""
        try:
            self._fd = open_file(path, os.O_RDONLY)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.why = f"{path}: {error.strerror}"

    @property
    def exists(self) -> bool:
        return self._fd >= 0

    def read(self, start: int, stop: int) -> bytes | None:
        """The bytes between two offsets. None: they are not all there, or cannot be read."""
        return _read(self._fd, start, stop)

    def holds(self, offset: int, n_bytes: int, digest: bytes) -> bool:
        """Whether a document is there unchanged."""
        hasher = blake2b(digest_size=16)
        for start in range(offset, offset + n_bytes, BLOCK_BYTES):
            data = self.read(start, min(start + BLOCK_BYTES, offset + n_bytes))
            if data is None:
                return False
            hasher.update(data)
        return hasher.digest() == digest

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> SpoolFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(fd: int, start: int, stop: int) -> bytes | None:
    parts: list[bytes] = []
    while start < stop:
        try:
            data = os.pread(fd, min(BLOCK_BYTES, stop - start), start)
        except (OSError, OverflowError):  # a damaged row of the chunk table may name any offset
            return None
        if not data:
            return None
        parts.append(data)
        start += len(data)
    return b"".join(parts)


def link_spool(spool: Path, place: Path) -> None:
    """Give a spool a second name. SourceError."""
    try:
        _make_way(place)
        os.link(spool, place)
        _sync_folder(place.parent)
    except OSError as error:
        raise not_kept(error, place.parent) from error


def not_kept(error: OSError, folder: Path) -> SourceError:
    """The error of documents, or of a later round's texts, that the folder cannot hold."""
    return SourceError(
        f"the documents cannot be kept in {folder} ({error.strerror}): make room there, or set state_dir=",
        source=str(folder),
    )


def whole_surrogates(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that do not end between two surrogate halves, with adjacent halves joined."""
    held = ""
    for piece in pieces:
        if not isinstance(piece, str):
            raise ConfigError(f"a piece of a document is a str, not {type(piece).__name__}", setting="document")
        text = held + piece
        whole = len(text) - (text[-1:] != "" and "\ud800" <= text[-1] <= "\udbff")
        held = text[whole:]
        if whole:
            yield _joined(text[:whole])
    if held:
        yield held


def _joined(text: str) -> str:
    # Two halves that stand apart (as "\ud83d" + "\ude00") would be encoded, and digested, as two characters.
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


class SpoolReader:
    """Reads the documents of a spool again, one after another, by one descriptor."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(open_file(path, os.O_RDONLY), "rb", BLOCK_BYTES)

    def pieces(self, offset: int, n_bytes: int) -> Iterator[str]:
        """The text of a document in pieces of about a megabyte."""
        self._file.seek(offset)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")  # a piece may end within a character
        left = n_bytes
        while left:
            data = self._file.read(min(BLOCK_BYTES, left))
            left -= len(data)
            yield decoder.decode(data, not left)

    def read(self, start: int, stop: int) -> bytes | None:
        """The bytes between two offsets, without moving ``pieces``. None: they are not all there."""
        return _read(self._file.fileno(), start, stop)

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    # A name is durable once its folder is; fsync of the file alone does not cover it.
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
