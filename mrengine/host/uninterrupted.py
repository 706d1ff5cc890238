"""Decides when Python's signal handlers may interrupt a run, and when a signal has to wait: around clean-up."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

__all__ = ["Signals", "uninterrupted"]

# SIGINT last: handlers are taken and given back in this order.
_NUMBERS = sorted(signal.valid_signals(), key=lambda number: number == signal.SIGINT)
QUIET_S = 1.0  # how long signals wait after a handler has raised: the clean-up begins within that time


class Signals:
    """Holds the main thread's signal handlers between ``take()`` and ``give_back()``.

    A signal that comes meanwhile is put off, except within ``with open():``, where its handler is called at once. Code
    that may be broken off goes into ``open()``, and its clean-up around that. After a handler has raised, the next
    signal waits for ``QUIET_S``. In other threads nothing is done: Python runs handlers in the main thread only.
    """

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._came: list[int] = []
        self._open = False
        self._quiet_until = 0.0

    def take(self) -> None:
        """Put signals off from now on; may be called twice."""
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in _NUMBERS:
                handler: Any = signal.getsignal(number)
                own = callable(handler) and not isinstance(handler, signal.Handlers) and handler != self._strike
                if own and _is_pythons(number):
                    self._handlers[number] = handler
                    signal.signal(number, self._strike)
        except BaseException:
            self._restore()
            raise

    def take_surely(self) -> None:
        """Do ``take()`` completely, even if a signal strikes in the middle of it, and then raise its exception."""
        try:
            self.take()
        finally:
            self.take()

    def give_back(self) -> None:
        """Restore the handlers, and deliver the signals that were put off."""
        self._restore()
        self._deliver()

    def remind(self) -> None:
        """Deliver signals that were put off right after a handler raised, if its exception did not end the run."""
        # A callback or a ``__del__`` may have swallowed it; the signals would wait for the end of the run.
        if self._came and self._open and time.monotonic() >= self._quiet_until:
            self._deliver()

    def open(self) -> _Open:
        """A ``with`` block in which handlers are called at once; signals that were put off are delivered first."""
        return _Open(self)

    def outside(self) -> _Outside:
        """A ``with`` block for the caller's own code, which may take any time: it has its own handlers meanwhile."""
        return _Outside(self)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if not self._open or time.monotonic() < self._quiet_until:
            self._came.append(number)
            return
        try:
            self._handlers[signal.Signals(number)](number, frame)
        except BaseException:
            # From this very moment: however short the gap, a second Ctrl-C cannot strike the way to the clean-up.
            self._quiet_until = time.monotonic() + QUIET_S
            raise

    def _restore(self) -> None:
        """Restore the handlers, except where the caller's code has set another one meanwhile."""
        for number, handler in self._handlers.items():
            if threading.current_thread() is threading.main_thread() and signal.getsignal(number) == self._strike:
                signal.signal(number, handler)

    def _deliver(self) -> None:
        came, self._came = self._came, []
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@cache
def _installed() -> Callable[[int], int | None]:
    """The function that returns the address of what the system calls at a signal."""
    ask = ctypes.pythonapi.PyOS_getsig
    ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.c_int]
    return ask


def _is_pythons(number: int) -> bool:
    """Whether the system calls Python at this signal."""
    # A program that embeds Python (uWSGI) may have put a handler of its own in the place of Python's, unknown to it:
    # ``signal.signal()`` would lose that, and the program could not be ended.
    return _installed()(number) == _trampoline()


@cache
def _trampoline() -> int | None:
    """The address of the C function that calls every signal handler in Python; 0: it is not known, and no handler is
    touched.
    """
    # Python does not tell it: a handler is set, for a moment, at a signal that has none and is ignored by default.
    for number in (signal.SIGURG, signal.SIGCONT, signal.SIGWINCH):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: None)
            try:
                return _installed()(number)
            finally:
                signal.signal(number, signal.SIG_DFL)
    return 0


class _Open:
    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._signals._quiet_until = 0.0
        self._signals._open = True
        self._signals._deliver()

    def __exit__(self, *error: object) -> None:
        self._signals._open = False


class _Outside:
    """See ``Signals.outside``."""

    # No generator: interrupted on its way out, it would go on when it is collected, after all was given back.

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._signals._restore()

    def __exit__(self, *error: object) -> None:
        self._signals.take()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A ``with`` block that no signal handler interrupts; for code that is bounded in time."""
    signals = Signals()
    signals.take()
    try:
        yield
    finally:
        signals.give_back()
