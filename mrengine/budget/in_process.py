"""The budget for a job that runs in one process: the interface of ``BudgetClient`` without a thread or a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mrengine.budget.connection import CallReport, Gates
from mrengine.budget.pending_requests import LOOK_S, Lease, PendingRequest, PendingRequests, check
from mrengine.budget.service import BudgetService
from mrengine.records import Priority

__all__ = ["LocalBudget"]


class LocalBudget:
    """``acquire`` and ``settle`` as in ``BudgetClient``, on a service in this process; thread-safe."""

    def __init__(self, service: BudgetService) -> None:
        self._service = service
        self._pending = PendingRequests()
        self._changed = threading.Condition()
        service.hello(0, 0, ())

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
        gates: Gates = ("", ""),
    ) -> Lease:
        """Block until a call of so many tokens may be made; arguments and errors as of ``BudgetClient.acquire``."""
        request = self._pending.add(
            model,
            input_tokens,
            output_tokens,
            priority=priority,
            bound_tokens=bound_tokens,
            estimated=estimated,
            gates=gates,
        )
        reported = False
        try:
            while True:
                due_s = self._step()
                if request.granted:
                    return Lease(request, self._settle)
                check(request, deadline=deadline, stopping=stopping)
                if on_wait is not None and not reported:
                    reported = True
                    on_wait(model, request.wait_ms)
                self._sleep(request, due_s, deadline)
        except BaseException:
            self._pending.give_up(request)
            raise

    def close(self, timeout_s: float = 0.0) -> None:
        """Report the calls that have ended since the last exchange; idempotent."""
        self._step()

    def _sleep(self, request: PendingRequest, due_s: float | None, deadline: float | None) -> None:
        left = LOOK_S if due_s is None else min(due_s, LOOK_S)
        if deadline is not None:
            left = min(left, deadline - time.monotonic())
        with self._changed:
            if not request.granted and left > 0.0:
                self._changed.wait(left)

    def _settle(self, done: CallReport) -> None:
        self._pending.settle(done)
        self._step()

    def _step(self) -> float | None:
        with self._changed:
            requests, done = self._pending.message()
            reply = self._service.exchange(0, 0, requests, done, self._pending.gates())
            assert reply is not None  # nobody else says hello to this service, so this incarnation is never stale
            due_s = self._pending.take(reply, len(done))
            if len(reply[0]) + len(done):
                self._changed.notify_all()
            return due_s
