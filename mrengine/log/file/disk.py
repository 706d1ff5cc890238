"""Owns every system call of the log, so that tests can put a failing or forgetful disk in its place."""

from __future__ import annotations

import contextlib
import os
import sys

from mrengine.private import open_file

__all__ = ["OsFiles"]


class OsFiles:
    """The operating system's files. Every method may raise OSError; none retries."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of a regular file, see :func:`mrengine.private.open_file`."""
        return open_file(path, flags, mode)

    def size(self, fd: int) -> int:
        """Bytes in the file."""
        return os.fstat(fd).st_size

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; fewer at the end of the file only."""
        data = os.pread(fd, count, offset)
        if len(data) == count or not data:
            return data
        parts = [data]
        while data and (missing := count - sum(map(len, parts))) > 0:
            data = os.pread(fd, missing, offset + count - missing)
            parts.append(data)
        return b"".join(parts)

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Bytes written, possibly fewer than asked for."""
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Data and the size on disk (F_FULLFSYNC on macOS, whose fsync leaves data in the drive's cache)."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file."""
        os.ftruncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        """Atomic, within one folder."""
        os.rename(old, new)

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether something has this name, a dangling symlink included."""
        return os.path.lexists(path)

    def close(self, fd: int) -> None:
        """Close; an error here is of no use to anyone: what matters was synced before."""
        with contextlib.suppress(OSError):
            os.close(fd)
