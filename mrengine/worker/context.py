"""The second argument of a map function: ``context.complete()`` and the facts about its task."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mrengine.engine import protocol as m
from mrengine.engine.protocol import WorkerConfig
from mrengine.errors import ConfigError, Stopped
from mrengine.providers.call.answers import ShownAnswer, check_cache, check_call
from mrengine.providers.call.structured import schema_of
from mrengine.records import Completion, Request
from mrengine.worker.chunk_reader import TrackedChunk
from mrengine.worker.external_call import ExternalCall
from mrengine.worker.model_clients import ModelClients
from mrengine.worker.ports import StoredAnswers
from mrengine.worker.stored_answers import call_digest
from mrengine.worker.task_calls import Deadline, Question, TaskCalls
from mrengine.worker.turns import Turns, Unanswered

__all__ = ["Context", "WorkerServices", "check_tokens"]


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """The objects that all tasks of one worker share."""

    config: WorkerConfig
    worker_id: int
    models: ModelClients
    stored: StoredAnswers
    emit: m.Emit
    stopping: threading.Event


class Context:
    """One task's connection to its models, for the thread that runs the map function and threads that it starts.

    ``began``: when the task began, on the monotonic clock.
    """

    __slots__ = ("_began", "_calls", "_chunk", "_services", "_task")

    def __init__(
        self, services: WorkerServices, task: m.Start, chunk: TrackedChunk, calls: TaskCalls, began: float
    ) -> None:
        self._services, self._task, self._chunk, self._calls, self._began = services, task, chunk, calls, began

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
        """The number of this attempt: 1, 2, …"""
        return self._task.attempt

    @property
    def priority(self) -> str:
        """The job's priority: "P0_critical", "P1_user" or "P2_batch"."""
        return self._services.config.priority

    @property
    def job_id(self) -> str:
        """The job's name."""
        return self._services.config.job_id

    @property
    def traceparent(self) -> str:
        """The W3C traceparent of the run's trace, to pass on in calls; "" without the setting ``telemetry``."""
        return self._services.config.traceparent

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
        (``completion.reused``) unless ``reuse`` is False. Two identical calls in one attempt get two answers, and the
        same two later. Where calls wait for a batch, the task runs again from its start when the answers are there; a
        call with ``reuse=False`` is made directly.

        ``max_tokens`` limits the answer. ``response_model``: a pydantic model or a JSON schema; the validated value is
        ``completion.parsed``. ``on_truncation``: "error", "allow" or "continue". ``cache``: "auto" or "1h" where all
        calls begin with the same schema, system and first ``prefix`` characters of the prompt: the provider is asked to
        cache these, if they are long enough, and one call goes first. ``shown``: the answer is handed to the run's
        ``on_text`` while the model writes it. Raises a :class:`mrengine.errors.ModelError`.
        """
        check_call(prompt, system, max_tokens, temperature, on_truncation)
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
            cache=check_cache(cache, prefix),
            prefix=prefix,
            pieces=ShownAnswer(self._show) if shown else None,
        )
        question = self._question(index, request, response_model, on_truncation, reuse=reuse)
        stored = self._find(question) if reuse else None
        if stored is not None:
            return stored
        if self._services.stopping.is_set():  # only now: an answer that is paid for is taken even while the run stops
            raise Stopped
        completion, cost = self._services.models.ask(question)
        self._calls.add(completion, cost)
        return completion

    def _deadline(self) -> Deadline:
        """The instant at which the task must have ended."""

        def notify(waiting: bool) -> None:
            self._services.emit(m.WAITING if waiting else m.RESUMED, self._task.chunk, self._task.model, b"")

        return Deadline(self._services.config.chunk_timeout_s, notify, began=self._began)

    def _question(
        self, index: int, request: Request, response_model: Any, on_truncation: str, *, reuse: bool
    ) -> Question:
        self._calls.texts += [request.prompt, request.system or ""]
        # With ``single_flight`` identical calls of different chunks are one call: the chunk's text must not tell them
        # apart.
        text = "" if self._services.config.single_flight else self._chunk.text
        return Question(
            task=self._task,
            chunk=self._chunk,
            deadline=self._calls.deadline(self._deadline),
            calls=self._calls,
            store=self._services.stored,
            index=index,
            request=request,
            response_model=response_model,
            on_truncation=on_truncation,
            reusable=reuse,
            owner=self._services.models.owner(index),
            text=text,
            nth=self._calls.nth(call_digest("", request, text)) if reuse else 0,
        )

    def _show(self, at: int, piece: str) -> None:
        """Send a piece of the answer to the host; the log has the answer once it is whole."""
        self._services.models.note("answer:piece", {"at": at, "text": piece})

    def _find(self, question: Question) -> Completion | None:
        """An answer in the log that is good for this call, of the model or of one that stood in for it; or None."""
        for identity in self._services.models.identities(question.index):
            turns = Turns(question.stored(question.digest(identity)), self._calls.note_answer)
            with suppress(Unanswered):
                completion = turns.answer(
                    question.request,
                    live=None,
                    response_model=question.response_model,
                    on_truncation=question.on_truncation,
                )
                self._calls.add(completion, turns.cost_usd)
                return completion
        return None

    @contextmanager
    def budget(self, tokens: int, *, max_tokens: int = 0, model: str | None = None) -> Iterator[ExternalCall]:
        """Reserve tokens for a client of your own: ``with context.budget(1200) as grant: … grant.used(answer)``.

        Waits until the model's limits allow it. ``tokens``: those of the prompt, and those of the answer too where
        ``max_tokens`` is 0 (input and output have limits and prices of their own). ``grant.used()`` takes a
        :class:`Usage`, a number of tokens, the client's answer, or the usage in it; without it the reserved tokens
        count as used, unless an exception says that the call was turned away or never sent.
        """
        check_tokens(tokens, max_tokens)
        index = self._services.models.index(model, self._task.model)
        deadline = self._calls.deadline(self._deadline)
        own = self._services.models.own(
            index, tokens, max_tokens, task=self._task, deadline=deadline, done=self._calls.own
        )
        with own as grant:
            yield grant


def check_tokens(*numbers: Any) -> None:
    """ConfigError unless all are numbers of tokens."""
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ConfigError("budget() takes numbers of tokens, 0 or more", setting="tokens")
