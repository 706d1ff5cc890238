"""Owns the budget of work that is done in one process: the same two methods, no thread, no socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mrengine.budget.connection import Done
from mrengine.budget.pending_requests import LOOK_S, Lease, PendingRequest, PendingRequests, check
from mrengine.budget.service import BudgetService
from mrengine.records import Priority

__all__ = ["LocalBudget"]


class LocalBudget:
    """``acquire`` and ``settle`` as in ``BudgetClient``, against a ledger in this process; thread-safe."""

    def __init__(self, ledger: BudgetService) -> None:
        self._ledger = ledger
        self._desk = PendingRequests()
        self._changed = threading.Condition()
        ledger.hello(0, 0, ())

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
        """Block until a call of so many tokens may be made; arguments and errors as of ``BudgetClient.acquire``."""
        ticket = self._desk.ask(
            model, input_tokens, output_tokens, priority=priority, bound_tokens=bound_tokens, estimated=estimated
        )
        told = False
        try:
            while True:
                due_s = self._step()
                if ticket.granted:
                    return Lease(ticket, self._settle)
                check(ticket, deadline=deadline, stopping=stopping)
                if on_wait is not None and not told:
                    told = True
                    on_wait(model, ticket.wait_ms)
                self._sleep(ticket, due_s, deadline)
        except BaseException:
            self._desk.give_up(ticket)
            raise

    def close(self, timeout_s: float = 0.0) -> None:
        """Report what is left; idempotent."""
        self._step()

    def _sleep(self, ticket: PendingRequest, due_s: float | None, deadline: float | None) -> None:
        left = LOOK_S if due_s is None else min(due_s, LOOK_S)
        if deadline is not None:
            left = min(left, deadline - time.monotonic())
        with self._changed:
            if not ticket.granted and left > 0.0:
                self._changed.wait(left)

    def _settle(self, done: Done) -> None:
        self._desk.settle(done)
        self._step()

    def _step(self) -> float | None:
        with self._changed:
            asks, done = self._desk.message()
            reply = self._ledger.exchange(0, 0, asks, done)
            assert reply is not None  # nobody else says hello to this ledger
            due_s = self._desk.take(reply, len(done))
            if len(reply[0]) + len(done):
                self._changed.notify_all()
            return due_s
