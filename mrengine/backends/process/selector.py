"""The one place where the supervisor waits: descriptors, and the callback for each when it is ready."""

from __future__ import annotations

import selectors
from collections.abc import Callable

from mrengine.engine.protocol import Message

__all__ = ["Selector"]

Watcher = Callable[[], list[Message]]


class Selector:
    """A selector whose watchers return messages. Descriptors are watched for reading, or for writing, not for both."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, fd: int, watcher: Watcher, *, write: bool = False) -> None:
        """Call ``watcher`` from ``poll()`` whenever the descriptor is ready. Watching it twice changes nothing."""
        events = selectors.EVENT_WRITE if write else selectors.EVENT_READ
        try:
            self._selector.register(fd, events, watcher)
        except KeyError:
            pass

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor. Call it before the descriptor is closed."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            pass

    def poll(self, timeout_s: float) -> list[Message]:
        """Wait for a ready descriptor, then collect the messages of the watchers."""
        messages: list[Message] = []
        for key, _events in self._selector.select(timeout_s):
            messages += key.data()
        return messages
