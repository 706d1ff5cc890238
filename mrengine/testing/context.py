"""``FakeContext``: runs a map function under test without a runner, a process or a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mrengine.log.format.instances import check_result_type, instance_of
from mrengine.providers.call.answers import answer, check_cache, check_call
from mrengine.providers.call.structured import schema_of
from mrengine.providers.fake import Answer, FakeProvider, fake
from mrengine.records import Chunk, Completion, ModelSpec, Request
from mrengine.worker.context import Context, check_tokens
from mrengine.worker.external_call import ExternalCall
from mrengine.worker.task_runner import stored_value

__all__ = ["FakeContext", "fake_chunk"]


class FakeContext(Context):
    """A ``context`` whose calls a fake answers: ``context.run(map_fn, "some text")`` returns what a job would store.

    ``answer``: a str, a callable(Request) → str, Completion or exception, or a model of ``fake()``; None: the ``fake``
    model's own answer, the smallest value that fits a ``response_model``. An exception is raised as a real call raises
    it after its retries. ``requests``: all requests, repeated ones included; ``grants``: what ``budget()`` reserved.
    """

    # Slots in place of the properties of Context, which ask the services of a worker.
    __slots__ = (
        *("attempt", "job_id", "model", "priority", "traceparent", "worker_id"),
        *("_provider", "chunk", "grants", "requests"),
    )
    attempt: int
    job_id: str
    model: str
    priority: str
    traceparent: str
    worker_id: int

    def __init__(
        self,
        answer: Answer | ModelSpec | None = None,
        *,
        model: str = "fake",
        worker_id: int = 0,
        attempt: int = 1,
        priority: str = "P1_user",
        job_id: str = "test",
    ) -> None:
        if isinstance(answer, ModelSpec):
            spec = answer
        else:
            spec = ModelSpec(model, provider="fake") if answer is None else fake(answer, name=model)
        self._provider: Any = spec.provider(spec) if isinstance(spec.provider, type) else FakeProvider(spec)
        self.model, self.worker_id, self.attempt = spec.name, worker_id, attempt
        self.priority, self.job_id, self.traceparent = priority, job_id, ""
        self.chunk: Chunk | None = None
        self.requests: list[Request] = []
        self.grants: list[ExternalCall] = []

    def run(self, map_fn: Callable[[Any, Any], Any], chunk: Chunk | str, *, result_type: Any = None) -> Any:
        """Call ``map_fn(chunk, self)``; returns its value as a job would return it, normalised and with its type.

        ``chunk``: a Chunk, or the text of one. Raises what the map function raises, and TypeError for a value that
        cannot be stored, with which a chunk fails.
        """
        kind = check_result_type(result_type if result_type is not None else getattr(map_fn, "result_type", None))
        self.chunk = fake_chunk(chunk) if isinstance(chunk, str) else chunk
        plain, made = stored_value(map_fn(self.chunk, self), kind)
        return instance_of(kind, plain, made=made)

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
        """The fake's answer, checked, continued and validated like that of a model."""
        check_call(prompt, system, max_tokens, temperature, on_truncation)
        keep = check_cache(cache, prefix)  # the checks of a real call: a test must not pass where a job would fail
        request = Request(
            model=model or self.model,
            prompt=prompt,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            schema=None if response_model is None else schema_of(response_model),
            chunk_id=None if self.chunk is None else self.chunk.id,
            document_id=None if self.chunk is None else self.chunk.document_id,
            attempt=self.attempt,
            cache=keep,
            prefix=prefix,
        )
        return answer(self._send, request, response_model=response_model, on_truncation=on_truncation)

    def _send(self, request: Request) -> Completion:
        self.requests.append(request)
        completion: Completion = self._provider.complete(request)  # a custom class may return anything
        return completion

    @contextmanager
    def budget(self, tokens: int, *, max_tokens: int = 0, model: str | None = None) -> Iterator[ExternalCall]:
        """Grant at once; ``grants`` keeps what ``used()`` reports."""
        check_tokens(tokens, max_tokens)
        grant = ExternalCall(model or self.model, tokens, max_tokens)
        self.grants.append(grant)
        yield grant


def fake_chunk(
    text: str, *, id: int = 0, document_id: str = "document", start: int = 0, overlap: int = 0, kind: str = "prose"
) -> Chunk:
    """A chunk of this text, as a job would cut it. ``start``: where it begins, behind its ``overlap`` characters."""
    from mrengine.chunking.tokens import tokenizer

    return Chunk(id, document_id, start, start + len(text) - overlap, overlap, tokenizer.count(text), kind, text)
