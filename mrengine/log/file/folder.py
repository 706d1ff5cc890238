"""A job's folder as a whole: claimed when a run begins, and removed atomically under its lock."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mrengine.log.file.lock import JobLock
from mrengine.private import FolderLock, make_private

__all__ = ["claimed", "locked", "remove"]

_PURGED = ".purged-"  # no job id begins with a dot
_CLAIMS, _CLAIM_S = 100, 0.01


def claimed(folder: Path) -> FolderLock | None:
    """Create a job's folder and take a shared lock on it. None: this file system has no locks.

    ConfigError: the folder cannot be made, or is not private.
    """
    # A run that is refused removes the folder that it made, unless another run has claimed it meanwhile.
    for _ in range(_CLAIMS):
        make_private(folder.parent)
        make_private(folder)
        try:
            claim = FolderLock.take(folder, shared=True)
        except FileNotFoundError:  # removed since: make it again
            continue
        except OSError:
            return None
        if claim is not None:
            return claim
        time.sleep(_CLAIM_S)  # another process is just removing it
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a job's lock. JobBusy: the job is running. LogError: the folder is gone."""
    lock = JobLock(folder)
    if not lock.try_acquire():
        raise lock.busy(folder.name, "cancel it first")
    try:
        yield
    finally:
        lock.release()


def remove(folder: Path, *, unless: Callable[[Path], bool] | None = None) -> None:
    """Remove a whole job folder, unless ``unless(folder)``, called under the lock, is true.

    JobBusy: the job is running. LogError: the folder is gone.
    """
    with locked(folder):
        if unless is not None and unless(folder):
            return
        # Renamed first: a new run may begin at the same path, and removing file by file could take that run's files.
        os.rename(folder, folder.with_name(_PURGED + secrets.token_hex(8)))
    # Among these are folders that a killed removal has left.
    for left in folder.parent.glob(_PURGED + "*"):
        shutil.rmtree(left, ignore_errors=True)
