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

    The kernel makes them children of the main thread. Processes that map_fn started itself are children of another
    thread, or of the main thread since before ``know()``: they are not reaped here, as map_fn may wait for them. If
    a thread of map_fn's own started one and ended since, it is reaped after ``KEEP_S``.

    Several threads may reap at once: whatever two of them find, one of them reaps.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._dead: dict[int, float] = {}
        self._seen = time.monotonic()
        self._due = self._seen + LOOK_S  # when a slot looks again

    @property
    def any(self) -> bool:
        """Whether there were any lately, or may be soon: zombies must not use up the limit of processes."""
        return time.monotonic() - self._seen < LATE_S

    def know(self) -> None:
        """Remember the present children: they are not orphans."""
        self._known.update(posix.children())

    def reap_between_tasks(self) -> None:
        """What a slot does when its task has ended, before it takes another one that starts processes.

        The thread that polls is late where the machine is busy, and each slot would leave a heap of zombies meanwhile.
        Tasks that leave none do not pay for the look each time.
        """
        now = time.monotonic()
        if now >= self._due and now - self._seen < LATE_S:
            self.reap()

    def reap(self) -> None:
        """Reap those that have been dead for a while; all dead ones if they are many."""
        children, now = set(posix.children() if posix.has_children() else ()), time.monotonic()
        self._known &= children
        dead = {pid: self._dead.get(pid, now) for pid in children - self._known if posix.is_zombie(pid)}
        for pid, since in list(dead.items()):
            if len(dead) > MANY_DEAD or since + KEEP_S <= now:
                _reap(pid)
        self._dead = dead
        if not children <= self._known:
            self._seen = self._due = now
        else:
            self._due = now + LOOK_S


def _reap(child: int) -> None:
    try:
        os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        pass  # map_fn was faster
