"""Owns removing what a job has kept: under its lock, and out of the way at once."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mrengine.errors import JobBusy
from mrengine.log.file.lock import JobLock

__all__ = ["locked", "remove"]

_PURGED = ".purged-"  # no job has such a name


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a job's lock. JobBusy: somebody runs it. LogError: it is gone."""
    lock = JobLock(folder)
    if not lock.try_acquire():
        owner = lock.holder()
        pid = owner.pid if owner is not None else None
        raise JobBusy(f"job {folder.name!r} is run by process {pid}: cancel it first", job_id=folder.name, pid=pid)
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
    for left in folder.parent.glob(_PURGED + "*"):  # those of a removal that was killed, too
        shutil.rmtree(left, ignore_errors=True)
