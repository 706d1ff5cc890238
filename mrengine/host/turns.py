"""Owns a runner's turn: one run at a time, for whichever thread asks; the others are refused, or wait."""

from __future__ import annotations

import threading
import time

from mrengine.errors import ConfigError, JobTimeout

__all__ = ["Turns"]


class Turns:
    """Taken by one run, given back at its end, from any thread (a generator may be closed by another one)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    def take(self, *, wait: bool, until: float | None) -> None:
        """ConfigError: a run is going on, and its end is not to be waited for, or would never come. JobTimeout: it
        did not come by ``until`` (of ``time.monotonic()``).
        """
        if not self._lock.acquire(blocking=False):
            if not wait:
                told = "this runner runs a job already: use one runner for each job at a time, or on_busy='wait'"
                raise ConfigError(told, setting="job_id")
            if self._owner == threading.get_ident():
                told = "this runner runs a job in this very thread, in a callback or a stream: waiting would never end"
                raise ConfigError(told, setting="on_busy")
            if not self._lock.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                raise JobTimeout("this runner was still busy with another run when timeout_s was over")
        self._owner = threading.get_ident()

    def give_back(self) -> None:
        """The run is over."""
        self._owner = 0
        self._lock.release()
