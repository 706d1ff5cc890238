"""Owns a worker's models: their providers, made when first used, and the road of one call to them.

Every call goes ``intent record → budget → provider → call record``, and both records go into the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgpack

from mrengine.budget import Stopped as NoGrant
from mrengine.budget import estimate_tokens, upper_bound
from mrengine.engine import protocol as m
from mrengine.errors import ConfigError, ModelError, ModelRefused, RateLimited
from mrengine.log.format import codec, records
from mrengine.providers.base import Stopped
from mrengine.providers.call.error_map import TURNED_AWAY
from mrengine.providers.call.structured import in_words
from mrengine.records import Chunk, Completion, Request, Usage
from mrengine.worker.external_call import ExternalCall, external_call

if TYPE_CHECKING:
    from mrengine.engine.setup import WorkerConfig
    from mrengine.providers.base import Provider
    from mrengine.providers.call.breaker import Breaker
    from mrengine.providers.models.model import Model
    from mrengine.worker.deadline import Deadline

__all__ = ["ModelClients"]

Emit = Callable[[int, int, int, bytes], None]
STOP_S = 0.2  # a stop is noticed within
ENDPOINT_S = 120.0  # how long a server that the job runs itself may take to come up


class ModelClients:
    """The models of a job in one worker, shared by its slots."""

    def __init__(
        self, setup: WorkerConfig, worker: int, slots: int, emit: Emit, stopping: threading.Event, budget: Any
    ) -> None:
        self.setup, self._worker, self._slots = setup, worker, slots
        self.emit, self.stopping, self.budget = emit, stopping, budget
        self._models: tuple[Model, ...] = cloudpickle.loads(setup.models_blob)
        self._providers: dict[str, Provider] = {}
        self._breakers: dict[str, Breaker] = {}
        self._lock = threading.Lock()
        self._endpoints = dict(setup.endpoints)
        self._endpoint_came = threading.Event()

    # facts

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
        told = ", ".join(model.name for model in self._models)
        raise ConfigError(f"the job has no model {name!r}; it has {told}", setting="models")

    def identities(self, index: int) -> Iterator[str | list[str]]:
        """What enters the digest of a call to a model: its own identity, then those with each that may stand in."""
        return (self._identity(index, model) for model in self._candidates(index))

    def _identity(self, index: int, model: Model) -> str | list[str]:
        first = self._models[index]
        return first.identity if model.name == first.name else [first.identity, model.identity]

    # calls

    def ask(
        self,
        index: int,
        request: Request,
        *,
        digest_of: Callable[[str | list[str]], bytes],
        task: m.Start,
        chunk: Chunk,
        patience: Deadline,
        response_model: Any,
        on_truncation: str,
        reusable: bool,
    ) -> tuple[Completion, float | None]:
        """Ask a model, and its fallbacks where it fails; the completion and its cost in USD (None: price unknown)."""
        from mrengine.providers.call.answers import answer
        from mrengine.providers.call.fallbacks import ask_any

        last: list[_Call] = []

        def attempt(model: Model, breaker: Breaker, alternatives: bool) -> Completion:
            digest = digest_of(self._identity(index, model))
            call = _Call(self, model, task, digest, chunk, patience, breaker, alternatives=alternatives)
            last[:] = [call]
            try:
                fitted = _fitted(request, model)
                completion = answer(call.send, fitted, response_model=response_model, on_truncation=on_truncation)
            except BaseException:  # a stop or a spent Budget, too: what was answered before it was paid for
                call.settle()
                raise
            call.keep(completion, reusable)
            return completion

        candidates = self._candidates(index)
        completion = ask_any(candidates, self._breakers, attempt)
        return completion, last[0].cost_usd

    def _candidates(self, index: int) -> list[Model]:
        """The model, its fallbacks, and the job's others where a chunk may go to any of them."""
        first = self._models[index]
        others = () if self.setup.all_models else self._models
        found = {model.name: model for model in (first, *first.fallbacks, *others)}
        for name in found:
            if name not in self._breakers:
                from mrengine.providers.call.breaker import Breaker

                self._breakers.setdefault(name, Breaker())
        return list(found.values())

    def own(
        self,
        index: int,
        tokens: int,
        max_tokens: int,
        *,
        task: m.Start,
        patience: Deadline,
        done: Callable[[Usage, float | None], None],
    ) -> AbstractContextManager[ExternalCall]:
        """Leave for a call with a client of the user's own, once the model's limits give it."""
        model = self._models[index]
        if self.budget is None:
            raise ConfigError("this job has no budget to reserve from", setting="limits")
        try:
            with patience.standing_in_line(self.on_wait) as on_wait:
                lease = self.budget.acquire(
                    model.name,
                    tokens,
                    max_tokens,
                    priority=self.setup.priority,
                    estimated=False,
                    bound_tokens=tokens,
                    stopping=self.stopping.is_set,
                    on_wait=on_wait,
                )
        except NoGrant:
            raise Stopped from None
        grant = ExternalCall(model.name, tokens, max_tokens)
        return external_call(lease, model, grant, task=task, round_=self.setup.round, emit=self.emit, done=done)

    def on_wait(self, model: str, wait_ms: float) -> None:
        self.note("budget:wait", {"model": model, "wait_ms": wait_ms})

    def note(self, name: str, fields: dict[str, Any]) -> None:
        """Tell the host something that is not for the log."""
        self.emit(m.NOTE, -1, -1, msgpack.packb([name, fields]))

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


def _fitted(request: Request, model: Model) -> Request:
    """No model is asked for more than it can say: a fallback's limit may be smaller than the first one's."""
    most = model.max_output
    return request if most is None or request.max_tokens <= most else replace(request, max_tokens=most)


class _Call:
    """One call of ``complete()`` to one model: each request is an intent in the log, and settled by a CALL.

    It stands between the retry loop and both of its partners: as the provider it writes intents, as the budget it adds
    what the loop does not know.
    """

    def __init__(
        self,
        models: ModelClients,
        model: Model,
        task: m.Start,
        digest: bytes,
        chunk: Chunk,
        patience: Deadline,
        breaker: Breaker,
        *,
        alternatives: bool,
    ) -> None:
        self._models, self._model, self._task, self._digest = models, model, task, digest
        self._chunk, self._patience, self._breaker = chunk, patience, breaker
        self._alternatives = alternatives
        self._usage = Usage()
        self._latency_ms = 0.0
        self._unsettled = False
        self._bound = 0
        self._lease: Any = None
        self.cost_usd: float | None = None

    def send(self, request: Request) -> Completion:
        """One turn: the retry loop."""
        from mrengine.providers.call import context_window
        from mrengine.providers.call.retry import call

        if self._model.context_window is not None:
            context_window.check(request, name=self._model.name, window=self._model.context_window)
        self._bound = upper_bound(request.prompt, request.system, extra_bytes=context_window.room_beside(request))
        return call(
            self,
            request,
            deadline=lambda: self._patience.deadline,
            model=self._model.name,
            budget=self if self._models.budget is not None else None,
            input_tokens=self._tokens(request),
            priority=self._models.setup.priority,
            backoff_s=self._models.setup.backoff_s,
            stopping=self._models.stopping,
            breaker=self._breaker,
            alternatives=self._alternatives,
            on_retry=self._on_retry,
            on_wait=self._models.on_wait,
        )

    def _tokens(self, request: Request) -> int:
        rest = "".join(text for _, text in request.turns) + ("" if request.schema is None else in_words(request.schema))
        return estimate_tokens(request.prompt + rest, self._chunk.text, self._chunk.tokens, request.system)

    def acquire(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        priority: Any,
        stopping: threading.Event,
        on_wait: Any,
    ) -> Any:
        """The budget that the retry loop sees."""
        try:
            with self._patience.standing_in_line(on_wait) as waiting:
                self._lease = self._models.budget.acquire(
                    model,
                    input_tokens,
                    output_tokens,
                    priority=priority,
                    bound_tokens=self._bound,
                    stopping=stopping.is_set,
                    on_wait=waiting,
                )
        except NoGrant:
            raise Stopped from None
        return self._lease

    def complete(self, request: Request) -> Completion:
        """The provider that the retry loop sees: an intent before each request, its settlement after a refusal."""
        if self._models.stopping.is_set():
            raise Stopped
        self.settle()  # an answer before this one: to a first question, or an earlier part
        provider = self._models.provider(self._model)
        self._emit_intent(request)
        try:
            completion: Any = provider.complete(request)
        except ModelError as error:
            if error.usage is not None and error.usage.total_tokens:  # an answer that is none, and was paid for
                self._emit_call(error.usage, "", "no answer", 0.0, reusable=False)
            elif not error.sent or error.status in TURNED_AWAY:
                self._emit_call(Usage(), "", "refused", 0.0, reusable=False)
            raise
        if not isinstance(completion, Completion):  # a provider of somebody else's
            told = f"{self._model.name}: its provider gave a {type(completion).__name__}, not a Completion"
            raise ModelRefused(told, model=self._model.name)
        self._usage, self._latency_ms, self._unsettled = completion.usage, completion.latency_ms, True
        return completion

    def close(self) -> None:
        """Part of the provider's protocol; the provider belongs to the set."""

    def settle(self) -> None:
        """An answer that is not kept was paid for, all the same."""
        if self._unsettled:
            self._emit_call(self._usage, "", "asked again", self._latency_ms, reusable=False)

    def keep(self, completion: Completion, reusable: bool) -> None:
        """The final answer goes into the log, and may answer an identical call later."""
        self._emit_call(
            self._usage, completion.text, completion.finish_reason, completion.latency_ms, reusable=reusable
        )

    def _emit_call(self, usage: Usage, text: str, reason: str, latency_ms: float, *, reusable: bool) -> None:
        price = self._model.price
        cost = None if price is None else price.cost(usage)
        self.cost_usd = cost if self.cost_usd is None or cost is None else self.cost_usd + cost
        self._unsettled = False
        record = records.CallRecord(
            round=self._models.setup.round,
            chunk_id=self._task.chunk,
            model_index=self._task.model,
            digest=self._digest,
            at=time.time(),
            usage=usage,
            cost_usd=cost,
            reusable=reusable,
            model=self._model.name,
            finish_reason=reason,
            latency_ms=latency_ms,
            text=text,
        )
        self._models.emit(codec.CALL, self._task.chunk, self._task.model, records.pack_call(record))

    def _emit_intent(self, request: Request) -> None:
        record = records.IntentRecord(
            round=self._models.setup.round,
            chunk_id=self._task.chunk,
            model_index=self._task.model,
            digest=self._digest,
            at=time.time(),
            input_tokens=self._tokens(request),
            output_tokens=request.max_tokens,
            bound_tokens=self._bound,
            model=self._model.name,
        )
        self._models.emit(codec.INTENT, self._task.chunk, self._task.model, records.pack_intent(record))

    def _on_retry(self, error: ModelError, attempt: int, wait_s: float) -> None:
        fields = {"chunk_id": self._task.chunk, "model": self._model.name, "status": error.status, "attempt": attempt}
        told = {"error": str(error), "wait_s": wait_s, "limited": isinstance(error, RateLimited)}
        self._models.note("call:retry", {**fields, **told})
