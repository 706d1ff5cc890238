"""Controls Python's signal handlers around cleanup: when a signal interrupts, and when it has to wait."""

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

_NUMBERS = sorted(signal.valid_signals(), key=lambda number: number == signal.SIGINT)  # it is given back last
QUIET_S = 1.0  # from an exception of a handler to the clean-up that it causes, at most


class Signals:
    """The handlers of the main thread between ``take()`` and ``give_back()``. A signal that comes meanwhile is put off,
    but for those within ``with open():``; there its handler is called at once.

    Where a handler raises, the next one is put off from that very moment, for ``QUIET_S``: however short the gap, a
    second Ctrl-C cannot strike the way to the clean-up that the first one causes. So ``open()`` stands around what may
    be broken off, and the clean-up around ``open()``. In other threads handlers do not strike, and nothing is done.
    """

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._came: list[int] = []
        self._open = False
        self._quiet_until = 0.0

    def take(self) -> None:
        """Put off what comes from now on; may be called twice."""
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
        """The same, to its end also where a signal strikes in the middle of it, which is raised then."""
        try:
            self.take()
        finally:
            self.take()

    def give_back(self) -> None:
        """The handlers are as they were; what was put off strikes."""
        self._restore()
        self._deliver()

    def remind(self) -> None:
        """Where an exception was swallowed (by a callback, or a ``__del__``), what came right after it strikes now."""
        if self._came and self._open and time.monotonic() >= self._quiet_until:
            self._deliver()

    def open(self) -> _Open:
        """A ``with`` block within which signals strike, those that were put off at its beginning."""
        return _Open(self)

    def outside(self) -> _Outside:
        """A ``with`` block in which the caller's own code runs, of which nobody knows when it comes back."""
        return _Outside(self)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if not self._open or time.monotonic() < self._quiet_until:
            self._came.append(number)
            return
        try:
            self._handlers[signal.Signals(number)](number, frame)
        except BaseException:
            self._quiet_until = time.monotonic() + QUIET_S
            raise

    def _restore(self) -> None:
        """A handler that the caller's code has set meanwhile stays."""
        for number, handler in self._handlers.items():
            if threading.current_thread() is threading.main_thread() and signal.getsignal(number) == self._strike:
                signal.signal(number, handler)

    def _deliver(self) -> None:
        came, self._came = self._came, []
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@cache
def _installed() -> Callable[[int], int | None]:
    """What the system calls at a signal: an address."""
    ask = ctypes.pythonapi.PyOS_getsig
    ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.c_int]
    return ask


def _is_pythons(number: int) -> bool:
    """Whether the system calls Python at this signal. Where a program embeds Python (uWSGI), its own handler may be
    where Python believes that its own is: ``signal.signal()`` would lose it, and the program could not be ended.
    """
    return _installed()(number) == _trampoline()


@cache
def _trampoline() -> int | None:
    """The one function of Python that the system calls at every signal with a handler in Python: seen at a signal that
    nobody uses, for a moment. None: there is none, and then no handler is touched.
    """
    for number in (signal.SIGURG, signal.SIGCONT, signal.SIGWINCH):  # whose default is to do nothing
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
    """No generator: one that is struck while it is left goes on when it is collected, when all was given back."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._signals._restore()

    def __exit__(self, *error: object) -> None:
        self._signals.take()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Python's signal handlers for what is bounded in time."""
    signals = Signals()
    signals.take()
    try:
        yield
    finally:
        signals.give_back()
