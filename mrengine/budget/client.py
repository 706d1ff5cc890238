"""A worker's end of the budget: one thread exchanges messages with the manager, for all waiting tasks at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from multiprocessing import AuthenticationError
from queue import Empty, SimpleQueue
from typing import Any

from mrengine.budget.connection import (
    REPLY_TIMEOUT_S,
    UNMETERED,
    CallReport,
    Connection,
    Made,
    Transport,
    kill_if_stopped,
)
from mrengine.budget.pending_requests import BudgetPort, Lease, OnWait, PendingRequest, Stopping, wait
from mrengine.errors import ConfigError

__all__ = ["BudgetClient"]

GATHER_S = 0.002  # requests that arrive within this time after an exchange share the next one
RIDE_S = (0.005, 0.02)  # how long a report waits to share a request's exchange: while others wait, and while none does
REFRESH_S = 0.25  # how long a model is assumed to have no limit: a header may set one at any time
BACKOFF_S = (0.005, 0.25)  # between tries to reach the manager, doubled from the first to the second
THREAD_PAUSES_S = (0.05, 0.2, 0.8, 2.0)  # between tries to start the thread
BROKEN = (OSError, EOFError, AuthenticationError)


class BudgetClient(BudgetPort):
    """One worker's client of the manager at ``address``; connects at the first ``acquire``, so it may cross a fork.

    ``made``: the calls of this worker's dead predecessor that were sent, by the intents in the log, or their number;
    None: all of them. The grants of the others are returned. ``on_settled(calls)``: the manager knows that this many
    calls, which were sent, have ended. A manager that is stopped and does not answer within ``reply_timeout_s`` is
    killed, so that its supervisor notices and replaces it.
    """

    def __init__(
        self,
        address: str,
        authkey: bytes,
        worker_id: int,
        incarnation: int = 0,
        *,
        made: Made = None,
        on_settled: Callable[[int], None] | None = None,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
    ) -> None:
        super().__init__(on_settled)
        self._address = address
        self._authkey = authkey
        self._worker = (worker_id, incarnation)
        self._made = made
        self._reply_timeout_s = reply_timeout_s
        self._wakeups: SimpleQueue[bool] = SimpleQueue()  # True: a request, exchange now; False: a report, soon
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._pid = 0
        self._connection: Transport | None = None
        self._failed: BaseException | None = None
        self._backoff_s = 0.0
        self._exchanged_at = float("-inf")
        self._unlimited: dict[str, float] = {}  # models without a limit → until when that may be assumed
        self._closing = False

    def _wait(self, request: PendingRequest, stopping: Stopping, on_wait: OnWait) -> None:
        self._wakeups.put(True)
        try:
            wait(request, stopping, on_wait)
        except BaseException:
            self._pending.give_up(request)
            self._wakeups.put(False)
            raise

    def close(self, timeout_s: float = 0.5) -> None:
        """Send the remaining reports, for at most ``timeout_s``; idempotent."""
        self._closing = True
        if self._thread is not None and self._thread.is_alive():
            self._wakeups.put(True)
            self._thread.join(timeout_s)

    def _unlimited_lease(self, model: str) -> Lease | None:
        """A lease without an exchange, of a model that the last one named as unlimited."""
        if self._unlimited.get(model, 0.0) <= time.monotonic():
            return None

        def settle(report: CallReport) -> None:
            *_, headers = report
            if any(value is not None for value in headers or ()):
                self._settle(report)  # the headers may reveal a limit

        return Lease(PendingRequest((UNMETERED, model, 0, 0, 0, 0, False), granted=True), settle)

    def _settle(self, report: CallReport) -> None:
        # A Retry-After cannot wait for the next exchange: meanwhile all other workers would run into the same limit.
        *_, headers = report
        back_off = headers is not None and headers[-1] is not None  # the last field of Observed: retry_after_s
        if self._pending.settle(report) or back_off:
            self._wakeups.put(back_off)

    def _start(self) -> None:
        if self._thread is not None and self._pid != os.getpid():
            raise ConfigError("a process that map_fn forked has no budget of its own: call the model in map_fn itself")
        if self._thread is None:
            self._pid = os.getpid()
            with self._starting:  # the first calls of several slots come together
                if self._thread is None:
                    self._thread = self._started()

    def _started(self) -> threading.Thread:
        """The started thread. RuntimeError: the system had no room for one, for a while. The next task tries again."""
        for pause_s in (*THREAD_PAUSES_S, None):
            thread = threading.Thread(target=self._run, name="mrengine-budget", daemon=True)
            try:
                thread.start()
                break
            except RuntimeError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        return thread

    # the budget thread

    def _run(self) -> None:
        wait_s: float | None = None
        while not (self._closing and self._pending.idle()):
            self._wait_for_work(wait_s)
            wait_s = self._step()
            if self._closing and self._failed is not None:
                break
        self._disconnect()

    def _wait_for_work(self, wait_s: float | None) -> None:
        """Sleep until there is a request, until reports have waited long enough, or for ``wait_s``."""
        now = time.monotonic()
        end = None if wait_s is None else now + wait_s
        pause = self._exchanged_at + GATHER_S - now
        if pause > 0 and not self._closing:
            time.sleep(pause)  # requests gather meanwhile; under load this is the only sleep
        while True:
            try:
                urgent = self._wakeups.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except Empty:
                return
            if self._drained() or urgent or self._closing:
                return
            soon = time.monotonic() + RIDE_S[0 if self._pending.waiting() else 1]
            end = soon if end is None else min(end, soon)

    def _drained(self) -> bool:
        """Empty the queue of wake-ups. True if one of them was urgent."""
        urgent = False
        while True:
            try:
                urgent |= self._wakeups.get_nowait()
            except Empty:
                return urgent

    def _step(self) -> float | None:
        """Make one exchange. Seconds until the next is due; None: when there is something to send."""
        try:
            reply, reported = self._exchange()
        except BROKEN as error:
            return self._broken(error)
        self._failed = None
        self._exchanged_at = time.monotonic()
        self._unlimited = {model: until for model, until in self._unlimited.items() if until > self._exchanged_at}
        *_, unlimited = reply
        self._unlimited.update(dict.fromkeys(unlimited, self._exchanged_at + REFRESH_S))
        due_s = self._pending.take(reply, reported)
        if not self._pending.reports():
            return due_s
        return RIDE_S[1] if due_s is None else min(due_s, RIDE_S[1])  # calls that ended during the exchange

    def _connected(self) -> Transport:
        """A connection to the manager. One of BROKEN: there is none."""
        return Connection(self._address, self._authkey, timeout_s=self._reply_timeout_s)

    def _exchange(self) -> tuple[Any, int]:
        if self._connection is None:
            self._connection = self._connected()
            # A manager that replaced a dead one knows of no call in flight: without these it would grant their tokens a
            # second time.
            if not self._connection.call("hello", *self._worker, self._pending.held(), self._made):
                raise ConnectionRefusedError("a newer incarnation of this worker is known")
        requests, done = self._pending.message()
        reply = self._connection.call("exchange", *self._worker, requests, done, self._pending.gates())
        if reply is None:
            raise ConnectionResetError("the manager does not know this worker")
        return reply, len(done)

    def _broken(self, error: BaseException) -> float | None:
        self._disconnect()
        least, most = BACKOFF_S
        self._backoff_s = least if self._failed is None else min(most, self._backoff_s * 2)
        if isinstance(error, BlockingIOError):  # the timeout: a manager that a signal stopped would block all workers
            kill_if_stopped(self._address)
        # Without its traceback: the frames keep this object alive, and a view of the message that was being sent, for
        # which Python 3.13's collector prints a BufferError of a BytesIO to stderr.
        self._failed = error.with_traceback(None)
        time.sleep(self._backoff_s)
        return None if self._pending.idle() else 0.0

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
