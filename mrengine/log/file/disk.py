"""All system calls of the log in one class, which tests replace by a disk that fails or forgets."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from mrengine.private import open_file

__all__ = ["OsFiles"]


class OsFiles:
    """The real file system. Every method but ``close`` may raise OSError; none retries."""

    # No retry, least of all of a sync: after one that failed, the next may return 0 though the data is not on the disk.

    def open(self, path: str, flags: int) -> int:
        """Open a regular file, see :func:`mrengine.private.open_file`."""
        return open_file(path, flags)

    def size(self, fd: int) -> int:
        """The size of the file in bytes."""
        return os.fstat(fd).st_size

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        """Read ``count`` bytes from ``offset``; fewer only at the end of the file."""
        data = os.pread(fd, count, offset)
        # A read may be cut short in the middle of the file, too.
        while data and len(data) < count and (more := os.pread(fd, count - len(data), offset + len(data))):
            data += more
        return data

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write; return the number of bytes written, possibly fewer than given."""
        return os.pwrite(fd, data, offset)

    def write_all(self, fd: int, data: bytes | bytearray, offset: int) -> None:
        """Write all of ``data``."""
        with memoryview(data) as view:
            done = 0
            while done < len(view):  # a nearly full disk, or a signal, cuts writes short
                count = self.pwrite(fd, view[done:], offset + done)
                if count <= 0:
                    raise OSError(errno.EIO, "a write wrote nothing")
                done += count

    def sync(self, fd: int) -> None:
        """Make data and size durable."""
        # fsync of macOS leaves the data in the drive's cache. fdatasync leaves out times, which the log does not need.
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Truncate the file."""
        os.ftruncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        """Rename, atomically, within one folder."""
        os.rename(old, new)

    def sync_folder(self, path: str) -> None:
        """Make the entries of a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether the name exists, if only as a dangling symlink."""
        return os.path.lexists(path)

    def close(self, fd: int) -> None:
        """Close the descriptor; errors are ignored, as whatever matters was synced before."""
        with contextlib.suppress(OSError):
            os.close(fd)
