"""Opens a job and plays its rounds on any backend, in the process that runs the engine.

It never waits: its owner polls the backend and passes the messages to ``take``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from mrengine.engine.loop import Engine
from mrengine.engine.protocol import Announcer, Backend, Message, RoundSettings, RoundSetup
from mrengine.job.budget_config import budget_config
from mrengine.job.driver import Ended, OpenRequest, RoundRequest
from mrengine.job.job_store import JobStore
from mrengine.log.file.call_index import CallIndex

__all__ = ["LOOK_S", "RoundDriver"]

LOOK_S = 0.5  # between two looks for the mark of ``Job.cancel()``


class RoundDriver:
    """One job at a time, and one round of it at a time. The engine reports to ``announcer``.

    All methods but ``record`` are called from one thread.
    """

    def __init__(self, announcer: Announcer, *, look_s: float = LOOK_S) -> None:
        self._announcer, self._look_s = announcer, look_s
        self._look_at = 0.0
        self._answers: CallIndex | None = None  # kept from round to round: workers may share its memory
        self._lock = threading.Lock()  # of the engine: ``record`` comes from threads that run map_fn
        self.job: JobStore | None = None
        self.engine: Engine | None = None
        self.in_flight = 0  # tasks that had not ended when the last round did
        self._settings: RoundSettings | None = None

    # the job

    def open(self, request: OpenRequest, *, host: int = 0) -> int:
        """Take the job's lock and open its log; return the offset below which it is durable. JobBusy, LogError.

        ``host``: the pid for which a supervisor works.
        """
        self.job = JobStore.open(
            request.folder, request.job_id, durability=request.durability, strict=request.strict, host=host
        )
        return self.job.log.durable

    def finish(self, close: bytes) -> None:
        """Write the run's CLOSE record, if there is one, and free the job. LogError: the job is free, without CLOSE."""
        job, self.job = self.job, None
        if job is not None:
            job.finish(close)

    def close(self) -> None:
        """Free the job. A round that is being played ends where it is."""
        self.engine = None
        if self.job is not None:
            self.job.close()
            self.job = None

    # a round

    def play(self, request: RoundRequest, backend: Backend) -> Ended | None:
        """Start a round; return how it ended if it could not be started.

        LogError, OSError, and what user code raises where workers share this process.
        """
        job, settings = self.job, request.settings
        assert job is not None
        self._settings = settings
        job.begin_round()
        self._announcer.durable(job.log.durable)
        answers = self._answers = job.call_index(self._answers, request.expected_calls)
        setup = RoundSetup(
            request.worker,
            job.files(settings.round),
            answers,
            budget=lambda: budget_config(request.budget, job),
            record=self.record,
            functions=request.functions,
            path=request.path,
        )
        self.engine = Engine(
            backend=backend,
            log=job.task_log(),
            announcer=self._announcer,
            settings=settings,
            pending=job.pending(settings, frozenset(request.held)),
            document_of=lambda chunk: job.document_of(settings.round, chunk),
            answered=answers.add_call,
            begun=job.begun(settings),
        )
        try:
            return self.take(backend.set_up(setup))
        except BaseException:
            self.engine = None
            raise

    def extend(self, *, last: bool) -> None:
        """Make rows that were appended to the chunk table durable, and give out their tasks.

        ``last``: no more rows come. LogError.
        """
        job, settings = self.job, self._settings
        if self.engine is None or job is None or settings is None:
            return  # the round has ended: the rows wait for the next run
        with self._lock:
            # Two commits: the engine's syncs only what it appended itself, and announces the answers among it. The rows
            # must be in the file before a worker is given one, which reads it there.
            self.engine.commit()
            self._announcer.durable(job.log.commit())
            self.engine.extend(job.added(settings), last=last)

    def wait_s(self, most_s: float) -> float:
        """How long the next poll of the backend may wait: at most ``most_s``."""
        return most_s if self.engine is None else min(most_s, self.engine.wait_s())

    def rest_s(self) -> float:
        """How long the backend need not be polled: there will be more at once then, and nobody waits for it."""
        return 0.0 if self.engine is None else self.engine.rest_s()

    def take(self, messages: Sequence[Message]) -> Ended | None:
        """One step of the round, with the backend's messages; return how the round ended, once it has.

        LogError, OSError.
        """
        engine, job = self.engine, self.job
        if engine is None or job is None:
            return None
        self._look()
        with self._lock:
            engine.take(messages)
        if engine.state is None:
            return None
        self.engine, self.in_flight = None, engine.in_flight
        # With nothing in flight the log has every answer, and the workers' journals can go. After a drain that was cut
        # short, or on a log that takes no more, they hold answers that the next run takes in.
        if not engine.in_flight and engine.state != "log":
            job.settled()
        return Ended(engine.state, engine.facts)

    def _look(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._look_s
            if self.job is not None and self.job.cancelled():
                self.stop("cancelled")

    def record(self, message: Message) -> None:
        """Append the record of a call and make it durable, from whichever thread of this process made the call."""
        with self._lock:
            if self.engine is not None:
                self.engine.record(message)

    def commit(self) -> None:
        """Make what was appended durable, after an exception in the middle of a step."""
        if self.engine is not None:
            self.engine.commit()

    def stop(self, reason: str) -> None:
        """Start nothing new, and end when what is in flight has."""
        if self.engine is not None:
            self.engine.stop(reason)
