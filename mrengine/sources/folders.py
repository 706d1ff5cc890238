"""A folder as documents: its files, in order, each named by its path below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mrengine.errors import ConfigError, SourceError
from mrengine.records import Document
from mrengine.sources.encodings import check_encoding
from mrengine.sources.opening import File

__all__ = ["read_folder"]


def read_folder(path: str | os.PathLike[str], *, glob: str = "**/*", encoding: str | None = None) -> Iterator[Document]:
    """The files of a folder as documents of one job, whatever kinds they are of; their ids are paths below it.

    In order of these paths; hidden files and folders, links that lead out of the folder and empty files are left out.
    ``encoding``: of those that are text, where it is known. A file that cannot be read is a failure of that file alone.
    Raises SourceError: there is no such folder, or no file in it that ``glob`` matches.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"read_folder takes a path, not what is of type {type(path).__name__}", setting="path")
    folder, known = Path(path), check_encoding(encoding)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is no folder: there is nothing of that name"
        raise SourceError(f"{folder} {what}", source=str(folder))
    try:
        found = sorted((entry.relative_to(folder).as_posix(), entry) for entry in folder.glob(glob))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise ConfigError(f"glob={glob!r}: {error}", setting="glob") from None
    files = [(name, entry) for name, entry in found if _is_meant(folder, name, entry)]
    if not files:
        raise SourceError(f"{folder} has no file that {glob!r} matches", source=str(folder))
    return (Document(name, File(entry, known)) for name, entry in files)


def _is_meant(folder: Path, name: str, entry: Path) -> bool:
    if any(part.startswith((".", "~$")) for part in name.split("/")):
        return False
    try:
        inside = not entry.is_symlink() or entry.resolve().is_relative_to(folder.resolve())
        return entry.is_file() and inside and entry.stat().st_size > 0
    except OSError:
        return False
