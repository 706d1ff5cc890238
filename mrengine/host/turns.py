"""Owns a runner's turn: one run at a time, for whichever thread asks; the others are refused, or wait."""

from __future__ import annotations

import threading
import time

from mrengine.errors import ConfigError, JobTimeout

__all__ = ["Turns"]

POLL_S = 0.01


class Turns:
    """Taken by one run, given back at its end, from any thread (a generator may be closed by another one)."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[object, int]] = {}  # "by": a run and its thread

    def take(self, run: object, *, wait: bool, until: float | None) -> None:
        """ConfigError: a run is going on, and its end is not to be waited for, or would never come. JobTimeout: it
        did not come by ``until`` (of ``time.monotonic()``).
        """
        mine = run, threading.get_ident()
        while True:
            taken = self._taken.setdefault("by", mine)  # one step: an interrupt cannot come between
            if taken is mine:
                return
            if not wait:
                told = "this runner runs a job already: use one runner for each job at a time, or on_busy='wait'"
                raise ConfigError(told, setting="job_id")
            if taken[1] == mine[1]:
                told = "this runner runs a job in this very thread, in a callback or a stream: waiting would never end"
                raise ConfigError(told, setting="on_busy")
            if until is not None and time.monotonic() >= until:
                raise JobTimeout("this runner was still busy with another run when timeout_s was over")
            time.sleep(POLL_S)

    def give_back(self, run: object) -> None:
        """The run is over, if it had its turn."""
        taken = self._taken.get("by")
        if taken is not None and taken[0] is run:
            del self._taken["by"]
