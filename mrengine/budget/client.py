"""Owns a worker's end of the budget: one thread that asks the manager for all tasks that wait, in one call."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from multiprocessing import AuthenticationError
from queue import Empty, SimpleQueue
from typing import Any

from mrengine.budget.connection import PATIENCE_S, UNASKED, Connection, Done, Made, end_stopped
from mrengine.budget.pending_requests import Lease, PendingRequest, PendingRequests, wait
from mrengine.errors import ConfigError
from mrengine.records import Priority

__all__ = ["BudgetClient"]

GATHER_S = 0.002  # asks that come within this time after an exchange go together
RIDE_S = (0.005, 0.02)  # what is done waits so long for an ask to ride with: while others wait, and while none does
REFRESH_S = 0.25  # how old the news may be that a model has no limit
BACKOFF_S = (0.005, 0.25)
THREAD_PAUSES_S = (0.05, 0.2, 0.8, 2.0)  # between tries to start the thread
BROKEN = (OSError, EOFError, AuthenticationError)


class BudgetClient:
    """Asks the manager at ``address`` for one worker. Made before or after the fork; connects at the first ``acquire``.

    ``made``: by the log's intents, the tickets of this worker's dead predecessor whose calls were sent, or how many
    were; the others are given back. None: all were. A manager that does not answer within ``patience_s`` because it is
    stopped is killed: its supervisor sees that at once and replaces it.
    """

    def __init__(
        self,
        address: str,
        authkey: bytes,
        worker_id: int,
        incarnation: int = 0,
        *,
        made: Made = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._address = address
        self._authkey = authkey
        self._worker = (worker_id, incarnation)
        self._made = made
        self._patience_s = patience_s
        self._desk = PendingRequests()
        self._news: SimpleQueue[bool] = SimpleQueue()  # True: an ask, at once; False: something to report, soon
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._pid = 0
        self._wire: Connection | None = None
        self._failed: BaseException | None = None
        self._backoff_s = 0.0
        self._asked_at = float("-inf")
        self._free: dict[str, float] = {}  # models without a limit, and until when that is taken for true
        self._closing = False

    def acquire(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        priority: Priority | str = "P1_user",
        bound_tokens: int | None = None,
        estimated: bool = True,
        deadline: float | None = None,
        stopping: Callable[[], bool] | None = None,
        on_wait: Callable[[str, float], None] | None = None,
    ) -> Lease:
        """Block until a call of so many tokens may be made.

        ``input_tokens`` by our own count, raised by the model's learned ratio if it is ``estimated``. ``bound_tokens``:
        an upper bound of the input, for ``Budget``. ``deadline``: on ``time.monotonic``. ``on_wait(model, wait_ms)`` is
        called once, if there is a wait. Raises Stopped, ModelUnavailable at the deadline, ModelRefused for a call
        larger than the limit, BudgetExhausted, ConfigError.
        """
        if self._free.get(model, 0.0) > time.monotonic():
            return self._free_lease(model)
        self._start()
        ticket = self._desk.ask(
            model, input_tokens, output_tokens, priority=priority, bound_tokens=bound_tokens, estimated=estimated
        )
        self._news.put(True)
        try:
            wait(ticket, deadline=deadline, stopping=stopping, on_wait=on_wait, why=self._why)
        except BaseException:
            self._desk.give_up(ticket)
            self._news.put(False)
            raise
        return Lease(ticket, self._settle)

    def close(self, timeout_s: float = 0.5) -> None:
        """Report what is left, for at most ``timeout_s``; idempotent."""
        self._closing = True
        if self._thread is not None and self._thread.is_alive():
            self._news.put(True)
            self._thread.join(timeout_s)

    def _free_lease(self, model: str) -> Lease:
        """A model without a limit: nothing to ask. What its headers say is reported: it may have one."""
        ticket = PendingRequest((UNASKED, model, 0, 0, 0, 0, False), granted=True)
        return Lease(ticket, self._settle_free)

    def _settle_free(self, done: Done) -> None:
        if done[6] is not None and any(value is not None for value in done[6]):
            self._settle(done)

    def _settle(self, done: Done) -> None:
        told_off = done[6] is not None and done[6][-1] is not None  # Retry-After: the others must hear of it at once
        if self._desk.settle(done) or told_off:
            self._news.put(told_off)

    def _start(self) -> None:
        if self._thread is not None and self._pid != os.getpid():
            raise ConfigError("a process that map_fn forked has no budget of its own: call the model in map_fn itself")
        if self._thread is None:
            self._pid = os.getpid()
            with self._starting:
                if self._thread is None:
                    self._thread = self._started()

    def _started(self) -> threading.Thread:
        """RuntimeError: the system has no room for a thread, for a while. The next task tries again."""
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
        while not (self._closing and self._desk.idle()):
            self._listen(wait_s)
            wait_s = self._step()
            if self._closing and self._failed is not None:
                break
        self._hang_up()

    def _listen(self, wait_s: float | None) -> None:
        """Sleep until there is an ask, until what is done has waited long enough, or until ``wait_s`` is over.

        First a short sleep in which news gather: under load it is the only one.
        """
        now = time.monotonic()
        end = None if wait_s is None else now + wait_s
        pause = self._asked_at + GATHER_S - now
        if pause > 0 and not self._closing:
            time.sleep(pause)
        while True:
            try:
                urgent = self._news.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except Empty:
                return
            if self._drained() or urgent or self._closing:
                return
            soon = time.monotonic() + RIDE_S[0 if self._desk.waiting() else 1]
            end = soon if end is None else min(end, soon)

    def _drained(self) -> bool:
        """Take all news that there are. Whether one of them is urgent."""
        urgent = False
        while True:
            try:
                urgent |= self._news.get_nowait()
            except Empty:
                return urgent

    def _step(self) -> float | None:
        """One exchange; seconds until the next is due, None: when there is something to say."""
        try:
            reply, reported = self._exchange()
        except BROKEN as error:
            return self._broken(error)
        self._failed = None
        self._asked_at = time.monotonic()
        self._free = {model: until for model, until in self._free.items() if until > self._asked_at}
        self._free.update(dict.fromkeys(reply[3], self._asked_at + REFRESH_S))
        due_s = self._desk.take(reply, reported)
        if not self._desk.reports():
            return due_s
        return RIDE_S[1] if due_s is None else min(due_s, RIDE_S[1])  # what was done during the exchange, without news

    def _exchange(self) -> tuple[Any, int]:
        if self._wire is None:
            self._wire = Connection(self._address, self._authkey, timeout_s=self._patience_s)
            if not self._wire.call("hello", *self._worker, self._desk.held(), self._made):
                raise ConnectionRefusedError("a newer incarnation of this worker is known")
        asks, done = self._desk.message()
        reply = self._wire.call("exchange", *self._worker, asks, done)
        if reply is None:
            raise ConnectionResetError("the manager does not know this worker")
        return reply, len(done)

    def _broken(self, error: BaseException) -> float | None:
        self._hang_up()
        least, most = BACKOFF_S
        self._backoff_s = least if self._failed is None else min(most, self._backoff_s * 2)
        if isinstance(error, BlockingIOError):
            end_stopped(self._address)
        # Without its frames: they hold this object, and a view of what was sent, of which the collector complains on
        # stderr (Python 3.13: BufferError of a BytesIO).
        self._failed = error.with_traceback(None)
        time.sleep(self._backoff_s)
        return None if self._desk.idle() else 0.0

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _why(self) -> str:
        if self._failed is None:
            return "its rate limit did not allow it"
        return f"the budget manager does not answer ({type(self._failed).__name__})"
