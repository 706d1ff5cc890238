"""A job's folder as a whole: claimed when a run begins, and removed atomically under its lock."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mrengine.errors import JobBusy
from mrengine.log.file.lock import JobLock
from mrengine.private import FolderLock, make_private

__all__ = ["claimed", "locked", "remove"]

_PURGED = ".purged-"  # no job id begins with a dot
_CLAIMS, _CLAIM_S = 100, 0.01


def claimed(folder: Path) -> FolderLock | None:
    """Make a job's folder and share a lock on it: a run that is refused removes no folder that another one has claimed.

    None: there are no locks on this file system. ConfigError: see ``make_private``.
    """
    for _ in range(_CLAIMS):
        make_private(folder.parent)
        make_private(folder)
        try:
            claim = FolderLock.take(folder, shared=True)
        except FileNotFoundError:
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
        owner = lock.holder()
        pid = owner.pid if owner is not None else None
        who = owner if owner is not None else "another process"
        raise JobBusy(f"job {folder.name!r} is run by {who}: cancel it first", job_id=folder.name, pid=pid)
    try:
        yield
    finally:
        lock.release()


def remove(folder: Path, *, unless: Callable[[Path], bool] | None = None) -> None:
    """Remove a job folder, whole: a run that begins meanwhile makes one of its own. JobBusy, LogError.

    ``unless``: asked under the lock, whether it stays.
    """
    with locked(folder):
        if unless is not None and unless(folder):
            return
        os.rename(folder, folder.with_name(_PURGED + secrets.token_hex(8)))
    for left in folder.parent.glob(_PURGED + "*"):  # including those left by a removal that was killed
        shutil.rmtree(left, ignore_errors=True)
