"""Owns the supervisor's private folder for sockets, and the sweeping of those that nobody was left to remove."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from mrengine import posix
from mrengine.log.file.lock import process_start_time

__all__ = ["private_folder"]

_NAME = re.compile(r"mre-(\d+)-(\d+)-.+")


def private_folder() -> str:
    """A new folder, 0700, under a short path: an AF_UNIX address ends at 108 bytes, and TMPDIR may be long.

    Its name tells whose it is. Where all processes of a job were killed at once, the next supervisor removes what is
    left.
    """
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= 60 else "/tmp"  # noqa: S108  # mkdtemp makes a folder of its own in it
    _sweep(Path(parent))
    pid = os.getpid()
    return tempfile.mkdtemp(prefix=f"mre-{pid}-{process_start_time(pid) or 0}-", dir=parent)


def _sweep(parent: Path) -> None:
    try:
        found = [entry for entry in os.scandir(parent) if _is_left_over(entry)]
    except OSError:
        return
    for entry in found:
        shutil.rmtree(entry.path, ignore_errors=True)


def _is_left_over(entry: os.DirEntry[str]) -> bool:
    """A folder of ours whose supervisor is dead: no living process has its pid and its start time."""
    named = _NAME.fullmatch(entry.name)
    if named is None or not entry.is_dir(follow_symlinks=False):
        return False
    if entry.stat(follow_symlinks=False).st_uid != os.getuid():
        return False
    pid, began = int(named[1]), int(named[2])
    return process_start_time(pid) != began or posix.process_state(pid) in ("Z", "X")
