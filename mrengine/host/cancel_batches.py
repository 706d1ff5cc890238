"""Cancels the batches of a job that nobody runs, and keeps the answers that they had by then."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mrengine.errors import JobBusy
from mrengine.host.batches import BatchCoordinator
from mrengine.host.stored import stored_job
from mrengine.job.driver import OpenRequest
from mrengine.job.local_driver import LocalDriver
from mrengine.log.format.job_records import CloseRecord, pack_close
from mrengine.log.view.job_view import ResumeEngine
from mrengine.records import Batch

__all__ = ["cancel_batches"]

POLL_S = 2.0


def cancel_batches(job_id: str, folder: Path, *, wait_s: float) -> int:
    """Cancel the batches under way, await their end for ``wait_s`` at most, and collect them; how many are left.

    The job has to be marked as cancelled already. Where another process runs it, that process cancels them, and nothing
    is done here. ConfigError: a key is missing.
    """
    with ResumeEngine(folder) as view:
        if not view.state.batches.under_way():
            return 0
        models = stored_job(view, job_id).models(None)
        # The log has one writer, a driver, also where no round is played, and so no backend is needed.
        backend: Any = SimpleNamespace(close=lambda: None)
        driver = LocalDriver(lambda workers, slots: backend)
        try:
            driver.begin(OpenRequest(os.fspath(folder), job_id, "fsync", strict=False, workers=1, slots=1))
        except JobBusy:
            return 0  # the process that runs it sees the mark
        try:
            view.catch_up(driver.opened())
            batches = BatchCoordinator(models, None, Batch(poll_s=POLL_S), job_id, folder, detach=False)
            try:
                batches.settle(_Place(driver, view, time.monotonic() + wait_s))
            finally:
                batches.close()
            left = len(view.state.batches.under_way())
            driver.finish(pack_close(CloseRecord(time.time(), "cancelled", {"reason": "it was cancelled"})))
            return left
        finally:
            driver.close()


class _Place:
    """Implements :class:`mrengine.host.batch_log.BatchLog`, where no run follows the log."""

    def __init__(self, driver: LocalDriver, view: ResumeEngine, until: float) -> None:
        self._driver, self._view, self._until = driver, view, until

    @property
    def view(self) -> ResumeEngine:
        """The log, as far as it is durable."""
        return self._view

    def append(self, kind: int, payload: bytes) -> None:
        self._driver.append(kind, payload)

    def sync(self) -> None:
        for _ in self._view.follow(self._driver.sync()):
            pass

    def pause(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._until - time.monotonic())))

    def stopped(self) -> str | None:
        return "timeout" if time.monotonic() >= self._until else None

    def emit(self, name: str, **fields: Any) -> None:
        """Nobody listens."""
