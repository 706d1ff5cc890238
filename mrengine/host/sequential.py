"""The driver without processes: the engine steps in the host's own thread, whenever the host waits for news."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

from mrengine.backends.process.driver import DRAIN_POLL_S, PATIENCE_S, Durable, Ended, Line, News, Note
from mrengine.backends.sequential import SequentialBackend
from mrengine.budget.in_process import LocalBudget
from mrengine.budget.server import make_service
from mrengine.engine.loop import Engine, RoundSettings
from mrengine.engine.protocol import Message
from mrengine.errors import JobBusy
from mrengine.job.budget_config import terms_of
from mrengine.job.job_store import JobStore
from mrengine.worker.stored_answers import index_answer

__all__ = ["SequentialDriver"]


class SequentialDriver:
    """Implements :class:`mrengine.backends.process.driver.Driver` in this process: for pdb, profilers, short jobs."""

    def __init__(self) -> None:
        self._backend = SequentialBackend()
        self._job: JobStore | None = None
        self._engine: Engine | None = None
        self._news: list[News] = []
        self._reason: str | None = None
        self._lock = threading.Lock()

    def begin(self, folder: Path, order: Mapping[str, Any]) -> None:
        self._reason = None
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._job = JobStore.open(
                    folder, order["job_id"], durability=order["durability"], strict=order["strict"]
                )
                return
            except JobBusy as error:
                if not error.draining or time.monotonic() >= until + error.drain_s:
                    raise
            time.sleep(DRAIN_POLL_S)

    def opened(self) -> int:
        assert self._job is not None
        return self._job.log.durable

    def restart(self) -> None:
        assert self._job is not None
        self._job.restart()

    def append(self, kind: int, payload: bytes) -> None:
        assert self._job is not None
        self._job.append(kind, payload)

    def sync(self) -> int:
        assert self._job is not None
        return self._job.log.commit()

    def play(self, order: Mapping[str, Any]) -> None:
        job = self._job
        assert job is not None
        job.begin_round()
        self.durable(job.log.durable)
        settings = RoundSettings(**order["round"])
        answers = job.call_index(None, order["room"])
        budget = LocalBudget(make_service(terms_of(order["terms"], job)))
        setup = job.setup(order["setup"], path=None, manager=None, endpoints={})
        self._engine = Engine(
            backend=self._backend,
            log=job.task_log(),
            announcer=self,
            settings=settings,
            pending=job.pending(settings),
            document_of=lambda chunk: job.document_of(settings.round, chunk),
            answered=lambda call, offset: index_answer(answers, call, offset),
            begun=job.begun(settings),
        )
        self._backend.set_up(setup, answers, budget, order["objects"], self._record)

    def receive(self, timeout_s: float) -> list[News]:
        engine = self._engine
        if engine is not None:
            if self._reason is not None:
                engine.stop(self._reason)
            elif self._job is not None and self._job.cancelled():
                engine.stop("cancelled")
            try:
                messages = self._backend.poll(min(timeout_s, engine.wait_s()))
                with self._lock:
                    engine.take(messages)
            except BaseException:  # an interrupt: what was answered is kept
                engine.commit()
                raise
            if engine.state is not None:
                self._engine = None
                if self._job is not None and engine.state != "log":
                    self._job.settled()
                self._news.append(Ended(engine.state, engine.facts))
        news, self._news = self._news, []
        return news

    def _record(self, message: Message) -> None:
        """The record of a call, from whichever thread of map_fn made it."""
        with self._lock:
            if self._engine is not None:
                self._engine.record(message)

    # what the engine announces

    def durable(self, offset: int) -> None:
        self._news.append(Durable(offset))

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        self._news.append(Note(name, fields))

    def line(self, packed: bytes) -> None:
        self._news.append(Line(*msgpack.unpackb(packed)))

    # the end

    def stop(self, reason: str) -> None:
        self._reason = self._reason or reason

    def finish(self, close: bytes) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.finish(close)

    def kill(self) -> None:
        self._engine = None

    def close(self) -> None:
        self._engine = None
        self._backend.end()
        if self._job is not None:
            self._job.close()
            self._job = None
