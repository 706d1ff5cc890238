"""Group commit: everything appended in one step is written and synced once, and announced only after that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from mrengine.errors import LogError
from mrengine.log.format import codec

__all__ = ["GroupCommit", "Log"]


class Log(Protocol):
    """The part of the write-ahead log that the engine uses."""

    def append(self, kind: int, payload: bytes) -> int:
        """Buffer a record; returns its offset."""

    def write(self) -> None:
        """Hand the buffer to the kernel: it survives this process, not the machine."""

    def commit(self) -> int:
        """Write and sync; returns the offset below which all is durable. LogError: the log takes no more."""


class GroupCommit:
    """Appends records; ``commit()`` makes them durable and then calls ``durable(offset)``.

    ``answered(payload, offset)`` is called for each CALL once it is durable. An INTENT is written and not synced: it
    must survive this process, not the machine. ``failed``: why the log takes no more. From then on nothing is written
    or announced; answers that still arrive stay in the workers' journals.
    """

    def __init__(self, log: Log, durable: Callable[[int], None], answered: Callable[[bytes, int], object]) -> None:
        self._log, self._durable, self._answered = log, durable, answered
        # Answers whose offsets are found by others only when they are durable: a retry must not build on a lost one.
        self._calls: list[tuple[bytes, int]] = []
        self._unsynced = self._unwritten = False
        self.failed: LogError | None = None
        self._bytes, self._others = 0, False  # appended since the last commit: of results; whether anything else
        self.result_bytes: int | None = None  # in the last commit; None: there was something else in it, or nothing
        self.taken: list[float] | None = None  # durations of commits in ms, while a run profiles

    def append(self, kind: int, payload: bytes) -> None:
        """Append a record that the next commit makes durable."""
        self._unsynced = True
        if kind == codec.RESULT:
            self._bytes += len(payload)
        else:
            self._others = True
        self._append(kind, payload)

    def call(self, payload: bytes) -> None:
        """Append the answer of a call."""
        self._unsynced = self._others = True
        offset = self._append(codec.CALL, payload)
        if offset is not None:
            self._calls.append((payload, offset))

    def note(self, payload: bytes) -> None:
        """Append an event for reports. It goes with the next commit, and causes none."""
        self._append(codec.NOTE, payload)

    def intent(self, payload: bytes) -> None:
        """Append that a call is about to be made."""
        self._unwritten = self._others = True
        self._append(codec.INTENT, payload)

    def _append(self, kind: int, payload: bytes) -> int | None:
        if self.failed is None:
            try:
                return self._log.append(kind, payload)
            except LogError as error:
                self.failed = error
        return None

    def commit(self) -> None:
        """Write all, sync what must be synced, then announce."""
        self.result_bytes = None if self._others else self._bytes or None
        self._bytes, self._others = 0, False
        if self.failed is None:
            try:
                self._commit()
            except LogError as error:
                self.failed = error

    def _commit(self) -> None:
        if self._unsynced:
            self._unsynced = self._unwritten = False
            began = time.perf_counter()
            offset = self._log.commit()
            if self.taken is not None:
                self.taken.append((time.perf_counter() - began) * 1e3)
            for payload, at in self._calls:
                self._answered(payload, at)
            self._calls.clear()
            self._durable(offset)
        elif self._unwritten:
            self._unwritten = False
            self._log.write()
