"""What a map function gets besides its chunk: ``context.complete()`` and the facts about its task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mrengine.engine import protocol as m
from mrengine.engine.protocol import WorkerConfig
from mrengine.errors import ConfigError, Stopped
from mrengine.log.format.records import CallRecord
from mrengine.providers.call.answers import check_cache, check_call
from mrengine.providers.call.structured import schema_of
from mrengine.records import Completion, Request, Usage
from mrengine.worker.chunk_reader import TrackedChunk
from mrengine.worker.deadline import Deadline
from mrengine.worker.external_call import ExternalCall
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.ports import StoredAnswers
from mrengine.worker.shown_answer import ShownAnswer
from mrengine.worker.stored_answers import call_digest
from mrengine.worker.turns import Turns, Unanswered

__all__ = ["Context", "TaskCalls", "WorkerServices", "check_tokens"]

DigestOf = Callable[[str | list[str]], bytes]
Stored = Callable[[bytes], Sequence[CallRecord]]


class TaskCalls:
    """One task so far: its chunk, the usage and cost of its calls, and the texts that no message may repeat.

    A map function's own threads may call, too.
    """

    def __init__(self) -> None:
        self.chunk: TrackedChunk | None = None
        self.made = 0
        self.reused = 0
        self.parked = False
        self.usage: Usage | None = None
        self.cost_usd: float | None = 0.0
        self.texts: list[str] = []
        self.answers: dict[str, None] = {}  # in order, each once: a stored one may be looked at twice
        self._asked: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def park(self) -> None:
        """A call waits for a batch: whatever the map function makes of that, the task has no outcome yet."""
        self.parked = True

    def nth(self, digest: bytes) -> int:
        """How often the same was asked before, in this attempt."""
        with self._lock:
            before = self._asked.get(digest, 0)
            self._asked[digest] = before + 1
        return before

    def own(self, usage: Usage, cost_usd: float | None) -> None:
        """Count a call of a client of the user's own."""
        with self._lock:
            self.made += 1
            self._count(usage, cost_usd)

    def add(self, completion: Completion, cost_usd: float | None) -> None:
        """Count an answer."""
        with self._lock:
            self.made += not completion.reused
            self.reused += completion.reused
            self._count(completion.usage, cost_usd)
            self.texts.append(completion.text)

    def note_answer(self, text: str) -> None:
        """Keep an answer as the model gave it, even if it is refused later: no message may repeat its text."""
        with self._lock:
            if text and text not in self.answers:
                self.answers[text] = None
                self.texts.append(text)

    def _count(self, usage: Usage, cost_usd: float | None) -> None:
        self.usage = usage if self.usage is None else self.usage + usage
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """What all tasks of one worker share."""

    config: WorkerConfig
    worker_id: int
    models: ModelClients
    stored: StoredAnswers
    emit: Callable[[int, int, int, bytes], None]
    stopping: threading.Event


class Context:
    """One task's connection to its models. Use it in the thread that runs the map function, or in threads of its own.

    ``deadline``: when the task must have ended.
    """

    __slots__ = ("_calls", "_chunk", "_deadline", "_services", "_task")

    def __init__(
        self, services: WorkerServices, task: m.Start, chunk: TrackedChunk, calls: TaskCalls, deadline: Deadline
    ) -> None:
        self._services, self._task, self._chunk, self._calls, self._deadline = services, task, chunk, calls, deadline

    @property
    def model(self) -> str | None:
        """The name of the task's model, None for a job without models."""
        return self._services.models.name(self._task.model)

    @property
    def worker_id(self) -> int:
        """The number of the worker: 0, 1, …"""
        return self._services.worker_id

    @property
    def attempt(self) -> int:
        """1, 2, …"""
        return self._task.attempt

    @property
    def priority(self) -> str:
        """The job's: "P0_critical", "P1_user" or "P2_batch"."""
        return self._services.config.priority

    @property
    def job_id(self) -> str:
        """The job's name."""
        return self._services.config.job_id

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
        cache: str | None = None,
        prefix: int = 0,
        shown: bool = False,
    ) -> Completion:
        """Ask a model; the answer is in the log before this chunk's result is.

        The same call in a later attempt, run or version of the map function takes its answer from the log
        (``completion.reused``) unless ``reuse`` is False; who asks the same twice in one attempt gets two answers, and
        the same two later. Where calls wait for a batch, the task is run again from its start when the answers are
        there; one with ``reuse=False`` is asked directly. ``max_tokens``: of the answer. ``response_model``: a pydantic
        model or a JSON schema; the validated value is ``completion.parsed``. ``on_truncation``: "error", "allow" or
        "continue". ``cache``: "auto" or "1h" where all calls begin alike, with their schema, their system and the first
        ``prefix`` characters of the prompt: the provider is asked to cache that, where it is long enough, and one call
        goes first. ``shown``: what the model writes is handed to the run's ``on_text`` as it comes. Raises a
        :class:`mrengine.errors.ModelError`.
        """
        check_call(prompt, system, max_tokens, temperature, on_truncation)
        keep = check_cache(cache, prefix)
        index = self._services.models.index(model, self._task.model)
        request = Request(
            model=self._services.models.name(index) or "",
            prompt=prompt,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            schema=None if response_model is None else schema_of(response_model),
            chunk_id=self._task.chunk,
            document_id=self._chunk.document_id,
            attempt=self._task.attempt,
            cache=keep,
            prefix=prefix,
            pieces=ShownAnswer(self._show) if shown else None,
        )
        self._calls.texts += [prompt, system or ""]
        # Who asks for a single flight means the call, whichever chunk makes it.
        text = "" if self._services.config.single_flight else self._chunk.text
        nth = self._calls.nth(call_digest("", request, text)) if reuse else 0

        owner = self._services.models.owner(index)

        def stored(digest: bytes) -> Sequence[CallRecord]:
            return self._services.stored.turns(digest, chunk=self._task.chunk, attempt=self._task.attempt, owner=owner)

        def digest_of(identity: str | list[str]) -> bytes:
            return call_digest(identity, request, text, nth)

        found = self._find(index, request, digest_of, response_model, on_truncation, stored) if reuse else None
        if found is not None:
            return found
        if self._services.stopping.is_set():
            raise Stopped
        return self._ask(index, request, digest_of, response_model, on_truncation, stored if reuse else None)

    def _show(self, at: int, piece: str) -> None:
        """A piece of the answer, for the host alone: it is in no log before the answer is whole."""
        self._services.models.note("answer:piece", {"at": at, "text": piece})

    def _earlier(self, digest: bytes) -> int | None:
        return self._services.stored.earlier(digest, chunk=self._task.chunk, attempt=self._task.attempt)

    def _find(
        self,
        index: int,
        request: Request,
        digest_of: DigestOf,
        response_model: Any,
        on_truncation: str,
        stored: Stored,
    ) -> Completion | None:
        """The answer in the log, of the model or of one that stood in for it; None: none that is good for this call."""
        for identity in self._services.models.identities(index):
            turns = Turns(stored(digest_of(identity)), self._calls.note_answer)
            with suppress(Unanswered):
                completion = turns.answer(
                    request, live=None, response_model=response_model, on_truncation=on_truncation
                )
                self._calls.add(completion, turns.cost_usd)
                return completion
        return None

    def _ask(
        self,
        index: int,
        request: Request,
        digest_of: DigestOf,
        response_model: Any,
        on_truncation: str,
        stored: Stored | None,
    ) -> Completion:
        completion, cost = self._services.models.ask(
            index,
            request,
            digest_of=digest_of,
            stored=stored or (lambda digest: ()),
            earlier=self._earlier,
            text_at=self._services.stored.text,
            on_answer=self._calls.note_answer,
            park=self._calls.park,
            task=self._task,
            chunk=self._chunk,
            deadline=self._deadline,
            response_model=response_model,
            on_truncation=on_truncation,
            reusable=stored is not None,
        )
        self._calls.add(completion, cost)
        return completion

    @contextmanager
    def budget(self, tokens: int, *, max_tokens: int = 0, model: str | None = None) -> Iterator[ExternalCall]:
        """Reserve tokens for a client of your own: ``with context.budget(1200) as grant: … grant.used(answer)``.

        Waits until the model's limits allow it. ``tokens``: of the prompt, and of the answer where ``max_tokens`` does
        not say that apart (input and output have limits and prices of their own). ``grant.used()`` takes a
        :class:`Usage`, a number of tokens, or what the client's answer says of it; without it the reserved tokens count
        as used, unless an exception says that the call was turned away or never sent.
        """
        check_tokens(tokens, max_tokens)
        index = self._services.models.index(model, self._task.model)
        own = self._services.models.own(
            index, tokens, max_tokens, task=self._task, deadline=self._deadline, done=self._calls.own
        )
        with own as grant:
            yield grant


def check_tokens(*numbers: Any) -> None:
    """ConfigError for what no budget can be asked for."""
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ConfigError("budget() takes numbers of tokens, 0 or more", setting="tokens")
