"""Reaps orphaned descendants of a worker, without taking from map_fn the children it waits for itself."""

from __future__ import annotations

import os
import time

from mrengine import posix

__all__ = ["Orphans"]

MANY_DEAD = 4
KEEP_S = 0.5
LATE_S = 10.0
LOOK_S = 5e-3


class Orphans:
    """Descendants that were reparented to this process; one that has ended stays a zombie until it is reaped.

    Safe from any thread: of two that find the same zombie, one reaps it.
    """

    # The kernel makes orphans children of the main thread. Processes that map_fn has started are children of another
    # thread, or of the main thread since before spare_present(): map_fn may wait for them, so they are left alone. The
    # child of a thread that has ended since looks like an orphan: hence KEEP_S before it is reaped.
    def __init__(self) -> None:
        self._spared: set[int] = set()
        self._dead: dict[int, float] = {}
        self._last_at = time.monotonic()
        self._due = self._last_at + LOOK_S  # when a slot looks again

    @property
    def any(self) -> bool:
        """Whether there were orphans lately, so that more may come: zombies must not use up the limit of processes."""
        return time.monotonic() - self._last_at < LATE_S

    def spare_present(self) -> None:
        """Remember the present children: they are not orphans."""
        self._spared.update(posix.children())

    def reap_between_tasks(self) -> None:
        """Reap in a slot, between two of its tasks."""
        # The thread that polls is late on a busy machine, and meanwhile each slot would leave a heap of zombies. Tasks
        # that leave none do not pay for a look each time.
        now = time.monotonic()
        if now >= self._due and now - self._last_at < LATE_S:
            self.reap()

    def reap(self) -> None:
        """Reap orphans that have been dead for a while; all dead ones if they are many."""
        children, now = set(posix.children() if posix.has_children() else ()), time.monotonic()
        self._spared &= children
        dead = {pid: self._dead.get(pid, now) for pid in children - self._spared if posix.is_zombie(pid)}
        for pid, since in list(dead.items()):
            if len(dead) > MANY_DEAD or since + KEEP_S <= now:
                _reap(pid)
        self._dead = dead
        if not children <= self._spared:
            self._last_at = self._due = now
        else:
            self._due = now + LOOK_S


def _reap(child: int) -> None:
    try:
        os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        pass  # map_fn was faster
