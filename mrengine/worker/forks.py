"""Keeps a process that a map function forked from acting as a worker: it exits, and sends nothing.

Only the process that took a task may report it. A child has a copy of everything, and would send, write and settle all
of it a second time.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from mrengine.errors import ConfigError

__all__ = ["OwnProcess", "leave"]


class OwnProcess:
    """Tells the process that made it from its forks."""

    # By pid (50 ns a look), not by os.register_at_fork: a fork in C would bypass that.
    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is still that process, not a fork of it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ConfigError in a fork."""
        if not self.here:
            raise ConfigError(
                "a process that map_fn forked has no budget and no log of its own: call the model in map_fn itself"
            )


def leave(error: BaseException | None = None) -> NoReturn:
    """End a forked process that has left map_fn, with the exit code that the interpreter would give it."""
    # By os._exit, whatever happens: the way back up the stack is the worker's own loop.
    code = 0 if error is None else 1
    try:
        if error is not None:
            code = _exit_code(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _exit_code(error: BaseException) -> int:
    if not issubclass(type(error), SystemExit):
        sys.stderr.write(f"a process that map_fn forked ended with {type(error).__name__}\n")
        return 1
    code = getattr(error, "code", None)
    return code & 0xFF if isinstance(code, int) else int(code is not None)
