"""The folder of a local cluster: short enough for its sockets, locked while it is used, and removed with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress

from mrengine.private import FolderLock

__all__ = ["TemporaryFolder"]

PREFIX = "mr-ray-"
LONGEST = 26  # of the folder that it is made in: Ray adds 65 bytes, and an AF_UNIX address ends at 107


class TemporaryFolder:
    """Made under TMPDIR. Those of programs that were killed are removed when another one is made. OSError."""

    def __init__(self) -> None:
        usual = tempfile.gettempdir()
        parent = usual if len(os.fsencode(usual)) <= LONGEST else "/tmp"  # noqa: S108  # mkdtemp makes its own in it
        _sweep(parent)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self._lock: FolderLock | None = None
        with suppress(OSError):  # no locks here: then nobody sweeps it either
            self._lock = FolderLock.take(self.path)

    def remove(self) -> None:
        """Remove it; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _sweep(parent: str) -> None:
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                mine = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                lock = FolderLock.take(entry.path) if mine else None
                if lock is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    lock.release()
