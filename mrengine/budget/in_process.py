"""The budget of a job that runs in one process: no thread, no socket."""

from __future__ import annotations

import threading

from mrengine.budget.connection import CallReport
from mrengine.budget.pending_requests import LOOK_S, BudgetPort, OnWait, PendingRequest, Stopping, check
from mrengine.budget.service import BudgetService

__all__ = ["LocalBudget"]


class LocalBudget(BudgetPort):
    """Asks a service in this process; each waiting thread drives it."""

    def __init__(self, service: BudgetService) -> None:
        super().__init__()
        self._service = service
        self._changed = threading.Condition()
        service.hello(0, 0, ())  # as the only worker, in its only incarnation

    def _start(self) -> None:
        """Do nothing: the service is in this process."""

    def _wait(self, request: PendingRequest, stopping: Stopping, on_wait: OnWait) -> None:
        reported = False
        try:
            while True:
                due_s = self._step()
                if request.granted:
                    return
                check(request, stopping)
                if on_wait is not None and not reported:
                    reported = True
                    on_wait(request.model, request.wait_ms)
                with self._changed:
                    if not request.granted:
                        self._changed.wait(LOOK_S if due_s is None else min(due_s, LOOK_S))
        except BaseException:
            self._pending.give_up(request)
            raise

    def close(self, timeout_s: float = 0.0) -> None:
        """Report the calls that have ended since the last exchange; idempotent."""
        self._step()

    def _settle(self, report: CallReport) -> None:
        self._pending.settle(report)
        self._step()

    def _step(self) -> float | None:
        with self._changed:
            requests, done = self._pending.message()
            reply = self._service.exchange(0, 0, requests, done, self._pending.gates())
            assert reply is not None  # nobody else says hello to this service, so this incarnation is never stale
            due_s = self._pending.take(reply, len(done))
            granted, *_ = reply
            if granted or done:
                self._changed.notify_all()
            return due_s
