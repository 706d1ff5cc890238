"""Owns the spool: one file that holds a job's documents one after another, as UTF-8 (``surrogatepass``)."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from mrengine.errors import ConfigError, SourceError

__all__ = ["Spool", "SpooledDocument", "read_pieces", "spool_name", "sweep_spools"]

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SpooledDocument:
    """A document in the spool: where it begins, how long it is, and the blake2b (16 bytes) of its bytes."""

    id: str
    digest: bytes
    offset: int
    n_bytes: int
    n_chars: int


def spool_name(digest: bytes) -> str:
    """A spool is named by the digest of its documents: a chunk table can never meet the text of others."""
    return f"spool-{digest.hex()}"


def sweep_spools(folder: Path, *, keep: Path | None = None) -> None:
    """Remove all spools of a job folder but one: of earlier inputs, and what killed hosts left half written."""
    for entry in folder.glob("spool*"):
        if (keep is None or entry.name != keep.name) and not _is_being_written(entry):
            entry.unlink(missing_ok=True)


def _is_being_written(entry: Path) -> bool:
    """Whether a living process has this file in the making; it removes it itself."""
    named = re.fullmatch(r"spool\.(\d+)-[0-9a-f]+\.new", entry.name)
    if named is None:
        return False
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Spool:
    """Writes documents to a file beside the spool, which takes its place at ``publish()``. Files are 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"spool.{os.getpid()}-{secrets.token_hex(4)}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=BLOCK_BYTES)
        os.fchmod(self._file.fileno(), 0o600)
        self._size = 0
        self._published = False

    @property
    def path(self) -> Path:
        """Where the bytes are now."""
        return self._path

    def add(self, document_id: str, pieces: Iterable[str]) -> SpooledDocument:
        """Write one document. Two surrogate halves that meet become the character that they are."""
        digest, start, chars = blake2b(digest_size=16), self._size, 0
        for piece in _whole_surrogates(pieces):
            data = piece.encode("utf-8", "surrogatepass")
            digest.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                raise _full(error, self._folder) from error
            self._size += len(data)
            chars += len(piece)
        return SpooledDocument(document_id, digest.digest(), start, self._size - start, chars)

    def take_back(self, document: SpooledDocument) -> None:
        """Forget the document that was added last: its source ended in an error."""
        self.flush()
        self._file.seek(document.offset)
        self._file.truncate()
        self._size = document.offset

    def publish(self, place: Path) -> None:
        """Sync the file and give it its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._path, place)
        except OSError as error:
            raise _full(error, self._folder) from error
        self._path, self._published = place, True
        _sync_folder(self._folder)

    def flush(self) -> None:
        """Make all that was added readable at ``path``."""
        try:
            self._file.flush()
        except OSError as error:
            raise _full(error, self._folder) from error

    def discard(self) -> None:
        """Remove the file, if it was not published."""
        try:
            self._file.close()
        except OSError:
            pass
        if not self._published:
            self._path.unlink(missing_ok=True)


def _full(error: OSError, folder: Path) -> SourceError:
    return SourceError(
        f"the documents cannot be kept in {folder} ({error.strerror}): make room there, or set state_dir=",
        source=str(folder),
    )


def _whole_surrogates(pieces: Iterable[str]) -> Iterator[str]:
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
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def read_pieces(path: Path, offset: int, n_bytes: int) -> Iterator[str]:
    """The text of a spooled document again, in pieces of about a megabyte."""
    with open(path, "rb") as file:
        file.seek(offset)
        left, rest = n_bytes, b""
        while left:
            data = file.read(min(BLOCK_BYTES, left))
            left -= len(data)
            data = rest + data
            cut = len(data) if not left else _character_edge(data)
            rest = data[cut:]
            yield data[:cut].decode("utf-8", "surrogatepass")


def _character_edge(data: bytes) -> int:
    """The largest offset, at most 3 bytes before the end, at which no character is cut."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if need <= back else len(data) - back
    return len(data)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
