"""Imports modules that workers need, before the fork: in a child first, within a time limit, while the host lives."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from mrengine import posix, proc
from mrengine.backends.process.child import ChildProcess

__all__ = ["HostGone", "preload", "while_alive"]

_ROAD = (  # what every call passes through; workers would import it one by one
    "mrengine.providers.call.answers",
    "mrengine.providers.connect",
    "mrengine.providers.call.fallbacks",
    "mrengine.providers.call.retry",
    "mrengine.providers.call.structured",
    "mrengine.providers.call.context_window",
)
IMPORTS_S = 30.0  # for all modules that are named; the host gives up a supervisor that has not opened its job in 60 s
LOOK_S = 0.25
_THREADS = 3


class HostGone(BaseException):
    """The host has ended, and no import is worth its time any more."""


@contextmanager
def while_alive(host: int) -> Iterator[None]:
    """Raise HostGone in the body, wherever that is, when the parent is another process than ``host``."""

    # By a timer's signal: an import may take long, and the supervisor's loop, which would notice, does not run.
    def look(_signum: int, _frame: FrameType | None) -> None:
        if os.getppid() != host:
            raise HostGone

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def preload(kinds: Sequence[str], modules: Sequence[str], failed: Callable[[str, str], None]) -> None:
    """Import modules that every worker would import by itself, of installed packages alone.

    ``failed(module, why)`` is called for each that was not imported: a worker that needs it imports it by itself.
    """
    from mrengine.providers.connect import preload as preload_kinds

    preload_kinds(kinds)
    for name in _ROAD if kinds else ():
        importlib.import_module(name)
    until = time.monotonic() + IMPORTS_S
    for name in modules:
        why = _imported(name, (until - time.monotonic()) / 2)  # once in a child, and once here
        if why is not None:
            failed(name, why)


def _imported(name: str, within_s: float) -> str | None:
    """Import a module unless it must not be imported here; None, or why it was not."""
    try:
        why = _tried(name, within_s)
        if why is None:
            importlib.import_module(name)
        return why
    except Exception as error:  # noqa: BLE001  # of another's module, or no process to try it in
        return f"{type(error).__name__}: {error}"


def _tried(name: str, within_s: float) -> str | None:
    """Import a module in a child: None, or why it must not be imported here."""
    # It may hang, end its process or start threads, and a process with threads must not fork workers.
    child = ChildProcess(_try, (os.getpid(), name), "mrengine-import", daemon=True)
    try:
        in_time = bool(posix.readable((child.life,), max(0.0, within_s)))
    finally:
        if not child.ended:
            posix.kill_process(child.pid)
        code = child.exitcode(5)
        child.close()
    if not in_time:
        return f"its import takes too long: all of preload= has {IMPORTS_S:g} s"
    if code == 0:
        return None
    return "it starts threads" if code == _THREADS else f"its import ended with {code}"


def _try(life_fd: int, parent: int, name: str) -> None:
    try:
        posix.die_with_parent(parent)
        posix.close_all_but({0, 1, 2, life_fd})
        importlib.import_module(name)
        os._exit(_THREADS if proc.thread_count() > 1 else 0)
    finally:
        os._exit(1)
