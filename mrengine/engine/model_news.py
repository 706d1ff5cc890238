"""What tasks say of their models, beside their outcomes: it is down, it may be, it does not answer just now."""

from __future__ import annotations

from collections.abc import Callable

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import AttemptCounter
from mrengine.engine.doubts import Doubts
from mrengine.engine.failure_records import FailureRecords
from mrengine.engine.model_choice import ModelChoice
from mrengine.engine.outages import Outages
from mrengine.engine.protocol import RoundSettings
from mrengine.engine.queues import TaskQueues

__all__ = ["ModelNews"]


class ModelNews:
    """One round's. ``fail(key, record)`` and ``stop(reason, message=…)`` are the engine's; ``running(model, key)``:
    whether other tasks of the model are being run.
    """

    def __init__(
        self,
        settings: RoundSettings,
        queues: TaskQueues,
        balance: ModelChoice,
        verdicts: FailureRecords,
        docket: AttemptCounter,
        *,
        fail: Callable[[int, bytes], None],
        stop: Callable[..., None],
        running: Callable[[int, int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._queues, self._balance = settings, queues, balance
        self._verdicts, self._docket = verdicts, docket
        self._fail, self._stop, self._running, self._clock = fail, stop, running, clock
        self._doubts = Doubts()
        models = len(settings.models) if settings.all_models and len(settings.models) > 1 else 0
        patience_s, backoff_s = settings.chunk_timeout_s, max(settings.backoff_s, 0.01)
        self._outages = Outages(models, patience_s=patience_s, backoff_s=backoff_s, clock=clock) if models else None

    def told(self, kind: int, key: int | None, model: int, worker: int, cause: str) -> None:
        """What a task said; ``key`` None: it had its outcome before."""
        if kind == m.MODEL_DOWN:
            self._down(key, model, cause)
        elif key is not None:
            self._doubt(key, model, worker, cause)

    def _down(self, key: int | None, model: int, cause: str) -> None:
        none_left = self._balance.down(model)
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
        """A task came back from a model that does not answer just now; ``silent_s``: so long it had waited for it."""
        if self._outages is None:
            self._later(key)
        else:
            self._docket.started(key)  # a further attempt: it finds what this one has paid for
            self._outages.failed(model, key, cause, silent_s=silent_s)

    def ended(self, key: int, model: int, *, well: bool) -> None:
        """A task has its outcome."""
        if well:
            self._doubts.answered(model, key)
        if self._outages is not None:
            self._outages.ended(model, key)

    def holds(self, key: int) -> bool:
        """Whether a task waits aside instead of being given out."""
        return self._outages is not None and self._outages.holds(key % len(self._settings.models), key)

    def wake(self) -> None:
        """Give out what may be tried, and end what has waited long enough."""
        if self._outages is None:
            return
        for key, cause in list(self._outages.lost()):
            self._lose(key, key % len(self._settings.models), -1, cause)
        for key in list(self._outages.ready()):
            self._queues.put_back(key)

    def _later(self, key: int) -> None:
        """A further attempt after a while, that nobody is charged for."""
        self._docket.started(key)
        self._queues.later(key, self._clock() + self._settings.backoff_s)

    def _lose(self, key: int, model: int, worker: int, cause: str) -> None:
        per_chunk = len(self._settings.models) if self._settings.all_models else 1
        attempt = self._docket.attempt(key)
        self._fail(key, self._verdicts.refused(key // per_chunk, model, worker, attempt, cause))
