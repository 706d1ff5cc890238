"""Owns limits that several processes draw on: a small state file for each, under a kernel file lock.

The lock is the kernel's: it is released when its holder dies, whatever the signal. The file holds the levels and the
waiting line, so that all processes stand in one line; what each of them was granted it remembers by itself.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from mrengine.budget.limiter import Limiter
from mrengine.budget.manager import Access
from mrengine.private import open_file
from mrengine.records import RateLimit

__all__ = ["SharedLimit", "Shares", "is_alive", "process_name"]

FORMAT = 2
HEAD = struct.Struct("<II")  # length and crc32 of the state that follows
LOOK_FOR_DEAD_S = 1.0
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, len, pid
_OFD = hasattr(fcntl, "F_OFD_SETLK") and sys.platform.startswith("linux")
UNUSED_S = 86_400.0


def process_name(pid: int | str = "self") -> str:
    """A name that no other process of this boot has: the pid and when it started. "" where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else f"{os.getpid() if pid == 'self' else pid}"
    number, _, rest = stat.partition(" (")
    state, *fields = rest.rpartition(")")[2].split()
    return "" if state in "ZX" else f"{number}:{fields[18]}"


def is_alive(name: str) -> bool:
    """Whether the process of this name still runs."""
    return process_name(name.partition(":")[0]) == name


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class SharedLimit:
    """Access to one limit in ``path``: ``with`` locks the file, reads the state, and writes it back.

    A file that is damaged, of another boot or another format is begun anew, at the level that the limiter has.
    """

    def __init__(self, path: Path, limiter: Limiter, *, alive: Callable[[str], bool] = is_alive) -> None:
        self._path = path
        self._alive = alive
        self._limiter = limiter
        self._boot = _boot()
        self._descriptor: int | None = None
        self._looked = 0.0

    def __enter__(self) -> Limiter:
        descriptor = self._locked()
        try:
            state = _read(descriptor)
            if state is not None and state[0] == FORMAT and state[1] == self._boot:
                self._limiter.load(state[2])
            self._forget_dead()
        except BaseException:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            raise
        return self._limiter

    def __exit__(self, *_: object) -> None:
        assert self._descriptor is not None
        try:
            _write(self._descriptor, [FORMAT, self._boot, self._limiter.dump()])
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _locked(self) -> int:
        """The locked file; opened again where somebody has removed the one that was open."""
        while True:
            if self._descriptor is None:
                self._descriptor = open_file(self._path, os.O_RDWR | os.O_CREAT)
                _hold(self._descriptor, process_name())
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                    return self._descriptor
            self.close()

    def _forget_dead(self) -> None:
        """Free the slots and the places in the line of processes that were killed."""
        now = time.monotonic()
        if now - self._looked < LOOK_FOR_DEAD_S:
            return
        self._looked = now
        assert self._descriptor is not None
        for name in self._limiter.processes():
            if not self._alive(name) and not _is_held(self._descriptor, name):
                self._limiter.forget(name)

    def close(self) -> None:
        """Close the file; the state stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _hold(descriptor: int, name: str) -> None:
    """Say that a process of this name lives, to those who cannot see its pid: the kernel takes the lock back."""
    if _OFD:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _byte_of(name, fcntl.F_RDLCK))


def _is_held(descriptor: int, name: str) -> bool:
    """Whether a process of this name lives, in whatever container."""
    if not _OFD:
        return False
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _byte_of(name, fcntl.F_WRLCK))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _byte_of(name: str, kind: int) -> bytes:
    """A byte far behind the state, one for each name: it is locked, and never written."""
    digest = blake2b(name.encode(), digest_size=5).digest()
    return _FLOCK.pack(kind, os.SEEK_SET, 1 << 48 | int.from_bytes(digest, "little"), 1, 0)


def _read(descriptor: int) -> list[Any] | None:
    raw = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if len(raw) < HEAD.size:
        return None
    length, check = HEAD.unpack_from(raw)
    body = raw[HEAD.size : HEAD.size + length]
    if len(body) != length or crc32(body) != check:
        return None
    state = msgpack.unpackb(body, strict_map_key=False)
    return state if isinstance(state, list) and len(state) == 3 else None


def _write(descriptor: int, state: list[object]) -> None:
    body = msgpack.packb(state)
    os.pwrite(descriptor, HEAD.pack(len(body), crc32(body)) + body, 0)


def _sweep(folder: Path) -> None:
    """Remove limits that nobody has drawn on for a day: full buckets, and hosts that are long gone."""
    for path in folder.iterdir():
        with suppress(OSError):  # another process sweeps, too
            if time.time() - path.stat().st_mtime > UNUSED_S:
                path.unlink()


class Shares:
    """The shared limits of one folder. ``host``: a name under which unnamed limits are shared; None: they are not.

    ``places``: where each model is served: the same name at another endpoint has another limit.
    """

    def __init__(self, folder: str | Path, host: str | None = None, *, places: Mapping[str, str] | None = None) -> None:
        self._folder = Path(folder)
        self._host = host
        self._places = places or {}
        self._swept = False

    def __call__(self, model: str, limit: RateLimit, limiter: Limiter) -> Access | None:
        """Access to the limit, in a file of its own."""
        name = f"team {limit.shared}" if limit.shared is not None else f"host {self._host}"
        if limit.shared is None and self._host is None:
            return None
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._swept:
            self._swept = True
            _sweep(self._folder)
        what = f"{name}\0{model}\0{self._places.get(model, '')}"
        digest = blake2b(what.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        return SharedLimit(self._folder / digest, limiter)
