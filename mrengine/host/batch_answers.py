"""Turns the answers of a batch into CALL records, as if each had been asked directly, at the price of batches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mrengine.errors import LogError, ModelError
from mrengine.log.format import codec
from mrengine.log.format.batch_records import RequestRecord, unpack_request
from mrengine.log.format.task_records import CallRecord, pack_call
from mrengine.log.shared_answers import SharedAnswers
from mrengine.log.view.batch_ledger import REFUSED, Batched, Wanted
from mrengine.log.view.job_view import ResumeEngine
from mrengine.providers.batches.client import UNDONE, Answer, BatchClient, BatchStatus
from mrengine.providers.call.counting import completed
from mrengine.providers.http.headers import Headers
from mrengine.providers.models.model import Model
from mrengine.records import Completion, Price, Request, Usage
from mrengine.worker.stored_answers import shared_digest
from mrengine.worker.turns import LARGEST_TEXT, turn_of

__all__ = ["Collected", "Reader", "digest_in", "request_of"]

SYNC_EVERY = 500  # answers between two commits: a power cut makes us read so many again at most
NO_USAGE = Usage()

Append = Callable[[int, bytes], None]


@dataclass(slots=True)
class Collected:
    """How many of a batch's requests ended in which way."""

    answered: int = 0
    refused: int = 0
    undone: int = 0
    # All successful lines of the provider's files, also those that the log has already: the caller compares them with
    # the provider's own count, because a file that came by halves would have its missing answers bought again.
    successes: int = 0


def request_of(view: ResumeEngine, wanted: Wanted) -> tuple[RequestRecord, Request]:
    """The REQUEST record of a wanted call, and the request that it describes. LogError: it cannot be read."""
    record = unpack_request(view.reader.payload(wanted.offset))
    request = Request(
        model=record.model,
        prompt=record.prompt,
        system=record.system,
        max_tokens=record.max_tokens,
        temperature=record.temperature,
        schema=record.schema,
        turns=record.turns,
        cache=record.cache,
        prefix=record.prefix,
    )
    return record, request


class Reader:
    """Encodes one model's requests and decodes its answers, in its provider's format."""

    def __init__(self, model: Model, shared: SharedAnswers | None = None) -> None:
        self.model, self._shared = model, shared
        # Imported here: it loads TLS, which few hosts need and uWSGI's Python could not load.
        from mrengine.providers.http.url_provider import HttpProvider

        self._provider = HttpProvider(model, Headers(replace(model, kind="http")), base_url=model.base_url or "")
        self._quirks = self._provider.quirks  # those under which the requests being collected were encoded
        self._price = model.price

    def encoded(self, request: Request) -> bytes:
        """The body of a request."""
        return self._provider.encoded(request)

    def close(self) -> None:
        self._provider.close()

    def collect(
        self,
        view: ResumeEngine,
        client: BatchClient,
        batch: Batched,
        status: BatchStatus,
        append: Append,
        sync: Callable[[], None],
    ) -> Collected:
        """Append a CALL for each answer that the log has not yet. ModelError: the files cannot be fetched."""
        counts, requests = Collected(), view.state.batches.wanted
        # A batch whose intent was lost is blind: any request of its model may be in it.
        mine = frozenset(requests if batch.blind else batch.digests)
        self._quirks = self._provider.quirks
        # Whoever collects may not know the price that the one who submitted knew: then the batch's record has it.
        self._price = self.model.price or _price(batch.record.facts.get("price"))
        ran_ms = (time.time() - batch.began) * 1e3
        try:
            for number, answer in enumerate(client.answers(status), 1):
                digest = digest_in(answer.custom_id)
                counts.successes += answer.status == 200
                if digest in mine and (wanted := requests.get(digest)) is not None:
                    self._take(view, wanted, answer, ran_ms, counts, append)
                if number % SYNC_EVERY == 0:
                    sync()
        finally:
            sync()  # whoever reads the files again must see what the log has by now
        return counts

    def _take(
        self, view: ResumeEngine, wanted: Wanted, answer: Answer, ran_ms: float, counts: Collected, append: Append
    ) -> None:
        if answer.status == UNDONE:
            counts.undone += 1
            return
        try:
            record, request = request_of(view, wanted)
        except LogError:
            return  # its REQUEST is damaged: its task runs again and writes another one
        try:
            completion = self._provider.decoded(request, answer.status, answer.body)
        except ModelError as error:
            self._refused(record, request, answer, error, counts, append)
            return
        completion = completed(completion, record.input_tokens, record.max_tokens)
        counts.answered += 1
        self._call(record, request, replace(completion, latency_ms=ran_ms), append)

    def _refused(
        self,
        record: RequestRecord,
        request: Request,
        answer: Answer,
        error: ModelError,
        counts: Collected,
        append: Append,
    ) -> None:
        """Settle a call with its refusal, unless another try, or one without what was refused, may succeed."""
        paid = error.usage is not None and error.usage.total_tokens > 0
        again = self._provider.learn(request, answer.status, answer.body, quirks=self._quirks) or error.transient
        counts.refused += not again
        counts.undone += again
        if again and not paid:
            return  # its REQUEST stays open, and goes into the next batch
        # An answer that was paid for and is of no use is logged even so: its cost counts against the budget.
        text = "" if again else _refusal_text(answer)
        usage = error.usage if paid and error.usage is not None else NO_USAGE
        reason = "no answer" if paid else "refused"
        nothing = Completion(text, usage=usage, finish_reason=reason)
        self._call(record, request, nothing, append, reusable=False)

    def _call(
        self, record: RequestRecord, request: Request, answer: Completion, append: Append, *, reusable: bool = True
    ) -> None:
        price = self._price
        text = answer.text
        if len(text) > LARGEST_TEXT:  # no record holds it; what it cost counts all the same
            text, reusable = "", False
        call = CallRecord(
            round=record.round,
            chunk_id=record.chunk_id,
            model_index=record.model_index,
            digest=record.digest,
            at=time.time(),
            usage=answer.usage,
            cost_usd=None if price is None else price.cost(answer.usage, batch=True),
            reusable=reusable,
            model=self.model.name,
            finish_reason=answer.finish_reason,
            latency_ms=answer.latency_ms,
            text=text,
            turn=turn_of(request),
        )
        payload = pack_call(call)
        append(codec.CALL, payload)
        if self._shared is not None and reusable and record.owner:
            self._shared.add(shared_digest(call.digest, record.owner), call.model, payload)


def _refusal_text(answer: Answer) -> str:
    """A refusal as the log keeps it: ``complete()`` raises the error from it that a direct call would have raised."""
    body = answer.body.decode("utf-8", "replace")
    text: Any = json.dumps({"status": answer.status, "body": body[: LARGEST_TEXT // 8]}, ensure_ascii=False)
    assert text.startswith(REFUSED)
    return str(text)


def _price(fields: Any) -> Price | None:
    """The price that a batch's own record holds; None: none that can be read."""
    try:
        return Price.of(fields) if isinstance(fields, dict) else None
    except TypeError:
        return None


def digest_in(custom_id: str) -> bytes:
    """The digest of a call in the name of its request; b"": the name is not one of ours."""
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return b""
