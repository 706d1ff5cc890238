"""A worker's messages and scoreboard, in files of its node that outlive its process: no message is lost with it.

``out`` takes the frames of :mod:`mrengine.backends.process.framing`, one after another; ``board`` is the scoreboard;
``base`` is the offset at which ``out`` begins, because ``out`` is emptied once all of it has been fetched; ``process``
names the worker's process. The successor of a dead worker on the same node finds these files, delivers the messages,
and reports what ran.
"""

from __future__ import annotations

import fcntl
import io
import mmap
import os
import shutil
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgpack

from mrengine import proc
from mrengine.backends.process.framing import TaggedReader
from mrengine.backends.process.scoreboard import Scoreboard
from mrengine.backends.process.slots import Outbox, Parcel
from mrengine.budget.shared_limits import global_name, process_name
from mrengine.engine import protocol as m
from mrengine.engine.protocol import Message, Started
from mrengine.private import open_file

__all__ = ["PREFIX", "Files", "Printed", "Unpacker", "is_stopped", "sweep"]

PREFIX = "mrengine-worker-"
LINGER_S = 0.01  # messages within that time travel in one answer
MOST_BYTES = 4 << 20  # of messages in one answer, unless one alone is larger
CUT_BYTES = 32 << 20  # the size from which ``out`` is emptied
LEFT_S = 300.0  # files that nobody has used for so long belong to a cluster that was killed
LOGGER = "map_fn"
LINE_CHARS = 8192
_SIZE = struct.Struct("<I")


class _SharedScoreboard(Scoreboard):
    """Wakes the actor at each start, so that the host knows what ran if the node is lost."""

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
        """Empty the file, unless it has grown beyond ``size``."""
        with self._lock:  # slots append under it: a message between the look and the cut would be lost
            whole = os.fstat(self._fd).st_size == size
            if whole:
                os.ftruncate(self._fd, 0)
            return whole


class Files:
    """The files of one worker.

    ``left``: what a predecessor on this node ran when it died; None: there was no predecessor. ``halted``: the process
    of the next worker on this node, if a signal has stopped it.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder, self._changed = folder, threading.Event()
        self._fd = open_file(folder / "out", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        fcntl.flock(self._fd, fcntl.LOCK_SH)  # proves to ``sweep`` that the worker lives
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
        """Set ``halted``."""
        # A stopped process reports nothing, and Ray does not tell. Each worker looks at the next one, the last at the
        # first: so each is seen, unless it is alone on its node.
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
        """The bytes of ``out`` from the offset ``after`` on, and where they begin; waits until there are some."""
        self._changed.wait(wait_s)
        if self._end() - after < MOST_BYTES and self._changed.is_set():
            time.sleep(LINGER_S)
        self._changed.clear()
        base, end = self._base[0], self._end()
        after = min(max(after, base), end)
        if after == end and end - base > CUT_BYTES:
            # Cut first: a death in between makes offsets smaller than what was fetched, and ``after`` is brought into
            # range above. The other way round, the old messages would be delivered again under new offsets.
            if self.outbox.cut(end - base):
                self._base[0] = end
            return b"", after
        data = os.pread(self._fd, MOST_BYTES, after - base)
        if len(data) == MOST_BYTES:
            self._changed.set()  # there is more: the next call must not wait
            whole = _SIZE.unpack_from(data)[0] + 64
            if whole > len(data):
                data = os.pread(self._fd, whole, after - base)
        return data, after

    def _end(self) -> int:
        return self._base[0] + os.fstat(self._fd).st_size

    def remove(self) -> None:
        """Remove the files of a worker that leaves for good."""
        shutil.rmtree(self.folder, ignore_errors=True)


def is_stopped(process: str) -> bool:
    """Whether a signal has stopped the process of this global name on this machine."""
    name = process.partition("@")[0]
    pid = name.partition(":")[0]
    return pid.isdigit() and proc.process_state(int(pid)) == "T" and process_name(int(pid)) == name


def _mapped(path: Path, size: int) -> tuple[int, bool]:
    """A file of this size, and whether it was created just now."""
    fd = open_file(path, os.O_RDWR | os.O_CREAT)
    is_new = os.fstat(fd).st_size != size
    if is_new:
        os.ftruncate(fd, size)
    return fd, is_new


class Unpacker(TaggedReader):
    """Reads a worker's frames from pieces of its ``out``; ``at`` is the offset behind the last whole frame."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(-1)
        self.at = at
        self._data = b""

    def _fill(self) -> bytes:
        return self._data

    def _keep(self, data: bytes, at: int) -> None:
        self.at += at  # the rest, which is no whole frame, is fetched again

    def messages(self, worker: int, data: bytes, begin: int) -> list[Message]:
        """The messages of the whole frames in ``data``, which begins at the offset ``begin``."""
        self._data, self.at = data, begin
        return list(self.read(worker))


def sweep(temporary: Path) -> None:
    """Remove the files of workers that were killed with their whole cluster."""
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


class Printed(io.TextIOBase):
    """A standard stream of an actor: what map functions print goes to the host's logger, line by line."""

    def __init__(self, outbox: Outbox, level: int) -> None:
        self._outbox, self._level, self._rest = outbox, level, ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Send whole lines at once."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > LINE_CHARS:  # a program that never ends its line must not fill the memory
                lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            self._send(line)
        return len(text)

    def flush(self) -> None:
        """Send the unfinished line, too."""
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._send(rest)

    def _send(self, line: str) -> None:
        if self._outbox.own and line:  # a process that map_fn has forked must not write to the outbox
            packed = msgpack.packb([LOGGER, self._level, line[:LINE_CHARS]], unicode_errors="replace")
            self._outbox.emit(m.LINE, -1, -1, packed)
