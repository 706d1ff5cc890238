"""Owns what a map function is given beside its chunk: ``context.complete()`` and the facts of its task."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mrengine.engine import messages as m
from mrengine.engine.calls import StoredCalls, call_digest, completion_of
from mrengine.engine.chunks import ObservedChunk
from mrengine.engine.models import ModelSet
from mrengine.errors import ConfigError
from mrengine.log.records import CallRecord
from mrengine.providers.structured import Invalid, schema_of, validate
from mrengine.records import Completion, Request, Usage

if TYPE_CHECKING:
    from mrengine.engine.execute import Setup

__all__ = ["Context", "Stopped", "TaskCalls"]

DigestOf = Callable[[str | list[str]], bytes]


class Stopped(BaseException):
    """The job stops: the task is given back unfinished. Not an Exception, so that no map function takes it for one."""


class TaskCalls:
    """The calls of one task so far: their usage and cost, and the texts that no message may repeat."""

    def __init__(self) -> None:
        self.made = 0
        self.reused = 0
        self.usage: Usage | None = None
        self.cost_usd: float | None = 0.0
        self.texts: list[str] = []
        self._asked: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def nth(self, digest: bytes) -> int:
        """How often the same was asked before, in this attempt."""
        with self._lock:
            self._asked[digest] += 1
            return self._asked[digest] - 1

    def add(self, completion: Completion, cost_usd: float | None) -> None:
        """Count an answer."""
        self.made += not completion.reused
        self.reused += completion.reused
        self.usage = completion.usage if self.usage is None else self.usage + completion.usage
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd
        self.texts.append(completion.text)


class Context:
    """One task's connection to its models. Use it in the thread that runs the map function, or in threads of its own.

    ``model``: the name of the task's model, None for a job without models. ``attempt``: 1, 2, …
    """

    def __init__(
        self,
        *,
        setup: Setup,
        task: m.Start,
        worker_id: int,
        chunk: ObservedChunk,
        models: ModelSet,
        stored: StoredCalls,
        calls: TaskCalls,
        emit: Callable[[int, int, int, bytes], None],
        stopping: threading.Event,
        deadline: float,
    ) -> None:
        self.worker_id, self.attempt = worker_id, task.attempt
        self.priority, self.job_id = setup.priority, setup.job_id
        self.model = models.name(task.model)
        self._setup, self._task, self._chunk, self._models = setup, task, chunk, models
        self._stored, self._calls, self._emit = stored, calls, emit
        self._stopping, self._deadline = stopping, deadline

    def complete(
        self,
        prompt: str,
        *,
        system: str | None = None,
        max_tokens: int = 1024,
        temperature: float | None = None,
        response_model: Any = None,
        model: str | None = None,
        reuse: bool = True,
        on_truncation: str = "error",
    ) -> Completion:
        """Ask a model; the answer is in the log before this chunk's result is.

        The same call in a later attempt, run or version of the map function takes its answer from the log
        (``completion.reused``) unless ``reuse`` is False; who asks the same twice in one attempt gets two answers, and
        the same two later. ``max_tokens``: of the answer. ``response_model``: a pydantic
        model or a JSON schema; the validated value is ``completion.parsed``. ``on_truncation``: "error", "allow" or
        "continue". Raises a :class:`mrengine.errors.ModelError`.
        """
        if not isinstance(prompt, str):
            raise ConfigError(f"a prompt is a str, not {type(prompt).__name__}", setting="prompt")
        index = self._models.index(model, self._task.model)
        request = Request(
            model=self._models.name(index) or "",
            prompt=prompt,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            schema=None if response_model is None else schema_of(response_model),
            chunk_id=self._task.chunk,
            document_id=self._chunk.document_id,
            attempt=self._task.attempt,
        )
        self._calls.texts.append(prompt)
        text = self._chunk.text
        nth = self._calls.nth(call_digest("", request, text)) if reuse else 0

        def digest_of(identity: str | list[str]) -> bytes:
            return call_digest(identity, request, text, nth)

        stored = self._find(index, digest_of, response_model, on_truncation) if reuse else None
        if stored is not None:
            return stored
        if self._stopping.is_set():
            raise Stopped
        return self._ask(index, request, digest_of, response_model, on_truncation, reuse)

    def _find(self, index: int, digest_of: DigestOf, response_model: Any, on_truncation: str) -> Completion | None:
        """The answer in the log, of the model or of one that stood in for it; None: none that is good for this call."""
        for identity in self._models.identities(index):
            stored = self._stored.find(digest_of(identity), chunk=self._task.chunk, attempt=self._task.attempt)
            completion = None if stored is None else _usable(stored, response_model, on_truncation)
            if stored is not None and completion is not None:
                self._calls.add(completion, stored.cost_usd)
                return completion
        return None

    def _ask(
        self,
        index: int,
        request: Request,
        digest_of: DigestOf,
        response_model: Any,
        on_truncation: str,
        reuse: bool,
    ) -> Completion:
        from mrengine.providers.base import Stopped as Interrupted

        try:
            completion, cost = self._models.ask(
                index,
                request,
                digest_of=digest_of,
                task=self._task,
                chunk=self._chunk,
                deadline=self._deadline,
                response_model=response_model,
                on_truncation=on_truncation,
                reusable=reuse,
            )
        except Interrupted:
            raise Stopped from None
        self._calls.add(completion, cost)
        return completion

    @contextmanager
    def budget(self, tokens: int, *, model: str | None = None) -> Iterator[Any]:
        """Reserve tokens for a client of your own: ``with context.budget(1200) as grant: … grant.used(usage)``.

        Waits until the model's limits allow it. ``grant.used()`` takes a :class:`Usage` or a number of tokens; without
        it the reserved tokens count as used.
        """
        index = self._models.index(model, self._task.model)
        lease = self._models.reserve(index, tokens, deadline=self._deadline)
        grant = _OwnGrant()
        try:
            yield grant
        finally:
            lease.settle(grant.usage, None)


def _usable(stored: CallRecord, response_model: Any, on_truncation: str) -> Completion | None:
    """A stored answer as this call wants it; None: it was cut, or a validator of today refuses it: ask anew."""
    completion = completion_of(stored)
    if completion.finish_reason == "length" and on_truncation != "allow":
        return None
    if response_model is None:
        return completion
    try:
        return replace(completion, parsed=validate(completion.text, response_model))
    except Invalid:
        return None


class _OwnGrant:
    """What ``context.budget()`` yields."""

    usage: Usage | None = None

    def used(self, usage: Usage | int) -> None:
        """Say what was really used."""
        self.usage = Usage(usage, 0) if isinstance(usage, int) else usage
