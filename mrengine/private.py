"""Keeps state private: folders that nobody else may write to, regular files only, a lock on a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from mrengine.errors import ConfigError

__all__ = ["FolderLock", "check_private", "check_writable", "make_private", "open_file"]

_TRIES = 20  # to make a folder, as another process may purge the job meanwhile and remove its parent
_ELSEWHERE = "or set MRENGINE_STATE_DIR or state_dir= to a folder of your own"
# What is named to the user, who has to remove it.
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file, close-on-exec; a new one is 0600, whatever the umask.

    OSError for anything else of that name, and it says what: opening a FIFO would wait for its other end, opening a
    device may have effects, a link leads elsewhere.
    """
    with suppress(FileNotFoundError):
        _check_regular(os.lstat(path), path)
    # O_NOFOLLOW and the second check: it may be replaced between the two calls. O_NONBLOCK: no wait for a FIFO.
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    try:
        _check_regular(os.fstat(fd), path)
        if flags & os.O_CREAT:
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {name}, and not a file: remove it", os.fspath(path))


def make_private(folder: Path, *, top: bool = False) -> None:
    """Create a folder, 0700 whatever the umask, and its parents. ConfigError: it cannot be made, or is not private."""
    try:
        for left in reversed(range(_TRIES)):
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o700)
                    os.chmod(folder, 0o700)
                return _check_private(folder, top=top)
            except FileNotFoundError:
                if not left:
                    raise
    except OSError as error:
        raise _unusable(folder, error) from error


def check_private(folder: Path, *, top: bool = False) -> None:
    """ConfigError if a folder is a link or no folder, belongs to somebody else, or is writable by others.

    Whoever can put a log there decides where the documents and keys of a resumed job are sent. A missing folder passes.
    ``top``: the user's own choice, which may be a link, or sticky like /tmp, where others cannot remove a folder.
    """
    try:
        with suppress(FileNotFoundError):
            _check_private(folder, top=top)
    except OSError as error:
        raise _unusable(folder, error) from error


def _check_private(folder: Path, *, top: bool) -> None:
    status = os.stat(folder) if top else os.lstat(folder)
    mode, me = status.st_mode, os.geteuid()  # root's folders are fine: root can do everything anyway
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{folder} is not a folder of its own (a link or a file): remove it", setting="state_dir")
    quoted = shlex.quote(os.fspath(folder))
    if status.st_uid not in (me, 0):
        _refuse(f"{folder} belongs to user {status.st_uid}, and not to you", f"chown -R {me} {quoted}")
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not (top and mode & stat.S_ISVTX):
        _refuse(f"others may write to {folder} (mode {stat.S_IMODE(mode):04o})", f"chmod go-w {quoted}")


def _refuse(what: str, command: str) -> None:
    why = "whoever can write there can have your documents and keys sent elsewhere"
    raise ConfigError(f"{what}: {why}. If you trust what is in it, run: {command}; {_ELSEWHERE}", setting="state_dir")


def check_writable(folder: Path) -> None:
    """ConfigError if a folder is not writable."""
    try:
        if not os.access(folder, os.W_OK | os.X_OK):  # it does not say why
            os.lstat(folder)
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the state folder {folder} cannot be made or written ({error.strerror}): make it so, {_ELSEWHERE}",
        setting="state_dir",
    )


class FolderLock:
    """A ``flock`` on a folder: the kernel's proof that a process uses it, in whatever container or PID namespace.

    It ends with the process and all forked children that share the descriptor, which is closed on exec.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._pid = fd, os.getpid()

    @classmethod
    def take(cls, folder: str | os.PathLike[str], *, shared: bool = False) -> FolderLock | None:
        """Take the lock. None: another process has it, or the folder has vanished. OSError: no folder, or no locks."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        lock = cls(fd)
        try:
            # The folder may have been removed, and made anew by another process, before it was locked.
            if lock._flock(fcntl.LOCK_SH if shared else fcntl.LOCK_EX) and _is_named(fd, folder):
                return lock
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def alone(self) -> bool:
        """Make the lock exclusive. False: another process shares it, or that is unknown; the lock may be lost then."""
        try:
            return self._flock(fcntl.LOCK_EX)
        except OSError:
            return False  # NFS needs a writable descriptor for an exclusive lock, and a folder has none

    def _flock(self, how: int) -> bool:
        try:
            fcntl.flock(self._fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Release the lock; idempotent."""
        if self._fd >= 0:
            if os.getpid() == self._pid:  # ends it for forked children, too; one of them only closes its descriptor
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def _is_named(fd: int, path: str | os.PathLike[str]) -> bool:
    try:
        ours, named = os.fstat(fd), os.lstat(path)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
