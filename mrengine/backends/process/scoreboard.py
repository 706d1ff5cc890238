"""A worker's scoreboard: shared memory that shows what each slot runs, and survives the worker.

::

    a slot, 5 × i64:   chunk (-1: idle) │ model │ started, ns of CLOCK_MONOTONIC │ in line since, 0: at work │ thread
    behind all slots:  calls that were sent │ of which the budget knows the end │ why the worker ended itself, UTF-8

Eight aligned bytes are stored at once, and the chunk is written last: who reads it finds the rest in place. A SIGKILL
leaves the board as it was, so no message has to announce a start.
"""

from __future__ import annotations

import mmap
import struct
import time

from mrengine.engine.protocol import Started

__all__ = ["Scoreboard"]

_WORDS = 5
_START = struct.Struct("@qqq")  # native: eight bytes at once
_CAUSE_BYTES = 256


class Scoreboard:
    """One worker's board. It is made before the fork; the worker writes, the supervisor reads.

    ``fd``: a file of ``bytes_of(slots)`` bytes that holds the board, for a reader that is no parent of the worker. Such
    a board is not wiped.
    """

    def __init__(self, slots: int, fd: int = -1) -> None:
        self._slots = slots
        self._memory = mmap.mmap(fd, self.bytes_of(slots))
        self._words = memoryview(self._memory).cast("q")
        if fd < 0:
            self.wipe()

    @staticmethod
    def bytes_of(slots: int) -> int:
        """The size of a board."""
        return (slots * _WORDS + 2) * 8 + _CAUSE_BYTES

    def wipe(self) -> None:
        """Mark all slots as idle."""
        for slot in range(self._slots):
            self._words[slot * _WORDS] = -1

    def forget(self) -> None:
        """Erase what a predecessor wrote, where the board is in a file."""
        self._memory[:] = bytes(len(self._memory))
        self.wipe()

    def note_thread(self, slot: int, thread: int) -> None:
        """Note the thread, by the system's number for it, that serves a slot until the worker ends."""
        self._words[slot * _WORDS + 4] = thread

    @property
    def threads(self) -> list[int]:
        """The threads that serve slots."""
        return [thread for slot in range(self._slots) if (thread := self._words[slot * _WORDS + 4])]

    def start(self, slot: int, chunk: int, model: int) -> None:
        """Note that a slot starts a task."""
        at = slot * _WORDS
        _START.pack_into(self._memory, 8 * at + 8, model, time.monotonic_ns(), 0)
        # The chunk comes last: the supervisor reads without a lock, and must never see a new chunk with an old start.
        self._words[at] = chunk

    def waiting(self, chunk: int, model: int, *, waits: bool) -> None:
        """Note that a task begins or ends to wait for its budget: that time does not count as its own."""
        words, now = self._words, time.monotonic_ns()
        for at in range(0, self._slots * _WORDS, _WORDS):
            if words[at] == chunk and words[at + 1] == model:
                since = words[at + 3]
                if waits and not since:
                    words[at + 3] = now
                elif since and not waits:
                    # The start moves on by the wait, so that a deadline needs no sum of waits beside it.
                    words[at + 2] += now - since
                    words[at + 3] = 0

    def clear(self, slot: int) -> None:
        """Mark a slot as idle, after its outcome was written."""
        self._words[slot * _WORDS] = -1

    def called(self) -> None:
        """Count a call that is sent. One thread at a time."""
        self._words[self._slots * _WORDS] += 1

    def settled(self, calls: int) -> None:
        """Count calls whose end the budget has acknowledged. One thread at a time."""
        self._words[self._slots * _WORDS + 1] += calls

    @property
    def calls(self) -> int:
        """Calls that were sent, and whose end the budget has not acknowledged."""
        # It learns of an answer a little later. If answered calls counted as ended here, a worker killed in between
        # would have the budget give back what was paid.
        sent, settled = self._words[self._slots * _WORDS : self._slots * _WORDS + 2]
        return max(0, sent - settled)

    def note_cause(self, cause: str) -> None:
        """Note why the worker ends itself; the first cause counts."""
        if not self.cause:
            data = cause.encode("utf-8", "replace")[: _CAUSE_BYTES - 1]
            self._memory[-_CAUSE_BYTES : len(data) - _CAUSE_BYTES] = data

    @property
    def cause(self) -> str:
        """Why the worker ended itself; empty where it did not say."""
        return self._memory[-_CAUSE_BYTES:].rstrip(b"\0").decode("utf-8", "ignore")

    def started(self) -> list[Started]:
        """The tasks in the slots; ``since`` is later than the start by the time spent waiting for the budget."""
        words, now = self._words, time.monotonic_ns()
        slots = [at for at in range(0, self._slots * _WORDS, _WORDS) if words[at] >= 0]
        waited = [now - words[at + 3] if words[at + 3] else 0 for at in slots]
        return [
            Started(words[at], words[at + 1], (words[at + 2] + waits) / 1e9)
            for at, waits in zip(slots, waited, strict=True)
        ]
