"""Makes one call durable: ``intent record → budget → provider → call record``. Both records go into the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mrengine.budget import estimate_tokens, upper_bound
from mrengine.errors import ModelError, ModelRefused, RateLimited, Stopped
from mrengine.log.format import codec, task_records
from mrengine.providers.call.answers import ShownAnswer
from mrengine.providers.call.counting import completed
from mrengine.providers.call.error_map import turned_away
from mrengine.providers.call.prefixes import cacheable, prefix_digest
from mrengine.providers.call.structured import in_words
from mrengine.providers.call.thoughts import apart
from mrengine.providers.http.no_answer import no_answer
from mrengine.records import Chunk, Completion, Request, cost_sum
from mrengine.worker.redact import redacted_message
from mrengine.worker.stored_answers import completion_of, turn_digest
from mrengine.worker.turns import LARGEST_TEXT, turn_of

if TYPE_CHECKING:
    from mrengine.providers.call.breaker import Breaker
    from mrengine.providers.call.retry import LeaseLike
    from mrengine.providers.models.model import Model
    from mrengine.worker.model_clients import ModelClients
    from mrengine.worker.ports import BudgetPort
    from mrengine.worker.task_calls import Question

__all__ = ["LoggedCall", "fitting_bound", "tokens_of"]

COMMIT_S, LOOK_S = 5.0, 0.02  # how long, and how often, the answer to an identical call is looked for in the log


def tokens_of(request: Request, chunk: Chunk) -> int:
    """An estimate of a request's input tokens, by mrengine's own count."""
    rest = "".join(text for _, text in request.turns) + ("" if request.schema is None else in_words(request.schema))
    return estimate_tokens(request.prompt + rest, chunk.text, chunk.tokens, request.system)


def fitting_bound(request: Request, model: Model) -> int:
    """An upper bound of a request's input tokens. ContextOverflow: they do not fit into the model's window."""
    from mrengine.providers.call import context_window

    if model.context_window is not None:
        context_window.check(request, name=model.name, window=model.context_window)
    return upper_bound(request.prompt, request.system, extra_bytes=context_window.room_beside(request))


class _Answered(BaseException):
    """An identical call was answered meanwhile."""

    # Not an Exception: the retry loop must let it pass.
    def __init__(self, call: task_records.CallRecord) -> None:
        self.call = call


class LoggedCall:
    """One call of ``complete()`` to one model: writes an INTENT before each request, and a CALL that settles it.

    ``send()`` is called once for each turn: the question, re-asks after a bad answer, continuations of a cut one.
    """

    def __init__(
        self,
        models: ModelClients,
        model: Model,
        question: Question,
        digest: bytes,
        breaker: Breaker,
        *,
        alternatives: bool,
        turn: int,
    ) -> None:
        """``digest``: the question's digest for this model. ``alternatives``: another model may answer instead.
        ``turn``: how many answers to this call the log has already.
        """
        self._models, self._model, self._question, self._digest = models, model, question, digest
        self._task, self._chunk, self._deadline = question.task, question.chunk, question.deadline
        self._breaker, self._alternatives, self._turn = breaker, alternatives, turn
        self._on_answer = question.calls.note_answer
        self._bound = 0
        self._prefix = ""
        self._texts: list[str] = []  # what no message may repeat
        self.cost_usd: float | None = 0.0

    def send(self, request: Request) -> Completion:
        """Make the request of one turn, with retries; its completion."""
        request = cacheable(request, self._model)
        self._prefix = prefix_digest(request)
        self._texts = [self._chunk.text, request.prompt, request.system or ""]
        self._bound = fitting_bound(request, self._model)
        try:
            return self._asked(request)
        except _Answered as answered:  # another task has paid for the same call while this one waited for permission
            self._breaker.withdrawn()  # it had let this call through: else it would wait for its result
            self._turn += 1
            self._on_answer(answered.call.text)
            return completion_of(answered.call)

    def _asked(self, request: Request) -> Completion:
        from mrengine.providers.call.retry import Caller, call

        budget = self._models.budget
        caller = Caller(
            stopping=self._models.stopping,
            alternatives=self._alternatives,
            aside=self._models.rests and self._model.index == self._task.model,
            on_retry=self._on_retry,
            pause=self._paused,
        )
        return call(
            self._attempt,
            request,
            deadline=lambda: self._deadline.at,
            model=self._model.name,
            reserve=None if budget is None else lambda: self._reserve(budget, request),
            backoff_s=self._models.config.backoff_s,
            breaker=self._breaker,
            caller=caller,
        )

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Stop the task's clock while it waits for a limit, which is not its fault."""
        with self._deadline.paused(lambda model, wait_ms: None) as waiting:
            waiting(self._model.name, 0.0)
            yield

    def _tokens(self, request: Request) -> int:
        return tokens_of(request, self._chunk)

    def _reserve(self, budget: BudgetPort, request: Request) -> LeaseLike:
        """Wait for permission to make one attempt; the task's clock is stopped meanwhile."""
        with self._models.in_line(self._deadline, self._task.chunk) as waiting:
            lease = budget.acquire(
                self._model.name,
                self._tokens(request),
                request.max_tokens,
                priority=self._models.config.priority,
                bound_tokens=self._bound,
                stopping=self._models.stopping.is_set,
                on_wait=waiting,
                gates=self._gates(),
            )
        if getattr(lease, "held", False) and (answer := self._of_another(self._models.stopping)) is not None:
            lease.settle(None, None, made=False)
            raise _Answered(answer)
        return lease

    def _gates(self) -> tuple[str, str]:
        alone = self._question.reusable and self._models.config.single_flight
        return turn_digest(self._digest, self._turn).hex() if alone else "", self._prefix

    def _of_another(self, stopping: Any) -> task_records.CallRecord | None:
        """Wait until the answer to an identical call is durable. None: there is none after ``COMMIT_S``."""
        until = time.monotonic() + COMMIT_S
        while not stopping.is_set():
            stored = self._question.stored(self._digest)
            if len(stored) > self._turn:
                return stored[self._turn]
            if time.monotonic() > until:
                break
            stopping.wait(LOOK_S)
        return None

    def _attempt(self, request: Request) -> Completion:
        """Make one request: INTENT, provider, then the CALL of its answer or refusal."""
        if self._models.stopping.is_set():
            raise Stopped
        provider = self._models.provider(self._model)
        # Before the request: whoever dies from here on, it may be billed, and the next budget counts open intents.
        self._emit_intent(request)
        if isinstance(request.pieces, ShownAnswer):
            request.pieces.begin(request)
        try:
            returned: Any = self._answer_alone(provider.complete(request))
        except ModelError as error:
            self._settle(request, error)
            raise
        if not isinstance(returned, Completion):  # a custom provider's fault
            message = f"{self._model.name}: its provider gave a {type(returned).__name__}, not a Completion"
            raise ModelRefused(message, model=self._model.name)
        completion = completed(returned, self._tokens(request), request.max_tokens)
        self._on_answer(completion.text)
        # Logged before anything looks at the answer: it was paid for, whatever a validator says.
        self._emit_call(request, completion, completion.finish_reason, reusable=self._question.reusable)
        self._turn += 1
        return completion

    def _answer_alone(self, returned: Any) -> Any:
        """Remove the model's thoughts from a custom provider's answer; mrengine's own providers have done so."""
        if self._model.kind != "custom" or not isinstance(returned, Completion):
            return returned
        completion, thought = apart(returned, keep=self._model.spec.reasoning == "keep")
        if thought and not completion.text.strip() and completion.finish_reason != "length":
            raise no_answer(self._model.name, "with thoughts and no answer", completion.usage, data={"content": None})
        return completion

    def _settle(self, request: Request, error: ModelError) -> None:
        """Settle a call without an answer, unless it may have been billed by an unknown amount."""
        # Such an intent stays open, and counts with its upper bound (docs/decisions/usage-that-is-not-told.md).
        refused, error.answer = error.answer, ""  # an exception holds no text
        if refused:
            self._on_answer(refused)
        if error.usage is not None and error.usage.total_tokens:
            paid = completed(Completion(refused, usage=error.usage), self._tokens(request), request.max_tokens)
            error.usage = paid.usage  # what the budget is charged
            self._emit_call(request, paid, "no answer", reusable=False)
        elif turned_away(error):
            self._emit_call(request, Completion(refused), "refused", reusable=False)

    def _emit_call(self, request: Request, answer: Completion, reason: str, *, reusable: bool) -> None:
        price, usage = self._model.price, answer.usage
        cost = None if price is None else price.cost(usage)
        self.cost_usd = cost_sum(self.cost_usd, cost)
        text = answer.text
        if len(text) > LARGEST_TEXT:  # no record holds it: the call counts, and is made again when it is asked for
            text, reusable = "", False
        record = task_records.CallRecord(
            round=self._models.config.round,
            chunk_id=self._task.chunk,
            model_index=self._task.model,
            digest=turn_digest(self._digest, self._turn),
            at=time.time(),
            usage=usage,
            cost_usd=cost,
            reusable=reusable,
            model=self._model.name,
            finish_reason=reason,
            latency_ms=answer.latency_ms,
            text=text,
            turn=turn_of(request),
        )
        payload = task_records.pack_call(record)
        self._models.emit(codec.CALL, self._task.chunk, self._task.model, payload)
        self._models.share(record, payload, self._question.owner)

    def _emit_intent(self, request: Request) -> None:
        record = task_records.IntentRecord(
            round=self._models.config.round,
            chunk_id=self._task.chunk,
            model_index=self._task.model,
            digest=turn_digest(self._digest, self._turn),
            at=time.time(),
            input_tokens=self._tokens(request),
            output_tokens=request.max_tokens,
            bound_tokens=self._bound,
            model=self._model.name,
        )
        self._models.emit(codec.INTENT, self._task.chunk, self._task.model, task_records.pack_intent(record))

    def _on_retry(self, error: ModelError, attempt: int, wait_s: float) -> None:
        fields = {"chunk_id": self._task.chunk, "model": self._model.name, "status": error.status, "attempt": attempt}
        # Redacted, as a custom provider's message may quote the prompt.
        fields["error"] = redacted_message(error, self._texts, self._models.secrets())
        fields |= {"wait_s": wait_s, "limited": isinstance(error, RateLimited)}
        self._models.note("call:retry", fields, self._task.chunk)
