"""Makes one call in batch mode: a call without a stored answer becomes a REQUEST in the log, and its task is parked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from mrengine.errors import LogError, ModelUnavailable
from mrengine.log.format import codec
from mrengine.log.format.batch_records import RequestRecord, pack_request
from mrengine.providers.batches.client import has_batches
from mrengine.providers.call.prefixes import cacheable, prefix_digest, prefix_tokens
from mrengine.records import Completion, Request
from mrengine.worker.logged_call import fitting_bound, tokens_of

if TYPE_CHECKING:
    from mrengine.providers.models.model import Model
    from mrengine.worker.model_clients import ModelClients
    from mrengine.worker.task_calls import Question

__all__ = ["BatchMode", "BatchedCall", "Parked"]


class Parked(BaseException):
    """The task waits for a batch and gives up its slot."""

    # Not an Exception: ``except Exception`` in a map function must not catch it.


@dataclass(frozen=True, slots=True)
class BatchMode:
    """How calls are made in this round. Positions are offsets in the log.

    ``since``: where the logical run began; answers behind it count as asked for. ``began``: where this process took
    the run up. ``late``: "" while batches have time left, then what happens to open calls: "direct" or "fail".
    ``refused``: for a digest, the CALL that holds its refusal. ``direct``: digests that batches have failed to answer
    too often; ``finish`` says what becomes of them. ``primers``: digests of calls that are made directly, to write a
    prefix into the provider's cache for the batch that follows.
    """

    since: int
    began: int | None = None
    late: str = ""
    finish: str = "direct"
    refused: Mapping[bytes, int] = field(default_factory=dict)
    direct: frozenset[bytes] = frozenset()
    primers: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, terms: Mapping[str, Any] | None) -> BatchMode | None:
        """Read the mode from a round's order. None: all calls are made directly."""
        if terms is None:
            return None
        sets = {name: frozenset(terms[name]) for name in ("direct", "primers")}
        return cls(**{**terms, **sets, "refused": dict(terms["refused"])})

    def takes(self, model: Model, digest: bytes) -> bool:
        """Whether a call belongs to a batch. False: it is made directly."""
        direct = self.late == "direct" or (self.finish == "direct" and digest in self.direct)
        return has_batches(model) and not direct and digest not in self.primers


class BatchedCall:
    """One call of ``complete()`` to one model; ``send()`` never returns."""

    cost_usd: float | None = 0.0

    def __init__(self, models: ModelClients, mode: BatchMode, model: Model, question: Question, digest: bytes) -> None:
        """``digest``: the digest of the question's next turn, when it goes to this model."""
        self._models, self._mode, self._model, self._question = models, mode, model, question
        self._task, self._digest = question.task, digest

    def send(self, request: Request) -> Completion:
        """Ask for one turn. Raises Parked; ModelError: the provider refused the call, or no batch answered in time."""
        offset = self._mode.refused.get(self._digest)
        if offset is not None:
            return self._refused(request, offset)
        if self._mode.late:
            self._give_up("did not end within deadline_s, and was cancelled")
        if self._digest in self._mode.direct:  # only with finish="fail": else takes() has sent it directly
            self._give_up("and others after it did not answer this call")
        bound = fitting_bound(request, self._model)
        request = cacheable(request, self._model)
        # Noted on the task, too: map_fn may catch Parked, and whatever it returned then would count as the result.
        self._question.calls.park()
        # The whole request: the host, which alone submits batches, makes them from the log.
        record = RequestRecord(
            round=self._models.config.round,
            chunk_id=self._task.chunk,
            model_index=self._task.model,
            digest=self._digest,
            at=time.time(),
            input_tokens=tokens_of(request, self._question.chunk),
            bound_tokens=bound,
            max_tokens=request.max_tokens,
            model=self._model.name,
            prompt=request.prompt,
            system=request.system,
            temperature=request.temperature,
            schema=request.schema,
            turns=request.turns,
            cache=request.cache,
            prefix=request.prefix,
            prefix_digest=prefix_digest(request),
            prefix_tokens=prefix_tokens(request),
            owner=self._question.owner,
        )
        self._models.emit(codec.REQUEST, self._task.chunk, self._task.model, pack_request(record))
        raise Parked

    def _refused(self, request: Request, offset: int) -> Completion:
        """Raise the error that a direct call would raise, decoded from the same answer of the provider."""
        try:
            stored = json.loads(self._question.store.text(offset))
            status, body = int(stored["status"]), str(stored["body"])
        except (LogError, ValueError, KeyError, TypeError):
            # The record is damaged, but that there was a refusal is known: 400 is what a batch's refusals are.
            status, body = 400, ""
        provider: Any = self._models.provider(self._model)
        completion: Completion = provider.decoded(request, status, body.encode("utf-8", "surrogatepass"))
        return completion

    def _give_up(self, why: str) -> NoReturn:
        name = self._model.name
        error = ModelUnavailable(f"{name}: its batch {why}", model=name)
        error.transient = False  # another attempt of the task would meet the same batch
        raise error
