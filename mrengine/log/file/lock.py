"""The lock of a job folder: who may write its log, and what others can learn about the holder.

On Linux it is an open-file-description lock (F_OFD_SETLK), elsewhere ``flock``. The holder writes its pid, boot id and
start time into the file for others to read. docs/decisions/proof-of-life.md says why the lock, and no pid, proves life.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal
from weakref import WeakSet

from mrengine import proc
from mrengine.errors import JobBusy, LogError
from mrengine.log.file.disk import OsFiles

__all__ = ["JobLock", "Owner"]

_FACTS_BYTES = 512  # always all of them: shorter facts leave nothing of longer ones behind
_NUMBERS = ("pid", "start_time", "host", "host_start_time")
State = Literal["running", "draining", "unknown"]

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, len, pid
# Not ``lockf``: that drops the lock when any descriptor of the file is closed, by whatever library.
_OFD = hasattr(fcntl, "F_OFD_SETLK") and sys.platform.startswith("linux")
_BUSY = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK})


@dataclass(frozen=True, slots=True)
class Owner:
    """The holder of a job. ``start_time``: clock ticks since boot, from /proc. ``drain_s``: how long it may drain.

    ``host``: the pid that the holder works for, with its ``host_start_time``; 0: it works for itself. ``namespace``:
    the holder's PID namespace; "": the holder has no /proc.
    """

    # A pid may be reused, after a reboot or within one: boot id and start time tell two processes of one pid apart.

    pid: int
    boot_id: str
    start_time: int
    state: State = "running"
    drain_s: float = 0.0
    host: int = 0
    host_start_time: int = 0
    namespace: str = ""

    @property
    def local(self) -> bool:
        """Whether the pid means the same process here: not in another container or boot, nor without /proc."""
        return self.start_time != 0 and (self.boot_id, self.namespace) == (proc.boot_id(), proc.pid_namespace())

    @property
    def draining(self) -> bool:
        """Whether the holder starts nothing new and ends within ``drain_s``."""
        # A holder whose host is dead will drain, though it may not have noticed yet.
        orphan = self.local and self.host != 0 and proc.start_time(self.host) != self.host_start_time
        return self.state == "draining" or orphan

    @property
    def alive(self) -> bool:
        """Whether the holder lives. False: only a child that it forked still has the lock open."""
        return not self.local or proc.start_time(self.pid) == self.start_time

    def __str__(self) -> str:
        """The holder in words: "process 12", or "process 12 of another container"."""
        if self.state == "unknown":
            return "another process"
        return f"process {self.pid}" if self.local or not self.namespace else f"process {self.pid} of another container"


class JobLock:
    """The lock ``<folder>/lock``. Held until ``release``, or the end of the process and its children."""

    def __init__(self, folder: str | os.PathLike[str], *, files: OsFiles | None = None) -> None:
        self._path = os.path.join(os.fspath(folder), "lock")
        self._files = files or OsFiles()
        self._fd = -1
        self._host = 0

    def try_acquire(self, *, host: int = 0) -> bool:
        """Take the lock for ``host``, if nobody has it. LogError(reason="io"): the folder is gone or not writable."""
        self._host = host
        while True:
            fd = self._open(os.O_RDWR | os.O_CREAT)
            if not _lock(fd):
                self._files.close(fd)
                return False
            if _same_file(fd, self._path):  # else a purge removed the file between open and lock: try the new one
                self._fd = fd
                _HELD.add(self)
                self._write_owner("running")
                return True
            self._files.close(fd)

    def mark_draining(self, drain_s: float) -> None:
        """Tell others that waiting is worthwhile: the host is gone, and calls in flight end within ``drain_s``."""
        self._write_owner("draining", drain_s)

    def holder(self) -> Owner | None:
        """The current holder, or None; the file is not changed. pid 0: it is held, but its facts cannot be read.

        LogError: at the lock's path there is no regular file, or it cannot be read.
        """
        try:
            fd = self._open(os.O_RDONLY)
        except LogError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        try:
            return _read_owner(fd) if _is_locked(fd) else None
        finally:
            self._files.close(fd)

    def busy(self, job_id: str, remedy: str) -> JobBusy:
        """The error for a lock that somebody else holds; ``draining`` says whether waiting helps."""
        owner = self.holder()
        message = f"job {job_id} is run by {owner or 'another process'}: {remedy}"
        error = JobBusy(message, job_id=job_id, pid=owner.pid if owner else None)
        # The lock was just released, its holder has just begun or is about to end, or only a forked child of a dead
        # holder has it: none of these lasts, so waiting helps.
        error.draining = owner is None or owner.state == "unknown" or owner.draining or not owner.alive
        error.drain_s = owner.drain_s if owner is not None else 0.0
        return error

    def release(self) -> None:
        """Release the lock, even where forked children still have it open; idempotent."""
        if self._fd >= 0:
            with suppress(OSError):
                # The facts are cleared before the unlock: afterwards these bytes may be the next holder's.
                os.pwrite(self._fd, b" " * _FACTS_BYTES, 0)
                _unlock(self._fd)
            self.forget()

    def forget(self) -> None:
        """Close the descriptor but leave the lock to the process that took it: a forked child calls this first."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1

    def _open(self, flags: int) -> int:
        try:
            return self._files.open(self._path, flags)
        except OSError as error:
            message = f"cannot open {self._path}: {error.strerror}"
            raise LogError(message, reason="io", path=self._path) from error

    def _write_owner(self, state: State, drain_s: float = 0.0) -> None:
        started, host_started = (proc.start_time(pid) or 0 for pid in (os.getpid(), self._host))
        owner = Owner(
            os.getpid(), proc.boot_id(), started, state, drain_s, self._host, host_started, proc.pid_namespace()
        )
        facts = json.dumps(asdict(owner)).encode().ljust(_FACTS_BYTES)
        with suppress(OSError):  # a full disk must not prevent draining; the lock itself needs no space
            os.pwrite(self._fd, facts, 0)


_HELD: WeakSet[JobLock] = WeakSet()


def _forget_all() -> None:
    for lock in _HELD:
        lock.forget()


# Else a forked child of the user's program would keep the job locked after the program has ended.
os.register_at_fork(after_in_child=_forget_all)


def _read_owner(fd: int) -> Owner:
    try:
        facts = json.loads(os.pread(fd, _FACTS_BYTES, 0))
        state: State = "draining" if facts["state"] == "draining" else "running"
        pid, start_time, host, host_start_time = (int(facts[name]) for name in _NUMBERS)
        boot_id, namespace = str(facts["boot_id"]), str(facts["namespace"])
        return Owner(pid, boot_id, start_time, state, float(facts["drain_s"]), host, host_start_time, namespace)
    except (OSError, ValueError, KeyError, TypeError):
        return Owner(0, "", 0, "unknown")


def _same_file(fd: int, path: str) -> bool:
    try:
        ours, named = os.fstat(fd), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


def _lock(fd: int) -> bool:
    try:
        if _OFD:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise LogError(f"this file system cannot lock: {error.strerror}", reason="io") from error
    return True


def _is_locked(fd: int) -> bool:
    if _OFD:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
    if _lock(fd):  # flock has no question; for that moment another process's try_acquire fails
        _unlock(fd)
        return False
    return True


def _unlock(fd: int) -> None:
    if _OFD:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)
