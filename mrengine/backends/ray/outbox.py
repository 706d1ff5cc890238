"""What a worker says and runs, in files of its node that outlive its process: no message is lost with it.

``out`` takes the frames of :mod:`mrengine.backends.process.framing`, one after another; ``board`` is its scoreboard;
``base`` the offset at which ``out`` begins, because it is cut off when all of it has been fetched; ``process`` names
the worker's process. Whoever takes the place of a dead worker on the same node finds them, delivers what was said, and
tells what ran.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from mrengine import proc
from mrengine.backends.process.framing import TaggedReader
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import Outbox, Parcel
from mrengine.budget.shared_limits import global_name, process_name
from mrengine.engine.protocol import Message, Started
from mrengine.private import open_file

__all__ = ["PREFIX", "Files", "Unpacker", "is_stopped", "sweep"]

PREFIX = "mrengine-worker-"
LINGER_S = 0.01  # what is said within that time goes in one piece
MOST_BYTES = 4 << 20  # of messages in one answer, unless one alone is larger
CUT_BYTES = 32 << 20
LEFT_S = 300.0  # what nobody has used for so long was left by a cluster that was killed
_SIZE = struct.Struct("<I")


class _SharedScoreboard(Scoreboard):
    """Wakes the actor at each start: if the node is lost, the host knows what ran."""

    def __init__(self, slots: int, fd: int, changed: threading.Event) -> None:
        super().__init__(slots, fd)
        self._changed = changed

    def start(self, slot: int, chunk: int, model: int) -> None:
        super().start(slot, chunk, model)
        self._changed.set()


class _Outbox(Outbox):
    def __init__(self, fd: int, board: Scoreboard, changed: threading.Event) -> None:
        super().__init__(fd, board)
        self._changed = changed

    def send(self, parcel: Parcel) -> None:
        super().send(parcel)
        self._changed.set()

    def cut(self, size: int) -> bool:
        """Empty the file, if it has not grown beyond ``size``."""
        with self._lock:
            whole = os.fstat(self._fd).st_size == size
            if whole:
                os.ftruncate(self._fd, 0)
            return whole


class Files:
    """The files of one worker. ``left``: what a predecessor on this node ran when it died; None: there was none."""

    def __init__(self, folder: Path, slots: int) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder, self._changed = folder, threading.Event()
        self._fd = open_file(folder / "out", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        board, is_new = _mapped(folder / "board", Scoreboard.bytes_of(slots))
        base, _ = _mapped(folder / "base", 8)
        self._base = memoryview(mmap.mmap(base, 8)).cast("q")
        os.close(base)
        self.scoreboard = _SharedScoreboard(slots, board, self._changed)
        os.close(board)
        self.left: list[Started] | None = None if is_new else self.scoreboard.started()
        self.cause, self.calls = self.scoreboard.cause, self.scoreboard.calls
        self.scoreboard.forget()
        self.outbox = _Outbox(self._fd, self.scoreboard, self._changed)
        (folder / "process").write_text(global_name())
        self.halted = ""

    def look(self) -> None:
        """See whether the next worker on this node is stopped by a signal: ``halted`` names its process, or is empty.
        Each looks at one, so that all are seen.
        """
        name, _, index = self.folder.name.rpartition("-")
        others = [int(folder.name.rpartition("-")[2]) for folder in self.folder.parent.glob(f"{name}-*")]
        following = min(others, key=lambda other: (other <= int(index), other), default=int(index))
        halted = ""
        if following != int(index):
            with suppress(OSError):
                process = (self.folder.with_name(f"{name}-{following}") / "process").read_text()
                halted = process if is_stopped(process) else ""
        if halted != self.halted:
            self.halted = halted
            self._changed.set()

    def take(self, after: int, wait_s: float) -> tuple[bytes, int]:
        """Whole frames from the offset ``after`` on, and where they begin; waits until there is something."""
        self._changed.wait(wait_s)
        if self._end() - after < MOST_BYTES and self._changed.is_set():
            time.sleep(LINGER_S)
        self._changed.clear()
        base, end = self._base[0], self._end()
        after = min(max(after, base), end)
        if after == end and end - base > CUT_BYTES:
            if self.outbox.cut(end - base):
                self._base[0] = end
            return b"", after
        data = os.pread(self._fd, MOST_BYTES, after - base)
        if len(data) == MOST_BYTES:
            self._changed.set()
            whole = _SIZE.unpack_from(data)[0] + 64
            if whole > len(data):
                data = os.pread(self._fd, whole, after - base)
        return data, after

    def _end(self) -> int:
        return self._base[0] + os.fstat(self._fd).st_size

    def remove(self) -> None:
        """The worker leaves for good."""
        shutil.rmtree(self.folder, ignore_errors=True)


def is_stopped(process: str) -> bool:
    """Whether a signal has stopped the process of this global name, which was on this machine."""
    name = process.partition("@")[0]
    pid = name.partition(":")[0]
    return pid.isdigit() and proc.process_state(int(pid)) == "T" and process_name(int(pid)) == name


def _mapped(path: Path, size: int) -> tuple[int, bool]:
    """A file of this size, and whether it is new."""
    fd = open_file(path, os.O_RDWR | os.O_CREAT)
    is_new = os.fstat(fd).st_size != size
    if is_new:
        os.ftruncate(fd, size)
    return fd, is_new


class Unpacker(TaggedReader):
    """Frames of a worker from bytes that came in pieces; ``at`` is the offset behind the last whole one."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(-1)
        self.at = at
        self._data = b""

    def _fill(self) -> bytes:
        return self._data

    def _keep(self, data: bytes, at: int) -> None:
        self.at += at  # what is not whole is fetched again

    def messages(self, worker: int, data: bytes, begin: int) -> list[Message]:
        """The whole frames in ``data``, which begins at the offset ``begin``."""
        self._data, self.at = data, begin
        return list(self.read(worker))


def sweep(temporary: Path) -> None:
    """Remove what workers have left that were killed with their whole cluster."""
    for folder in temporary.glob(PREFIX + "*"):
        with suppress(OSError):
            if time.time() - (folder / "out").stat().st_mtime < LEFT_S:
                continue
            fd = os.open(folder / "out", os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)
