"""A child that the supervisor forks for itself, with a descriptor that becomes readable when it ends."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

from mrengine import posix

__all__ = ["ChildProcess"]


class ChildProcess:
    """Runs ``target(held, *args)`` in a fork; ``life`` is readable once it has ended. OSError: it cannot be forked.

    ``life`` is a pidfd. Where the system gives none (macOS, Linux before 5.3, a filter of system calls) it is a pipe
    whose other end, ``held``, the child alone has and must not close.
    """

    # A grandchild may keep ``held`` open after the child's end, so without pidfds ``ended`` is polled as well.
    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str, *, daemon: bool) -> None:
        self.life, held = os.pipe()
        try:
            context = multiprocessing.get_context("fork")
            self._process = context.Process(target=target, args=(held, *args), name=name, daemon=daemon)
            self._process.start()
        except BaseException:
            os.close(self.life)
            raise
        finally:
            os.close(held)
        self.pid = self._process.pid or 0
        pidfd = posix.open_pidfd(self.pid)
        if pidfd is not None:
            os.close(self.life)
            self.life = pidfd

    @property
    def ended(self) -> bool:
        """Whether the child has ended. Does not reap it."""
        # Its pid stays its own until it is reaped: a kill that comes late strikes no other process.
        return posix.is_zombie(self.pid)

    def exitcode(self, wait_s: float) -> int | None:
        """Reap the child; its exit code. None: it has not ended within ``wait_s``."""
        # A process that waits for a disk ignores even SIGKILL. Process.join() would wait without end for it: its
        # sentinel is a pipe, which a worker closes when it begins.
        until = time.monotonic() + wait_s
        while (code := self._process.exitcode) is None and time.monotonic() < until:
            posix.reap_traced(self.pid)
            time.sleep(0.002)
        return code

    def close(self) -> None:
        """Close ``life``."""
        os.close(self.life)
