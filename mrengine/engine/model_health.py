"""Follows the health of a round's models by the reports of tasks: a model is down, may be down, or does not answer now.

A refusal is not always about the model: gateways answer 401 or 404 now and then, and a firewall answers 403 to the
content of one text. So a model is given up only if it has never answered, or if several chunks in a row were refused.
Only the engine can judge that: it sees the tasks of all workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Literal

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import AttemptCounter
from mrengine.engine.failure_records import FailureRecords
from mrengine.engine.model_choice import ModelChoice
from mrengine.engine.outages import Outages
from mrengine.engine.protocol import RoundSettings
from mrengine.engine.queues import TaskQueues

__all__ = ["Doubts", "ModelHealth"]

IN_A_ROW = 3  # so many refused chunks without an answer in between give a model up
TRIES = 3  # so many refusals of one chunk fail it, where others are answered

Judgement = Literal["model", "chunk", "again"]


class Doubts:
    """Counts the doubtful refusals of a round, by model and task, and judges them."""

    def __init__(self) -> None:
        self._answered: set[int] = set()
        self._row: dict[int, set[int]] = defaultdict(set)
        self._tries: dict[int, int] = defaultdict(int)

    def answered(self, model: int, key: int) -> None:
        """Note that a task has its result, so its model works."""
        self._answered.add(model)
        if self._row or self._tries:
            self._row.pop(model, None)
            self._tries.pop(key, None)

    def refused(self, model: int, key: int, *, others: bool) -> Judgement:
        """Judge a doubtful refusal: it ends the model or the chunk, or the call is made again.

        ``others``: other chunks' calls to this model are under way, and their ends will decide.
        """
        self._row[model].add(key)
        self._tries[key] += 1
        if len(self._row[model]) >= IN_A_ROW:
            return "model"
        if model in self._answered:
            return "chunk" if self._tries[key] >= TRIES else "again"
        return "again" if others and self._tries[key] < TRIES else "model"


class ModelHealth:
    """The health of one round's models. ``fail(key, record)`` and ``stop(reason, message=…)`` are the engine's.
    ``running(model, key)``: whether other tasks of the model are running.
    """

    def __init__(
        self,
        settings: RoundSettings,
        queues: TaskQueues,
        choice: ModelChoice,
        failures: FailureRecords,
        attempts: AttemptCounter,
        *,
        fail: Callable[[int, bytes], None],
        stop: Callable[..., None],
        running: Callable[[int, int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._queues, self._choice = settings, queues, choice
        self._failures, self._attempts = failures, attempts
        self._fail, self._stop, self._running, self._clock = fail, stop, running, clock
        self._doubts = Doubts()
        # Only where every model runs on every chunk; otherwise the task is simply tried again later.
        self._outages: Outages | None = None
        if settings.per_chunk > 1:
            give_up_s, backoff_s = settings.chunk_timeout_s, max(settings.backoff_s, 0.01)
            self._outages = Outages(settings.per_chunk, give_up_s=give_up_s, backoff_s=backoff_s, clock=clock)

    def reported(self, kind: int, key: int | None, model: int, worker: int, cause: str) -> None:
        """Take a task's report that its model is down, or may be. ``key`` None: the task had its outcome before."""
        if kind == m.MODEL_DOWN:
            self._down(key, model, cause)
        elif key is not None:
            self._doubt(key, model, worker, cause)

    def _down(self, key: int | None, model: int, cause: str) -> None:
        none_left = self._choice.down(model)
        if key is not None:
            self._queues.put_back(key)
        if self._settings.all_models or none_left:
            self._stop("failed", message=f"no model is left that a call can use: {cause}")

    def _doubt(self, key: int, model: int, worker: int, cause: str) -> None:
        judgement = self._doubts.refused(model, key, others=self._running(model, key))
        if judgement == "model":
            self._down(key, model, cause)
        elif judgement == "chunk":
            self._lose(key, model, worker, cause)
        else:
            self._later(key)

    def rests(self, key: int, model: int, cause: str, silent_s: float) -> None:
        """Take back a task whose model does not answer just now; ``silent_s``: how long the task has waited for it."""
        if self._outages is None:
            self._later(key)
        else:
            self._attempts.started(key)  # a further attempt: it finds what this one has paid for
            self._outages.failed(model, key, cause, silent_s=silent_s)

    def ended(self, key: int, model: int, *, well: bool) -> None:
        """Note that a task has its outcome."""
        if well:
            self._doubts.answered(model, key)
        if self._outages is not None:
            self._outages.ended(model, key)

    def holds(self, key: int) -> bool:
        """Whether a task waits aside instead of being given out."""
        return self._outages is not None and self._outages.holds(key % self._settings.per_chunk, key)

    def wake(self) -> None:
        """Fail tasks that have waited aside for too long, and queue those that may be tried."""
        if self._outages is None:
            return
        for key, cause in list(self._outages.lost()):
            self._lose(key, key % self._settings.per_chunk, -1, cause)
        for key in list(self._outages.ready()):
            self._queues.put_back(key)

    def _later(self, key: int) -> None:
        """Queue a further attempt for later, without charging the task."""
        self._attempts.started(key)
        self._queues.later(key, self._clock() + self._settings.backoff_s)

    def _lose(self, key: int, model: int, worker: int, cause: str) -> None:
        chunk, attempt = key // self._settings.per_chunk, self._attempts.attempt(key)
        self._fail(key, self._failures.refused(chunk, model, worker, attempt, cause))
