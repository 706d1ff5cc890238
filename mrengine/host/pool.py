"""Owns a runner's session: opened when a run needs it, kept for the next one in a ``with`` block, never a parent's."""

from __future__ import annotations

import os

from mrengine.backends.process.driver import Driver, ProcessDriver
from mrengine.host.event_loops import warn_in_event_loop
from mrengine.host.sequential import SequentialDriver
from mrengine.host.uninterrupted import uninterrupted

__all__ = ["Pool"]


class Pool:
    """The session that is open, if one is. ``kept``: it outlives its run."""

    def __init__(self, strategy: str, *, drain_s: float) -> None:
        self._strategy, self._drain_s = strategy, drain_s
        self._session: Driver | None = None
        self._pid = 0
        self.kept = False

    def open(self) -> Driver:
        """The session that is open, or a new one."""
        if self._session is not None and self._pid != os.getpid():
            self.close()  # a fork of the process that opened it: the pool belongs to the parent
        if self._session is None:
            self._pid = os.getpid()
            if self._strategy == "sequential":
                self._session = SequentialDriver()
            else:
                warn_in_event_loop()
                with uninterrupted():  # a supervisor that nobody holds would not be ended
                    self._session = ProcessDriver(drain_s=self._drain_s)
        return self._session

    def drop(self) -> None:
        """End it at once: its supervisor has died."""
        with uninterrupted():
            session, self._session = self._session, None
            if session is not None:
                session.kill()
                session.close()

    def close(self) -> None:
        """End it; nothing is left running."""
        with uninterrupted():
            session, self._session = self._session, None
            if session is not None:
                session.close()
