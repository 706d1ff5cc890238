"""A disk in memory for the log's tests: it fails when it is told to, and forgets like a real one when the power is cut.

``before`` is called ahead of every operation that changes something.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from mrengine.log.file.disk import OsFiles

SECTOR = 512


@dataclass
class Inode:
    """A file: what reads see, what the platter has, and which sectors were written since the last sync."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    touched: set[int] = field(default_factory=set)

    def write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        if len(self.data) < end:
            self.data.extend(bytes(end - len(self.data)))
        self.data[offset:end] = data
        self.touched.update(range(offset // SECTOR, -(-end // SECTOR)))

    def cut(self, size: int) -> None:
        self.touched.update(range(size // SECTOR, -(-max(size, len(self.data)) // SECTOR)))
        del self.data[size:]

    def sync(self) -> None:
        self.durable, self.touched = bytes(self.data), set()


class MemoryDisk(OsFiles):
    """Files by path. ``fail_at``: the operation (counted from 1) that raises ``error``; later ones work, and lie."""

    def __init__(self, *, fail_at: int = 0, error: int = errno.EIO, short_writes: bool = False) -> None:
        self.names: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.open_files: dict[int, Inode] = {}
        self.operations = 0
        self.fail_at = fail_at
        self.error = error
        self.short_writes = short_writes
        self.log: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def _operation(self, name: str) -> None:
        self.before()
        self.operations += 1
        self.log.append(name)
        if self.operations == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_CREAT | os.O_RDWR):
            self._operation("open")
        if path not in self.names:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self.names[path] = Inode()
        inode = self.names[path]
        if flags & os.O_TRUNC:
            inode.cut(0)
        fd = 1000 + len(self.open_files)
        self.open_files[fd] = inode
        return fd

    def size(self, fd: int) -> int:
        return len(self.open_files[fd].data)

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        return bytes(self.open_files[fd].data[offset : offset + count])

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        self.before()
        self.operations += 1
        self.log.append("pwrite")
        inode, data = self.open_files[fd], bytes(data)
        if self.operations == self.fail_at:
            inode.write(data[: len(data) // 2], offset)
            raise OSError(self.error, os.strerror(self.error))
        if self.short_writes and len(data) > 1:
            data = data[: len(data) // 2 + 1]
        inode.write(data, offset)
        return len(data)

    def sync(self, fd: int) -> None:
        """A failing sync leaves the pages clean and not on disk: the next one lies."""
        inode = self.open_files[fd]
        try:
            self._operation("sync")
        except OSError:
            inode.touched = set()
            raise
        if inode.touched or len(inode.durable) != len(inode.data):
            kept = bytearray(inode.durable[: len(inode.data)].ljust(len(inode.data), b"\0"))
            for sector in inode.touched:
                kept[sector * SECTOR : (sector + 1) * SECTOR] = inode.data[sector * SECTOR : (sector + 1) * SECTOR]
            inode.durable, inode.touched = bytes(kept[: len(inode.data)]), set()

    def truncate(self, fd: int, size: int) -> None:
        self._operation("truncate")
        self.open_files[fd].cut(size)

    def rename(self, old: str, new: str) -> None:
        self._operation("rename")
        self.names[new] = self.names.pop(old)

    def sync_folder(self, path: str) -> None:
        self._operation("sync_folder")
        self.durable_names = dict(self.names)

    def exists(self, path: str) -> bool:
        return path in self.names

    def close(self, fd: int) -> None:
        """Nothing to give back."""

    def copy(self) -> MemoryDisk:
        """The same disk, from here on by itself; no file is open on it."""
        twin = MemoryDisk()
        inodes = (*self.names.values(), *self.durable_names.values())
        clones = {id(i): Inode(bytearray(i.data), i.durable, set(i.touched)) for i in inodes}
        twin.names = {name: clones[id(inode)] for name, inode in self.names.items()}
        twin.durable_names = {name: clones[id(inode)] for name, inode in self.durable_names.items()}
        return twin

    def power_cut(self, rng: random.Random) -> MemoryDisk:
        """What the disk may hold when the machine is up again: each unsynced sector kept, old, zeroed or garbled."""
        after = MemoryDisk()
        names = self.names if rng.random() < 0.5 else self.durable_names
        after.names = {name: _survivor(inode, rng) for name, inode in names.items()}
        after.durable_names = dict(after.names)
        return after


def _survivor(inode: Inode, rng: random.Random) -> Inode:
    sizes = [len(inode.durable), len(inode.data)]
    size = rng.choice([*sizes, rng.randint(min(sizes), max(sizes))])
    kept = bytearray(inode.durable[:size].ljust(size, b"\0"))
    style = rng.choice(["mixed", "kept", "zeroed", "garbled", "old"])
    for sector in sorted(inode.touched):
        begin, end = sector * SECTOR, min((sector + 1) * SECTOR, size)
        if begin >= end:
            continue
        fate = rng.choice(["kept", "old", "zeroed", "garbled"]) if style == "mixed" else style
        if fate == "kept":
            kept[begin:end] = bytes(inode.data[begin:end]).ljust(end - begin, b"\0")
        elif fate == "zeroed":
            kept[begin:end] = bytes(end - begin)
        elif fate == "garbled":
            kept[begin:end] = rng.randbytes(end - begin)
    return Inode(bytearray(kept), bytes(kept))
