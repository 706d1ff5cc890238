"""The models of a worker: connects providers on first use, and starts every call. ``logged_call`` makes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgpack

from mrengine.engine import protocol as m
from mrengine.errors import ConfigError, Stopped
from mrengine.log.format import task_records
from mrengine.records import Completion, Usage, cost_sum
from mrengine.worker.batched_call import BatchedCall, BatchMode
from mrengine.worker.external_call import ExternalCall, external_call
from mrengine.worker.forks import OwnProcess
from mrengine.worker.logged_call import LoggedCall
from mrengine.worker.redact import SHORTEST_SECRET, header_parts, secrets
from mrengine.worker.stored_answers import owner_of, turn_digest
from mrengine.worker.turns import Turns

if TYPE_CHECKING:
    from mrengine.engine.protocol import WorkerConfig
    from mrengine.providers import Provider
    from mrengine.providers.call.breaker import Breaker
    from mrengine.providers.models.model import Model
    from mrengine.worker.ports import BudgetPort
    from mrengine.worker.task_calls import Deadline, OnWait, Question

__all__ = ["ModelClients"]

STOP_S = 0.2  # how long a stop may go unnoticed
ENDPOINT_S = 120.0  # how long a server that the job runs itself may take to come up


class ModelClients:
    """The models of a job in one worker, shared by its slots."""

    def __init__(
        self,
        config: WorkerConfig,
        worker: int,
        slots: int,
        emit: m.Emit,
        stopping: threading.Event,
        budget: BudgetPort | None,
        *,
        share: Callable[[task_records.CallRecord, bytes, bytes], None] = lambda call, payload, owner: None,
    ) -> None:
        self.share = share
        self._owners: dict[int, bytes] = {}
        self.config, self._worker, self._slots = config, worker, slots
        self.emit, self.stopping, self.budget = emit, stopping, budget
        self._models: tuple[Model, ...] = cloudpickle.loads(config.models_blob)
        self._providers: dict[str, Provider] = {}
        self._breakers: dict[str, Breaker] = {}
        self._process = OwnProcess()
        self._rests: dict[str, float] = {}  # by lane: until when its limits let nothing through
        self._turns = count()
        self._lock = threading.Lock()
        self._endpoints: dict[str, tuple[str, str]] = {}  # of servers that the job runs itself: URL and key
        self._endpoint_came = threading.Event()
        self.batch_mode = BatchMode.of(config.batch)

    # facts

    @property
    def rests(self) -> bool:
        """Whether a task may wait aside while its model does not answer, as other models have work meanwhile."""
        return self.config.all_models and len(self._models) > 1

    def name(self, index: int) -> str | None:
        """A model's name, None where the job has no models."""
        return self._models[index].name if self._models else None

    def index(self, name: str | None, default: int) -> int:
        """The index of a model by name; ``default`` for None. ConfigError: the job has no such model, or none."""
        if not self._models:
            raise ConfigError(
                "the job has no model: set OPENAI_API_KEY or ANTHROPIC_API_KEY, run pip install 'mrengine[local]' for "
                "the embedded one, or name one with models=",
                setting="models",
            )
        if name is None:
            return default
        for model in self._models:
            if name in (model.name, model.spec.name):
                return model.index
        names = ", ".join(model.name for model in self._models)
        raise ConfigError(f"the job has no model {name!r}; it has {names}", setting="models")

    def identities(self, index: int) -> Iterator[str | list[str]]:
        """The identities for a call's digest: the model's own, then one for each model that may stand in for it."""
        return (self._identity(index, model) for model in self._own(index))

    def _identity(self, index: int, model: Model) -> str | list[str]:
        # A stand-in's answer is stored under the pair: a call to the stand-in itself must not find it.
        first = self._models[index]
        return first.identity if model.identity == first.identity else [first.identity, model.identity]

    def owner(self, index: int) -> bytes:
        """The owner of a model's answers: a digest over the endpoints and keys of the model and its stand-ins."""
        if self.config.answers is None:
            return b""
        if index not in self._owners:
            self._owners[index] = owner_of(self._own(index))
        return self._owners[index]

    def secrets(self) -> list[str]:
        """Keys, header values and passwords, those of callable headers too: no message may repeat them."""
        values = secrets(model.spec for model in self._models)
        for provider in list(self._providers.values()):  # a copy: another slot may connect one meanwhile
            values += [part for value in getattr(provider, "hidden", ()) for part in header_parts(value)]
        return [value for value in values if len(value) >= SHORTEST_SECRET]

    # calls

    def ask(self, question: Question) -> tuple[Completion, float | None]:
        """Ask a model, and its fallbacks where it fails; the completion and its cost in USD (None: price unknown).

        In batch mode an answer that the log lacks is left to a batch: the task is parked, and Parked raised.
        """
        from mrengine.providers.call.fallbacks import ask_any, fitted

        self._process.check()
        cost_usd: float | None = 0.0

        def attempt(model: Model, breaker: Breaker, alternatives: bool) -> Completion:
            nonlocal cost_usd
            digest = question.digest(self._identity(question.index, model))
            stored = question.stored(digest)
            call: LoggedCall | BatchedCall
            mode, turn, before, request = self.batch_mode, len(stored), None, question.request
            if mode is not None and turn_digest(digest, turn) in mode.primers:
                # As the batch asks for it: this call writes the prefix that the batch's calls are to read.
                request = replace(request, cache="1h")
            if mode is not None and question.reusable and mode.takes(model, turn_digest(digest, turn)):
                before = question.earlier(digest)
                call = BatchedCall(self, mode, model, question, turn_digest(digest, turn))
            else:
                call = LoggedCall(self, model, question, digest, breaker, alternatives=alternatives, turn=turn)
            turns = Turns(stored, question.calls.note_answer, earlier=before)
            completion = turns.answer(
                fitted(request, model),
                live=call.send,
                response_model=question.response_model,
                on_truncation=question.on_truncation,
            )
            cost_usd = cost_sum(turns.cost_usd, call.cost_usd)
            return completion

        candidates = self._candidates(question.index)
        completion = ask_any(candidates, self._breakers, attempt, self._models[question.index].spec.fallbacks_on)
        return completion, cost_usd

    def _candidates(self, index: int) -> list[Model]:
        """The models that may answer a call, in order, each once for every key it has."""
        lanes = self._lanes if self.batch_mode is None else lambda model: [model]
        candidates = {lane.name: lane for model in self._own(index) for lane in lanes(model)}
        for name in candidates:
            if name not in self._breakers:
                from mrengine.providers.call.breaker import Breaker

                self._breakers.setdefault(name, Breaker())  # another slot may have made one since: it stays
        return list(candidates.values())

    def _own(self, index: int) -> list[Model]:
        """The model, its fallbacks, and the job's others where a chunk may go to any of them."""
        first = self._models[index]
        others = () if self.config.all_models else self._models
        return list({model.name: model for model in (first, *first.fallbacks, *others)}.values())

    def _lanes(self, model: Model) -> list[Model]:
        """A model once for each of its keys, in turn; keys that must wait for their limits come last."""
        if not model.lanes:
            return [model]
        turn, now = next(self._turns), time.monotonic()
        lanes = [model, *model.lanes]
        # In turn, so that all keys are used, not only the first until its limit; sorted() keeps that order.
        lanes = lanes[turn % len(lanes) :] + lanes[: turn % len(lanes)]
        return sorted(lanes, key=lambda lane: max(0.0, self._rests.get(lane.name, 0.0) - now))

    def own(
        self,
        index: int,
        tokens: int,
        max_tokens: int,
        *,
        task: m.Start,
        deadline: Deadline,
        done: Callable[[Usage, float | None], None],
    ) -> AbstractContextManager[ExternalCall]:
        """Wait until the model's limits allow a call with the user's own client; the permission for it."""
        self._process.check()
        model = self._models[index]
        if self.budget is None:
            raise ConfigError("this job has no budget to reserve from", setting="limits")
        with self.in_line(deadline, task.chunk) as on_wait:
            lease = self.budget.acquire(
                model.name,
                tokens,
                max_tokens,
                priority=self.config.priority,
                estimated=False,
                bound_tokens=tokens,
                stopping=self.stopping.is_set,
                on_wait=on_wait,
            )
        grant = ExternalCall(model.name, tokens, max_tokens)
        return external_call(lease, model, grant, task=task, round_=self.config.round, emit=self.emit, done=done)

    @contextmanager
    def in_line(self, deadline: Deadline, chunk: int) -> Iterator[OnWait]:
        """Report that a chunk's call waits for the budget and, at the end of the wait, how long it took."""
        began, waiting = time.monotonic(), ""

        def on_wait(model: str, wait_ms: float) -> None:
            nonlocal waiting
            waiting, self._rests[model] = model, time.monotonic() + wait_ms / 1e3
            self.note("budget:wait", {"model": model, "wait_ms": wait_ms}, chunk)

        try:
            with deadline.paused(on_wait) as waits:
                yield waits
        finally:
            if waiting:
                waited_ms = (time.monotonic() - began) * 1e3
                self.note("budget:waited", {"model": waiting, "wait_ms": waited_ms}, chunk)

    def note(self, name: str, fields: dict[str, Any], chunk: int = -1) -> None:
        """Tell the host of something that is no outcome, and leave it in the log for reports."""
        # The same news orders the lanes: until the limit is over, calls try another key first.
        if name == "call:retry" and fields["limited"]:
            self._rests[fields["model"]] = time.monotonic() + fields["wait_s"]
        self.emit(m.NOTE, chunk, -1, msgpack.packb([name, fields]))

    def provider(self, model: Model) -> Provider:
        """A model's provider, made on first use, once in each worker."""
        connected = self._providers.get(model.name)
        if connected is not None:
            return connected
        # Outside the lock: it may take minutes, and neither other models nor close() may wait for it.
        endpoint = self._endpoint(model) if model.kind == "local" and model.base_url is None else None
        with self._lock:
            connected = self._providers.get(model.name)
            if connected is None:
                from mrengine.providers.connect import connect

                connected = self._providers[model.name] = connect(model, endpoint=endpoint, slots=self._slots)
            return connected

    def _endpoint(self, model: Model) -> Any:
        """The address of the embedded model's server, which the supervisor starts at the first request."""
        if model.name not in self._endpoints:
            self.emit(m.NEED_ENDPOINT, -1, -1, msgpack.packb([model.name, model.context_window]))
            until = time.monotonic() + ENDPOINT_S
            while model.name not in self._endpoints:
                if self.stopping.is_set():
                    raise Stopped
                if time.monotonic() > until:
                    raise ConfigError(f"{model.name} did not come up within {ENDPOINT_S:g} s", setting="models")
                # One event for all models and slots: a slot may clear what another waits for, so the wait is short
                # and the table decides.
                self._endpoint_came.wait(STOP_S)
                self._endpoint_came.clear()
        endpoint = self._endpoints[model.name]
        if not endpoint[0]:
            raise ConfigError(endpoint[1], setting="models")
        return endpoint

    def endpoint_came(self, name: str, url: str, key: str) -> None:
        """Take the supervisor's answer. Without ``url`` there is no server, and ``key`` says why."""
        self._endpoints[name] = (url, key)
        self._endpoint_came.set()

    def close(self) -> None:
        """Close all providers."""
        with self._lock:
            for provider in self._providers.values():
                provider.close()
            self._providers.clear()
