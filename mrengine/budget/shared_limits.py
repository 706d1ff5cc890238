"""Limits that several processes draw on: a small state file for each, under a kernel file lock.

The file holds the levels and the wait queue, so that all processes share one queue; each process remembers its own
grants. The kernel releases the lock when its holder dies, whatever the signal.
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

from mrengine import proc
from mrengine.budget.limiter import Limiter
from mrengine.budget.manager import Access
from mrengine.budget.redis_limits import RedisLimit, is_redis
from mrengine.private import open_file
from mrengine.records import RateLimit

__all__ = ["SharedLimit", "Shares", "global_name", "is_alive", "process_name"]

FORMAT = 2
HEAD = struct.Struct("<II")  # length and crc32 of the state that follows
LOOK_FOR_DEAD_S = 1.0
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, len, pid
_OFD = hasattr(fcntl, "F_OFD_SETLK") and sys.platform.startswith("linux")
UNUSED_S = 86_400.0


def process_name(pid: int | None = None) -> str:
    """A name unique to a process within this boot: its pid and start time. "" if there is no such process.

    Without /proc (macOS) the pid alone has to do, whether or not the process lives.
    """
    number = proc.proc_pid() if pid is None else pid
    started = proc.start_time(number)
    if started is None:
        return "" if proc.has_proc() else f"{number}"
    return f"{number}:{started}"


def global_name() -> str:
    """A name unique to this process among all machines: limits on a server want one."""
    return f"{process_name()}@{proc.boot_id()}{proc.pid_namespace()}"


def is_alive(name: str) -> bool:
    """Whether the process of this name still runs."""
    name = name.partition("@")[0]
    pid = name.partition(":")[0]
    return pid.isdigit() and process_name(int(pid)) == name


class SharedLimit:
    """Access to one limit in ``path``: ``with`` locks the file, reads the state, and writes it back.

    A file that is damaged, or of another boot or format, is replaced by the limiter's own state.
    """

    def __init__(self, path: Path, limiter: Limiter, *, alive: Callable[[str], bool] = is_alive) -> None:
        self._path = path
        self._alive = alive
        self._limiter = limiter
        self._boot = proc.boot_id()
        self._descriptor: int | None = None
        self._looked = 0.0

    def __enter__(self) -> Limiter:
        descriptor = self._locked()
        try:
            state = _read(descriptor)
            # Its times are monotonic: those of another boot mean nothing in this one.
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
        """Open and lock the file."""
        while True:  # until the locked file is the one at the path: in between, ``_sweep`` may have removed it
            if self._descriptor is None:
                self._descriptor = open_file(self._path, os.O_RDWR | os.O_CREAT)
                _hold(self._descriptor, process_name())
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                    return self._descriptor
            self.close()

    def _forget_dead(self) -> None:
        """Free the slots and queue places of processes that were killed."""
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
    """Prove to processes in other PID namespaces that this one lives: the kernel drops the lock when it dies."""
    if _OFD:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _byte_of(name, fcntl.F_RDLCK))


def _is_held(descriptor: int, name: str) -> bool:
    """Whether a process of this name lives, in any container."""
    if not _OFD:
        return False
    holder = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _byte_of(name, fcntl.F_WRLCK))
    return bool(_FLOCK.unpack(holder)[0] != fcntl.F_UNLCK)


def _byte_of(name: str, kind: int) -> bytes:
    """A lock on one byte far beyond the end of the file, chosen by the name and never written."""
    digest = blake2b(name.partition("@")[0].encode(), digest_size=5).digest()
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
    """Remove limits unused for a day: their buckets are full, or their hosts long gone."""
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be sweeping, too
            if time.time() - path.stat().st_mtime > UNUSED_S:
                path.unlink()


class Shares:
    """The shared limits of one folder. ``host``: the name under which unnamed limits are shared; None: they are not.

    ``places``: the endpoint of each model; the same model name at another endpoint has a limit of its own.
    """

    def __init__(self, folder: str | Path, host: str | None = None, *, places: Mapping[str, str] | None = None) -> None:
        self._folder = Path(folder)
        self._host = host
        self._places = places or {}
        self._swept = False

    def __call__(self, model: str, limit: RateLimit, limiter: Limiter) -> Access | None:
        """Access to a limit, in a file of its own or on a server; None if it is not shared."""
        name = f"team {limit.shared}" if limit.shared is not None else f"host {self._host}"
        if limit.shared is None and self._host is None:
            return None
        what = f"{name}\0{model}\0{self._places.get(model, '')}"
        digest = blake2b(what.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        if limit.shared is not None and is_redis(limit.shared):
            return RedisLimit(limit.shared, digest, limiter, process=global_name())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._swept:
            self._swept = True
            _sweep(self._folder)
        return SharedLimit(self._folder / digest, limiter)
