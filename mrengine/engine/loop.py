"""Runs one round of a job: tracks what is in flight, what each outcome means, and when the round is over.

The same on every backend: a backend carries ids out and messages in, and this loop decides. ``step()`` is the body of
the loop, so that a test can take one step at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgpack

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import AttemptCounter, CrashBisection
from mrengine.engine.failure_records import FailureRecords, Notes, RestartLimiter, allowed_deaths
from mrengine.engine.group_commit import GroupCommit, Log
from mrengine.engine.model_choice import ModelChoice
from mrengine.engine.model_health import ModelHealth
from mrengine.engine.protocol import Announcer, RoundSettings
from mrengine.engine.queues import HORIZON_S, PrefetchWindow, TaskQueues
from mrengine.engine.worker_monitor import Aftermath, Worker, WorkerMonitor, aftermath, rest_s
from mrengine.log.format import codec

__all__ = ["Engine"]

TICK_S = 0.5  # how often deadlines and resident memory are looked at


class Engine:
    """Runs the pending tasks of one round over a backend.

    ``pending``: the keys to run (see :class:`TaskQueues`). ``document_of(chunk)``: a document's id, for failures that
    no worker could write. ``answered(payload, offset)`` is called for each CALL record when it is durable. ``begun``:
    the models of tasks that have begun a call in earlier runs, and have no result. ``state`` is None while the round
    runs, then "done", "parked" (the rest waits for batches), "failed", "broken", "budget", "log" (the log takes no
    more) or the reason that ``stop()`` was given; ``facts`` has the details.
    """

    def __init__(
        self,
        *,
        backend: m.Backend,
        log: Log,
        announcer: Announcer,
        settings: RoundSettings,
        pending: Iterable[int],
        document_of: Callable[[int], str],
        answered: Callable[[bytes, int], object] = lambda payload, offset: None,
        begun: Mapping[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._backend, self._announcer, self._settings, self._clock = backend, announcer, settings, clock
        self._log = GroupCommit(log, announcer.durable, answered)
        self._failures = FailureRecords(settings.round, settings.models, document_of, wall)
        self._notes = Notes(announcer, self._log, self._failures, profile=settings.profile)
        self._per_chunk = settings.per_chunk  # looked up for each task
        self._queues = TaskQueues(pending, workers=backend.workers, per_chunk=self._per_chunk, steal=settings.steal)
        pace = partial(PrefetchWindow, backend.slots, clock, getattr(backend, "horizon_s", HORIZON_S))
        self._workers = [Worker({}, CrashBisection(), pace(), clock()) for _ in range(backend.workers)]
        self._monitor = WorkerMonitor(backend, settings, self._key)
        self._attempts = AttemptCounter(settings.max_attempts)
        self._choice = ModelChoice(settings.models, settings.balance, settings.weights, begun)
        self._restarts = RestartLimiter(allowed_deaths(backend.workers, backend.slots, settings.max_attempts))
        self._models = ModelHealth(
            settings, self._queues, self._choice, self._failures, self._attempts,
            fail=self._fail, stop=self.stop, running=self._monitor.running, clock=clock,
        )  # fmt: skip
        self._left, self._open = len(self._queues), settings.open
        self._draining: str | None = None
        self._failed, self._drain_until, self._commit_first, self._parked = 0, 0.0, False, False
        self._next_tick = clock() + TICK_S
        self.state: str | None = None
        self.facts: dict[str, Any] = {}
        self._handlers: dict[int, Callable[[int, int, int, Any], None]] = {
            codec.RESULT: self._on_result,
            codec.FAILURE: self._on_failure,
            codec.CALL: self._on_call,
            **{kind: partial(self._on_begun, kind) for kind in (codec.INTENT, codec.REQUEST)},
            m.READY: self._on_ready,
            m.FAILED_START: self._on_failed_start,
            m.RETRY: self._on_retry,
            m.DROPPED: self._on_dropped,
            m.PARKED: self._on_parked,
            **{kind: partial(self._on_model, kind) for kind in (m.MODEL_DOWN, m.MODEL_DOUBT)},
            m.MODEL_RESTS: self._on_rests,
            m.BUDGET_SPENT: self._on_budget_spent,
            m.NOTE: self._on_note,
            m.PROFILED: self._notes.profiled,
            m.LINE: self._notes.line,
            m.BROKEN: self._on_broken,
            m.DIED: self._on_died,
        }

    # the loop

    def run(self) -> str:
        """Step until the round has ended; its state."""
        while self.state is None:
            self.step()
        return self.state

    def step(self) -> None:
        """Handle messages of workers, give out new tasks, make outcomes durable, announce them."""
        self.take(self._backend.poll(self.wait_s()))

    def take(self, messages: Sequence[m.Message]) -> None:
        """Take one step with messages that somebody else has polled."""
        for worker, kind, chunk, model, payload in messages:
            self._handlers[kind](worker, chunk, model, payload)
        if self._commit_first:  # before tasks are given out: an attempt must find what the last one has paid for
            self._commit_first = False
            self.commit()
        if self.state is None:
            self._queues.wake(self._clock())
            if self._draining is None:
                self._models.wake()
                self._refill()
        if self._clock() >= self._next_tick:
            self._tick()
        self.commit()
        self._stop_if_log_failed()
        self._finish_if_over()

    def record(self, message: m.Message) -> None:
        """Take the record of a call before its task has ended: an intent is written, an answer durable, at once."""
        self._handlers[message[1]](message[0], *message[2:])
        self.commit()

    def wait_s(self) -> float:
        """How long the next poll may wait."""
        due = min(self._queues.due, self._next_tick)
        return max(0.0, (due if self._draining is None else min(due, self._drain_until)) - self._clock())

    def rest_s(self) -> float:
        """How long this process may sleep between two steps, as its workers have plenty to do."""
        return rest_s(self._workers, self._log) if self._draining is None else 0.0

    def commit(self) -> None:
        """Make what was appended durable, and only then announce it."""
        self._log.commit()

    def stop(self, reason: str = "stopped", **facts: Any) -> None:
        """Start nothing new, let what is in flight end for ``drain_s``, then end with ``reason``; the first counts."""
        if self._draining is None and self.state is None:
            self._draining, self.facts = reason, dict(facts)
            self._drain_until = self._clock() + self._settings.drain_s
            self._backend.drain()
            self._notes.record("job:draining", {"in_flight": self.in_flight})

    def extend(self, keys: Iterable[int], *, last: bool) -> None:
        """Add tasks to an open round; their rows are durable. ``last``: no more will come."""
        self._left += self._queues.extend(keys)
        self._open = self._open and not last

    @property
    def in_flight(self) -> int:
        """Tasks that a worker holds."""
        return sum(len(worker.flight) for worker in self._workers)

    # giving out

    def _refill(self) -> None:
        for index, worker in enumerate(self._workers):
            if not worker.ready or self._monitor.retires(index):
                continue
            if worker.in_cell and worker.flight:
                continue
            worker.in_cell = bool(worker.cells) and not worker.flight
            if worker.in_cell:
                self._send(index, worker.cells.next())
            if worker.cells or worker.in_cell:  # a cell that waits lets the worker run empty first
                continue
            room = worker.prefetch.window - len(worker.flight)
            if room > 0:
                idle = self._backend.slots - len(worker.flight)
                keys = self._queues.take(index, room, spare=idle, holds=self._models.holds)
                if keys:
                    self._send(index, keys)

    def _send(self, index: int, keys: Sequence[int]) -> None:
        worker = self._workers[index]
        batch = []
        for key in keys:
            model = key % self._per_chunk if self._settings.all_models else self._choice.choose(key)
            worker.flight[key] = model
            self._choice.given(model)
            batch.append(m.Start(key // self._per_chunk, model, self._attempts.attempt(key)))
        self._backend.send(index, batch)

    def _key(self, chunk: int, model: int) -> int:
        return chunk * self._per_chunk + model if self._settings.all_models else chunk

    # what workers say

    def _settle(self, index: int, chunk: int, model: int) -> int | None:
        """Take a task out of flight; its key, or None if it is not there. So an outcome counts once."""
        key = self._key(chunk, model)
        worker = self._workers[index]
        assigned = worker.flight.pop(key, None)
        if assigned is None:
            return None
        self._choice.back(assigned)
        worker.prefetch.finished()
        return key

    def _close(self, key: int) -> None:
        self._attempts.close(key)
        self._choice.end(key)
        self._left -= 1

    def _on_result(self, index: int, chunk: int, model: int, payload: bytes) -> None:
        if (key := self._settle(index, chunk, model)) is not None:
            self._log.append(codec.RESULT, payload)
            self._models.ended(key, model, well=True)
            self._close(key)
            self._restarts.finished()

    def _on_failure(self, index: int, chunk: int, model: int, payload: bytes) -> None:
        if (key := self._settle(index, chunk, model)) is not None:
            self._models.ended(key, model, well=False)
            self._fail(key, payload)
            self._restarts.finished()

    def _fail(self, key: int, payload: bytes) -> None:
        self._log.append(codec.FAILURE, payload)
        self._close(key)
        self._failed += 1
        if (limit := self._settings.max_failed) is not None and self._failed > limit:
            self.stop("failed", message=f"{self._failed} chunks failed, max_failed is {limit}")

    def _on_call(self, _index: int, _chunk: int, _model: int, payload: bytes) -> None:
        self._log.call(payload)

    def _on_begun(self, kind: int, _index: int, chunk: int, model: int, payload: bytes) -> None:
        if not self._settings.all_models:
            self._choice.begin(chunk, model)
        self._log.intent(payload) if kind == codec.INTENT else self._log.append(kind, payload)

    def _on_parked(self, index: int, chunk: int, model: int, _payload: bytes) -> None:
        if (key := self._settle(index, chunk, model)) is not None:
            self._attempts.close(key)
            self._left -= 1
            self._parked = True

    def _on_ready(self, index: int, _chunk: int, _model: int, _payload: bytes) -> None:
        worker = self._workers[index]
        worker.ready = True
        if worker.died:
            worker.died = False
            self._notes.record("worker:respawned", {"worker_id": index}, worker=index)

    def _on_failed_start(self, _index: int, _chunk: int, _model: int, payload: bytes) -> None:
        self._cannot_start(payload.decode("utf-8", "replace"))

    def _on_broken(self, _index: int, _chunk: int, _model: int, payload: bytes) -> None:
        cause = payload.decode("utf-8", "replace")
        self.stop("broken", message=cause, cause=cause)

    def _cannot_start(self, cause: str) -> None:
        """Stop as broken: an initializer or an import would fail in the next worker as well."""
        self.stop("broken", message=f"a worker could not start: {cause}", cause=cause)

    def _on_retry(self, index: int, chunk: int, model: int, payload: bytes) -> None:
        key = self._settle(index, chunk, model)
        if key is None:
            return
        cause, after_s = msgpack.unpackb(payload)
        attempt = self._attempts.attempt(key)
        self._commit_first = True
        self._attempt_record(key, model, "retry", cause)
        if self._attempts.charge(key):
            self._quarantine(key, model, index, "retries", cause)
            return
        self._attempts.started(key)
        wait = after_s if after_s is not None else self._settings.backoff_s * 2 ** (attempt - 1)
        self._queues.later(key, self._clock() + wait)
        fields = {"chunk_id": chunk, "attempt": attempt, "error": cause, "wait_s": wait}
        self._notes.record("chunk:retry", fields, worker=index, chunk=chunk)

    def _on_dropped(self, index: int, chunk: int, model: int, _payload: bytes) -> None:
        if (key := self._settle(index, chunk, model)) is not None:
            self._queues.put_back(key)

    def _on_model(self, kind: int, index: int, chunk: int, model: int, payload: bytes) -> None:
        self._commit_first = True
        self._models.reported(kind, self._settle(index, chunk, model), model, index, payload.decode("utf-8", "replace"))

    def _on_rests(self, index: int, chunk: int, model: int, payload: bytes) -> None:
        self._commit_first = True
        if (key := self._settle(index, chunk, model)) is not None:
            self._models.rests(key, model, *msgpack.unpackb(payload))

    def _on_budget_spent(self, index: int, chunk: int, model: int, payload: bytes) -> None:
        self._on_dropped(index, chunk, model, b"")
        self.stop("budget", **dict(zip(("message", "spent", "limit", "unit"), msgpack.unpackb(payload), strict=True)))

    def _on_note(self, index: int, chunk: int, _model: int, payload: bytes) -> None:
        name, fields = msgpack.unpackb(payload)
        if name == "budget:wait":
            self._choice.waits(fields["model"], fields["wait_ms"])
        self._notes.record(name, fields, worker=index, chunk=chunk)

    # death

    def _on_died(self, index: int, _chunk: int, _model: int, death: m.Death) -> None:
        worker, health = self._workers[index], self._monitor.died(index)
        models = dict(worker.flight)
        after = aftermath(
            tuple(models),
            death,
            health,
            key=self._key,
            attempts=self._attempts,
            chunk_timeout_s=self._settings.chunk_timeout_s,
        )
        by_itself = death.exitcode is not None and death.exitcode >= 0
        if worker.died and not worker.ready and (health.halted or by_itself):
            # The second in a row, and not killed: its initializer or an import ends the process, or stops it.
            self._cannot_start(f"{after.cause} while it started")
        worker.ready, worker.died, worker.began = False, True, self._clock()
        self._commit_first = True
        fields = {"worker_id": index, "exitcode": death.exitcode, "cause": after.cause}
        self._notes.record("worker:crashed", fields, worker=index)
        for model in models.values():
            self._choice.back(model)
        worker.flight.clear()
        self._give_back(worker, after)
        for key in after.charged:
            self._charge(index, key, models[key], after.kind, after.why)
        worker.in_cell = False
        if not after.blameless and (deaths := self._restarts.died(self._clock())):
            message = f"{deaths} workers died within 60 s and no task was finished; the last one: {after.cause}"
            self.stop("broken", message=message, cause=after.cause)

    def _give_back(self, worker: Worker, after: Aftermath) -> None:
        """Queue the tasks that are not charged. Of a cell, those that had not been started stay in a cell."""
        if worker.in_cell:
            worker.cells.resume(after.waiting)
        else:
            for key in reversed(after.waiting):
                self._queues.put_back(key)
        for key in (*after.suspects, *after.begun):
            self._attempts.started(key)  # the next one is a further attempt: it finds what this one has paid for
        worker.cells.accuse(after.suspects)
        for key in after.begun:
            self._queues.put_back(key)

    def _charge(self, index: int, key: int, model: int, kind: str, cause: str) -> None:
        self._attempt_record(key, model, kind, cause)
        if self._attempts.charge(key):
            self._quarantine(key, model, index, kind, cause)
        else:
            self._attempts.started(key)
            self._workers[index].cells.hold(key)

    def _attempt_record(self, key: int, model: int, kind: str, cause: str) -> None:
        attempt = self._attempts.attempt(key)
        self._log.append(codec.ATTEMPT, self._failures.attempt(key // self._per_chunk, model, attempt, kind, cause))

    def _quarantine(self, key: int, model: int, worker: int, kind: str, cause: str) -> None:
        chunk, attempts = key // self._per_chunk, self._attempts.charges(key)
        self._fail(key, self._failures.given_up(chunk, model, worker, attempts, kind, cause))

    # time

    def _tick(self) -> None:
        now = self._clock()
        self._next_tick = now + TICK_S
        self._choice.report_load(self._announcer.note)
        self._notes.commits()
        for index, worker in enumerate(self._workers):
            if self._monitor.starts_too_long(worker, now):
                limit = self._settings.chunk_timeout_s
                self._cannot_start(f"initializer and imports took longer than chunk_timeout_s={limit:g}")
            if self._monitor.must_go(index, worker, now):
                self._backend.kill(index)

    def _stop_if_log_failed(self) -> None:
        """Drain if the log takes no more. Calls in flight are paid for, and the workers' journals keep the answers."""
        if self._log.failed is not None:
            self.stop("log")
            self._draining, self.facts = "log", self._log.failed.facts

    def _finish_if_over(self) -> None:
        if self.state is not None:
            return
        if self._draining is not None:
            if self.in_flight == 0 or self._clock() >= self._drain_until:
                self._end(self._draining)
        elif self._left == 0 and not self._open:
            self._end("parked" if self._parked else "done")

    def _end(self, state: str) -> None:
        self._choice.report_load(self._announcer.note)
        self._notes.commits()
        self.state = state
