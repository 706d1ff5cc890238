"""Lets a clean-up come to its end: a signal handler that would raise in the middle of it is called afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["freed", "uninterrupted"]

_NUMBERS = sorted(signal.valid_signals(), key=lambda number: number != signal.SIGINT)


def freed(free: Callable[[], None]) -> None:
    """Call ``free()`` once, uninterrupted; an exception that strikes on the way into it is raised afterwards."""
    begun: list[bool] = []
    struck: BaseException | None = None
    while not begun:
        try:
            with uninterrupted():
                begun.append(True)
                free()
        except BaseException as error:
            if begun:
                raise
            struck = error
    if struck is not None:
        raise struck


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Python's signal handlers, in the main thread; elsewhere they do not strike. For what is bounded in time:
    a third Ctrl-C would leave processes and folders behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    try:
        for number in _NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, signal.Handlers):
                handlers[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for again in dict.fromkeys(came):
            signal.raise_signal(again)
