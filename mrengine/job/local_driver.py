"""A driver for any backend: the engine steps in the host's own thread, whenever the host waits for updates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from mrengine.engine.protocol import Backend
from mrengine.errors import JobBusy
from mrengine.job.driver import Durable, Note, OpenRequest, PrintedLine, RoundRequest, Update
from mrengine.job.job_store import JobStore
from mrengine.job.round_driver import RoundDriver

__all__ = ["LocalDriver"]

LOCK_WAIT_S = 5.0  # beyond the time that a draining supervisor said it needs
DRAIN_POLL_S = 0.05


class LocalDriver:
    """Implements :class:`mrengine.job.driver.Driver`. ``make(workers, slots)`` is called for the first job."""

    def __init__(self, make: Callable[[int, int], Backend]) -> None:
        self._make = make
        self._backend: Backend | None = None
        self._updates: deque[Update] = deque()  # threads of map functions add to it: deque.append is atomic
        self._reason: str | None = None
        # No pause between two looks for the mark: the next step may be as far away as map_fn takes.
        self._rounds = RoundDriver(self, look_s=0.0)

    @property
    def _job(self) -> JobStore:
        assert self._rounds.job is not None
        return self._rounds.job

    def begin(self, request: OpenRequest) -> None:
        self._reason = None
        if self._backend is None:
            self._backend = self._make(request.workers, request.slots)
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                self._rounds.open(request)
                return
            except JobBusy as error:
                if not error.draining or time.monotonic() >= until + error.drain_s:
                    raise
            time.sleep(DRAIN_POLL_S)  # the supervisor of a dead host is still committing answers that were paid for

    def opened(self) -> int:
        return self._job.log.durable

    def restart(self) -> None:
        self._job.restart()

    def append(self, kind: int, payload: bytes) -> None:
        self._job.append(kind, payload)

    def sync(self) -> int:
        return self._job.log.commit()

    def play(self, request: RoundRequest) -> None:
        assert self._backend is not None
        ended = self._rounds.play(request, self._backend)
        if ended is not None:
            self._updates.append(ended)

    def extend(self, *, last: bool) -> None:
        self._rounds.extend(last=last)

    def receive(self, timeout_s: float) -> list[Update]:
        if self._rounds.engine is not None:
            self._step(timeout_s)
        return [self._updates.popleft() for _ in range(len(self._updates))]

    def _step(self, timeout_s: float) -> None:
        assert self._backend is not None
        if self._reason is not None:
            self._rounds.stop(self._reason)
        try:
            ended = self._rounds.take(self._backend.poll(self._rounds.wait_s(timeout_s)))
        except BaseException:
            self._rounds.commit()  # Ctrl-C may strike in the middle of map_fn: keep the answers that it had by then
            raise
        if ended is not None:
            self._updates.append(ended)

    # what the engine announces

    def durable(self, offset: int) -> None:
        self._updates.append(Durable(offset))

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        self._updates.append(Note(name, fields))

    def line(self, packed: bytes) -> None:
        self._updates.append(PrintedLine(*msgpack.unpackb(packed)))

    # the end

    def stop(self, reason: str) -> None:
        # Only noted: a signal handler may call this in the middle of a step, and the engine is not reentrant.
        self._reason = self._reason or reason

    def finish(self, close: bytes) -> None:
        self._rounds.finish(close)

    def kill(self) -> None:
        self._rounds.engine = None

    def close(self) -> None:
        self._rounds.engine = None
        try:
            if self._backend is not None:
                self._backend.close()
        finally:
            self._backend = None
            self._rounds.close()
