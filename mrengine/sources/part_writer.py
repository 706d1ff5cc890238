"""Digests and writes the parts of a long document in a thread of its own, while the caller cuts what it has read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["PartWriter"]

BATCH_BYTES = 1 << 20  # of parts that are handed over together: each time the thread needs the interpreter once more
AHEAD = 3  # batches that may wait for the thread

_Part = tuple[bytes, Any]  # with the hash object that it goes into


class _Batches:
    """What waits for the thread."""

    # No queue of the standard library: gevent replaces those without the threads, too (patch_all(thread=False)).

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[list[_Part] | None] = deque()

    def put(self, batch: list[_Part] | None) -> None:
        """Add a batch when there is room; None, the end, at once."""
        with self._changed:
            while batch is not None and len(self._waiting) >= AHEAD:
                self._changed.wait()
            self._waiting.append(batch)
            self._changed.notify()

    def get(self) -> list[_Part] | None:
        """Wait for the next one."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            self._changed.notify()
            return self._waiting.popleft()


class PartWriter:
    """Updates digests with parts, and writes them, in their order.

    Hashes and writes let go of the interpreter, so the caller loses little by them. The thread begins with the first
    full batch and ends with ``finish()`` or ``stop()``: a short document has none, and whoever has finished has none
    while it does other things. ``write`` is called in either thread.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.is_behind = False  # whether there may be parts that are not written
        self._write = write
        self._parts: list[_Part] = []  # those that the thread does not have
        self._n_bytes = 0
        self._thread: threading.Thread | None = None
        self._batches = _Batches()
        self._error: BaseException | None = None  # of the thread

    def add(self, data: bytes, digest: Any) -> None:
        """Take a part. Waits where the thread is far behind."""
        self.is_behind = True
        self._parts.append((data, digest))
        self._n_bytes += len(data)
        if self._n_bytes >= BATCH_BYTES:
            if self._thread is not None or self._start():
                self._batches.put(self._taken())
            else:
                self._do(self._taken())

    def finish(self) -> None:
        """Do all that is left, and end the thread. Raises what has been raised in it."""
        self.stop()
        error, self._error = self._error, None
        if error is not None:
            raise error
        self._do(self._taken())  # less than a batch: done before another thread would have begun
        self.is_behind = False

    def stop(self) -> None:
        """End the thread when it has done what was handed over."""
        # In a process that the caller has forked meanwhile it does not live, and may have had the lock.
        if self._thread is not None and self._thread.is_alive():
            self._batches.put(None)
            self._thread.join()
        self._thread = None

    def _taken(self) -> list[_Part]:
        parts, self._parts, self._n_bytes = self._parts, [], 0
        return parts

    def _start(self) -> bool:
        """Begin a thread. False: the system has none to give."""
        # With batches of its own: an exception in stop(), as by Ctrl-C, may leave some behind. All is made now, and not
        # when this module is imported: gevent or eventlet may patch threads later.
        batches = self._batches = _Batches()
        thread = threading.Thread(target=self._work, args=(batches,), name="mrengine-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        except BaseException:  # Ctrl-C: it may have begun all the same
            batches.put(None)
            raise
        self._thread = thread
        return True

    def _work(self, batches: _Batches) -> None:
        while (batch := batches.get()) is not None:
            try:
                if self._error is None:
                    self._do(batch)
            except BaseException as error:  # noqa: BLE001  # finish() raises it where the caller is
                self._error = error

    def _do(self, batch: list[_Part]) -> None:
        for data, digest in batch:
            digest.update(data)
            self._write(data)
