"""Finds a place for the supervisor's socket: the job's folder, or a private, locked one under TMPDIR."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from mrengine.private import FolderLock

__all__ = ["SocketPlace"]

LONGEST = 100  # bytes of an AF_UNIX address; the system's limit is 108, on macOS 104
_NAME, _PREFIX = "socket", "mre-"
_TRIES = 20


class SocketPlace:
    """The place for the sockets of a supervisor's job: ``address`` is the budget manager's.

    That is the job's folder or, where its path is too long for a socket or its file system has none, a private folder
    under TMPDIR.
    """

    # The job's folder is private, nobody cleans it up as they do /tmp, and the next holder of the job's lock removes
    # what a killed supervisor has left there. A flock on the private folder shows that it is in use: to supervisors in
    # any container, for whom a pid means nothing, and to systemd-tmpfiles (docs/decisions/proof-of-life.md).
    def __init__(self) -> None:
        self.address = ""
        self.private = ""  # the folder under TMPDIR, for whoever ends last to remove
        self._lock: FolderLock | None = None

    def choose(self, job_folder: str) -> None:
        """Find the place for a job, whose lock is held. OSError: there is none; the message says what is needed."""
        address = os.path.join(job_folder, _NAME)
        if _can_bind(address):
            self.address = address
            return
        if not self.private:
            self._make_private(job_folder)
        self.address = os.path.join(self.private, _NAME)

    def restore(self) -> None:
        """Make the private folder again, under its name, where it was removed. OSError: it cannot be made."""
        if not self.private or os.path.isdir(self.private):
            return
        os.mkdir(self.private, 0o700)
        self._hold()

    def vacate(self) -> None:
        """Remove the socket. Call it before the job's lock is given up."""
        # Afterwards it may be another supervisor's.
        if self.address:
            with suppress(OSError):
                os.unlink(self.address)

    def close(self) -> None:
        """Remove the private folder, then free its lock."""
        if self.private:
            shutil.rmtree(self.private, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _make_private(self, job_folder: str) -> None:
        try:
            usual = tempfile.gettempdir()
            parent = usual if len(os.fsencode(usual)) <= 60 else "/tmp"  # noqa: S108  # mkdtemp makes its own in it
            _sweep(Path(parent))
            for _ in range(_TRIES):
                self.private = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
                if self._hold():
                    return
        except OSError as error:
            self.private = ""
            needed = f"no place for a socket: {_needed(job_folder)}, and TMPDIR names no folder that can be written"
            raise OSError(error.errno, f"{needed} ({error.strerror})") from error
        raise OSError(f"no place for a socket: another process removes what is made in {parent}")

    def _hold(self) -> bool:
        """Lock the private folder; False: it was swept away before."""
        if self._lock is not None:
            self._lock.release()
        try:
            self._lock = FolderLock.take(self.private)
        except OSError:  # a file system without locks: nobody else can lock the folder to sweep it
            return os.path.isdir(self.private)
        return self._lock is not None


def _needed(job_folder: str) -> str:
    size = len(os.fsencode(job_folder))
    if size + 1 + len(_NAME) > LONGEST:
        return f"the path of the job's folder has {size} bytes, above {LONGEST - 1 - len(_NAME)} (a shorter state_dir=)"
    return "the job's folder takes none"


def _can_bind(address: str) -> bool:
    """Whether a socket can be bound here; removes one that was left behind."""
    if len(os.fsencode(address)) > LONGEST:
        return False
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(address).st_mode):
                return False
            os.unlink(address)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(address)
        os.unlink(address)
    except OSError:
        return False
    return True


def _sweep(parent: Path) -> None:
    """Remove the folders of supervisors that were killed together with their hosts: nobody holds their locks."""
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                _remove_unused(entry)


def _remove_unused(entry: os.DirEntry[str]) -> None:
    with suppress(OSError):
        if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            return
        lock = FolderLock.take(entry.path)
        if lock is not None:
            shutil.rmtree(entry.path, ignore_errors=True)
            lock.release()
