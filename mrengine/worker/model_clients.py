"""The models of a worker: providers are connected when first used, and each call starts here.

How one call goes is ``logged_call``'s.
"""

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
from mrengine.records import Completion, Usage
from mrengine.worker.batched_call import BatchedCall, BatchMode
from mrengine.worker.external_call import ExternalCall, external_call
from mrengine.worker.forks import OwnProcess
from mrengine.worker.logged_call import LoggedCall, tokens_of
from mrengine.worker.owners import owner_of
from mrengine.worker.redact import SHORTEST_SECRET, header_parts, secrets
from mrengine.worker.stored_answers import turn_digest
from mrengine.worker.turns import Turns

if TYPE_CHECKING:
    from mrengine.engine.protocol import WorkerConfig
    from mrengine.providers import Provider
    from mrengine.providers.call.breaker import Breaker
    from mrengine.providers.models.model import Model
    from mrengine.worker.deadline import Deadline, OnWait
    from mrengine.worker.ports import BudgetPort
    from mrengine.worker.task_calls import Question

__all__ = ["ModelClients"]

Emit = Callable[[int, int, int, bytes], None]
STOP_S = 0.2  # a stop is noticed within
ENDPOINT_S = 120.0  # how long a server that the job runs itself may take to come up


class ModelClients:
    """The models of a job in one worker, shared by its slots."""

    def __init__(
        self,
        config: WorkerConfig,
        worker: int,
        slots: int,
        emit: Emit,
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
        """Whether a task may wait aside while its model does not answer: others are asked meanwhile."""
        return self.config.all_models and len(self._models) > 1

    def name(self, index: int) -> str | None:
        """A model's name, None where the job has no models."""
        return self._models[index].name if self._models else None

    def index(self, name: str | None, default: int) -> int:
        """A model by name; None is the task's own. ConfigError: the job has no such model, or none at all."""
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
        """What enters the digest of a call to a model: its own identity, then those with each that may stand in."""
        return (self._identity(index, model) for model in self._own(index))

    def _identity(self, index: int, model: Model) -> str | list[str]:
        first = self._models[index]
        return first.identity if model.identity == first.identity else [first.identity, model.identity]

    def owner(self, index: int) -> bytes:
        """Whose answers a model's are: its endpoint and the keys that it is asked with, its stand-ins' too."""
        if self.config.answers is None:
            return b""
        if index not in self._owners:
            self._owners[index] = owner_of(self._own(index))
        return self._owners[index]

    def secrets(self) -> list[str]:
        """Keys, header values and passwords, those of callable headers too: no message may repeat them."""
        found = secrets(model.spec for model in self._models)
        for provider in list(self._providers.values()):  # a copy: another slot may connect one meanwhile
            found += [part for value in getattr(provider, "hidden", ()) for part in header_parts(value)]
        return [value for value in found if len(value) >= SHORTEST_SECRET]

    # calls

    def ask(self, question: Question) -> tuple[Completion, float | None]:
        """Ask a model, and its fallbacks where it fails; the completion and its cost in USD (None: price unknown).

        In batch mode what the log lacks is asked for in a batch: the task is parked, and Parked raised.
        """
        from mrengine.providers.call.fallbacks import ask_any, fitted

        self._process.check()
        cost_usd: float | None = 0.0

        def attempt(model: Model, breaker: Breaker, alternatives: bool) -> Completion:
            nonlocal cost_usd
            digest = question.digest(self._identity(question.index, model))
            known = question.stored(digest)
            call: LoggedCall | BatchedCall
            mode, turn, before, request = self.batch_mode, len(known), None, question.request
            if mode is not None and turn_digest(digest, turn) in mode.primers:
                request = replace(request, cache="1h")  # as the batch asks for it
            if mode is not None and question.reusable and mode.takes(model, turn_digest(digest, turn)):
                before = question.earlier(digest)
                call = BatchedCall(self, mode, model, question, turn_digest(digest, turn), tokens=tokens_of)
            else:
                call = LoggedCall(self, model, question, digest, breaker, alternatives=alternatives, turn=turn)
            turns = Turns(known, question.calls.note_answer, earlier=before)
            completion = turns.answer(
                fitted(request, model),
                live=call.send,
                response_model=question.response_model,
                on_truncation=question.on_truncation,
            )
            unknown = turns.cost_usd is None or call.cost_usd is None
            cost_usd = None if unknown else (turns.cost_usd or 0.0) + (call.cost_usd or 0.0)
            return completion

        candidates = self._candidates(question.index)
        completion = ask_any(candidates, self._breakers, attempt, self._models[question.index].spec.fallbacks_on)
        return completion, cost_usd

    def _candidates(self, index: int) -> list[Model]:
        """Those that may answer a call, by each of their keys."""
        lanes = self._lanes if self.batch_mode is None else lambda model: [model]
        found = {lane.name: lane for model in self._own(index) for lane in lanes(model)}
        for name in found:
            if name not in self._breakers:
                from mrengine.providers.call.breaker import Breaker

                self._breakers.setdefault(name, Breaker())
        return list(found.values())

    def _own(self, index: int) -> list[Model]:
        """The model, its fallbacks, and the job's others where a chunk may go to any of them."""
        first = self._models[index]
        others = () if self.config.all_models else self._models
        return list({model.name: model for model in (first, *first.fallbacks, *others)}.values())

    def _lanes(self, model: Model) -> list[Model]:
        """A model by each of its keys, in turn; those that must wait for their limits come last."""
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
        """Permission for a call with a client of the user's own, once the model's limits allow it."""
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
        """Reports that a chunk's call waits for a budget, once that takes a while, and at its end how long it took."""
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
        if name == "call:retry" and fields["limited"]:
            self._rests[fields["model"]] = time.monotonic() + fields["wait_s"]
        self.emit(m.NOTE, chunk, -1, msgpack.packb([name, fields]))

    def provider(self, model: Model) -> Provider:
        """A model's provider; made once a worker, after the fork."""
        found = self._providers.get(model.name)
        if found is not None:
            return found
        # Not under the lock: it may take minutes, and other models and close() do not wait for it.
        endpoint = self._endpoint(model) if model.kind == "local" and model.base_url is None else None
        with self._lock:
            found = self._providers.get(model.name)
            if found is None:
                from mrengine.providers.connect import connect

                found = self._providers[model.name] = connect(model, endpoint=endpoint, slots=self._slots)
            return found

    def _endpoint(self, model: Model) -> Any:
        """Where the embedded model is served; the supervisor starts it when it is first asked for."""
        if model.name not in self._endpoints:
            self.emit(m.NEED_ENDPOINT, -1, -1, msgpack.packb([model.name, model.context_window]))
            until = time.monotonic() + ENDPOINT_S
            while model.name not in self._endpoints:
                if self.stopping.is_set():
                    raise Stopped
                if time.monotonic() > until:
                    raise ConfigError(f"{model.name} did not come up within {ENDPOINT_S:g} s", setting="models")
                self._endpoint_came.wait(STOP_S)
                self._endpoint_came.clear()
        endpoint = self._endpoints[model.name]
        if not endpoint[0]:
            raise ConfigError(endpoint[1], setting="models")
        return endpoint

    def endpoint_came(self, name: str, url: str, key: str) -> None:
        """The supervisor's answer; an empty ``url`` means that ``key`` says why there is none."""
        self._endpoints[name] = (url, key)
        self._endpoint_came.set()

    def close(self) -> None:
        """Close all providers."""
        with self._lock:
            for provider in self._providers.values():
                provider.close()
            self._providers.clear()
