"""The one owner of a job's batches: it submits, polls, adopts, cancels and collects them, between two plays of a round.

It holds no state of its own that matters: all of it is in the log (``log/view/batch_ledger``), so that another process
may go on at any instant. What a kill at each step means is told in docs/decisions/batches.md.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from mrengine.errors import LogError, ModelError
from mrengine.host.batch_answers import Reader, request_of
from mrengine.host.batch_budget import Allowance
from mrengine.job.driver import Ended
from mrengine.log.format import codec
from mrengine.log.format.batch_records import BatchRecord, pack_batch
from mrengine.log.view.batch_ledger import WAITING, Batched, BatchLedger, Wanted
from mrengine.log.view.call_totals import CallTotals
from mrengine.log.view.job_view import ResumeEngine
from mrengine.providers.batches.client import BatchClient, Limits, Seen, Upload
from mrengine.providers.batches.connect import connect_batches
from mrengine.providers.models.model import Model
from mrengine.records import Batch, Budget

__all__ = ["BatchDesk", "BatchLog"]

log = logging.getLogger("mrengine")
MOST_TRIES = 5  # batches that may fail to answer a request
LEAST_GRACE_S, MOST_GRACE_S = 2.0, 60.0  # how long a create call that nobody heard of may still be under way
MOST_REFUSALS = 5  # batches in a row that are refused as a whole
_LIMIT = re.compile(r"[Ll]imit:?\s*([\d,_.]{3,})")


class BatchLog(Protocol):
    """The log as the desk needs it. SupervisorDied: its writer is gone."""

    @property
    def view(self) -> ResumeEngine:
        """The log, as far as it is durable."""

    def append(self, kind: int, payload: bytes) -> None:
        """Append a record."""

    def sync(self) -> None:
        """Make what was appended durable; ``view`` has it then."""

    def pause(self, seconds: float) -> None:
        """Wait; less where the run is to stop."""

    def stopped(self) -> str | None:
        """The reason for which the run is to stop."""

    def emit(self, name: str, **fields: Any) -> None:
        """An event."""


class BatchDesk:
    """The batches of one run of a job."""

    def __init__(
        self,
        models: Sequence[Model],
        budget: Budget | None,
        batch: Batch,
        job_id: str,
        folder: Path,
        *,
        detach: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._budget, self._batch, self._job_id, self._folder = budget, batch, job_id, folder
        self._detach, self._clock = detach, clock
        own = [one for model in models for one in (model, *model.fallbacks)]
        self.models: dict[str, Model] = {model.name: model for model in own}
        self._clients: dict[str, BatchClient] = {}
        self._readers: dict[str, Reader] = {}
        self._unsure: dict[int, float] = {}  # batches of which nobody knows whether they are: since when, here
        self._strangers: set[str] = set()  # batches that are looked at, and are not ours
        self._waits_from: float | None = None
        self._hold: dict[str, float] = {}  # models whose next batch has to wait, until when
        self._refusals = 0
        self._cancelled: set[int] = set()  # batches whose end was asked for, here

    # what a round is told

    def mode(self, ledger: BatchLedger) -> dict[str, Any]:
        """See worker.batched_call.BatchMode."""
        return {
            "since": ledger.since,
            "late": self._batch.finish if self._is_late(ledger) else "",
            "finish": self._batch.finish,
            "refused": dict(ledger.refused),
            "direct": self._hopeless(ledger),
        }

    def held(self, ledger: BatchLedger, round_: int) -> set[tuple[int, int]]:
        """(chunk_id, model_index) of tasks that need not be run: they want an answer that is not there."""
        if self._is_late(ledger) and not ledger.under_way():
            return set()
        hopeless = set(self._hopeless(ledger))
        if not hopeless:
            return ledger.waiting(round_)
        able = {task[1:] for digest in hopeless for task in ledger.wanted[digest].tasks if task[0] == round_}
        return ledger.waiting(round_) - able

    def _hopeless(self, ledger: BatchLedger) -> list[bytes]:
        """Digests that no batch will answer."""
        sent = ledger.sent() if ledger.tries else ()
        return [d for d, tries in ledger.tries.items() if tries >= MOST_TRIES and d in ledger.wanted and d not in sent]

    def _is_late(self, ledger: BatchLedger) -> bool:
        began, deadline_s = ledger.deadline_from, self._batch.deadline_s
        return deadline_s is not None and began is not None and self._clock() >= began + deadline_s

    # the road between two plays

    def settle(self, place: BatchLog) -> Ended | None:
        """Send what is wanted, and wait until something has come back; None: play the round again."""
        self._waits_from = self._waits_from or time.monotonic()
        try:
            return self._settle(place)
        except ModelError as error:
            told = f"its batches cannot go on: {error}. What was answered is kept; batch=None asks directly"
            return Ended("failed", {"message": told})

    def _settle(self, place: BatchLog) -> Ended | None:
        ledger = place.view.state.batches
        while True:
            why = self._interrupted(place)
            if why is not None and why != "cancelled":
                told = f"no batch has ended within max_wait_s={self._batch.max_wait_s:g}" if why == "max_wait_s" else ""
                return Ended("timeout" if told else why, {"message": told})
            ending = why == "cancelled" or self._is_late(ledger)
            self._adopt(place, ledger)
            short = None
            if ending:
                self._cancel(place, ledger)
            else:
                short = self._submit(place, ledger)
            came = self._poll(place, ledger)
            under_way = ledger.under_way()
            if why is not None and not under_way:
                return Ended(why, {})
            if came if not ending else not under_way:
                return None
            if not under_way and not self._sendable(ledger):
                return None
            if not under_way and short is not None and not self._hold:
                return Ended("budget", short)
            if self._detach and under_way and not ending:
                return Ended(WAITING, {"message": _told(under_way)})
            place.pause(self._batch.poll_s)

    def _interrupted(self, place: BatchLog) -> str | None:
        if place.stopped() is not None:
            return place.stopped()
        if (self._folder / "cancelled").exists():
            return "cancelled"
        assert self._waits_from is not None
        return "max_wait_s" if time.monotonic() > self._waits_from + self._batch.max_wait_s else None

    # submit

    def _sendable(self, ledger: BatchLedger) -> list[tuple[bytes, Wanted]]:
        """What is wanted and in no batch, in order."""
        hopeless = set(self._hopeless(ledger))
        found = [(digest, wanted) for digest, wanted in ledger.unsent().items() if digest not in hopeless]
        return sorted(found, key=lambda item: item[1].offset)

    def _submit(self, place: BatchLog, ledger: BatchLedger) -> dict[str, Any] | None:
        """Send what is wanted, as far as limits and budget allow; what is to be said where the latter did not."""
        budget = self._budget
        used = place.view.state.call_totals if budget is None or budget.per == "job" else self._of_this_run(place)
        allowance = Allowance(budget, ledger, used, self.models)
        groups: dict[str, list[tuple[bytes, Wanted]]] = {}
        for digest, wanted in self._sendable(ledger):
            groups.setdefault(wanted.model, []).append((digest, wanted))
        for name, group in groups.items():
            if time.monotonic() >= self._hold.get(name, 0.0):
                self._hold.pop(name, None)
                self._send_all(place, ledger, self.models[name], group, allowance)
        return allowance.facts() if allowance.short else None

    def _of_this_run(self, place: BatchLog) -> CallTotals:
        used = CallTotals()
        for frame in place.view.reader.frames(place.view.state.round_offset, place.view.position):
            with suppress(LogError):
                if frame.kind == codec.CALL:
                    used.call(frame)
                elif frame.kind == codec.INTENT:
                    used.intent(frame)
        return used

    def _send_all(
        self,
        place: BatchLog,
        ledger: BatchLedger,
        model: Model,
        group: list[tuple[bytes, Wanted]],
        allowance: Allowance,
    ) -> None:
        room = self._room(ledger, model)
        todo = iter(group)
        pending = next(todo, None)
        while pending is not None:
            upload = Upload(self._client(model), self._limits(ledger, model), str(self._folder))
            digests: list[bytes] = []
            full = False
            try:
                while pending is not None:
                    digest, wanted = pending
                    record, request = request_of(place.view, wanted)
                    full = record.input_tokens > room and bool(digests or ledger.under_way())
                    if full or not upload.add(digest.hex(), self._reader(model).encoded(request)):
                        break
                    if full := not allowance.take(wanted):
                        break
                    room -= record.input_tokens
                    digests.append(digest)
                    pending = next(todo, None)
                if not digests or not self._send(place, ledger, model, upload, digests) or full:
                    return
            finally:
                upload.close()

    def _send(self, place: BatchLog, ledger: BatchLedger, model: Model, upload: Upload, digests: list[bytes]) -> bool:
        """One batch: its intent is durable before the provider hears of it. False: the next one has to wait."""
        client = self._client(model)
        try:
            since = client.newest()
        except ModelError as error:
            return self._put_off(model, error)
        facts: dict[str, Any] = {"requests": len(digests), "bytes": upload.bytes, "since": since}
        if model.price is not None:  # whoever collects may not know it
            facts["price"] = list(astuple(model.price))
        record = BatchRecord(
            ledger.next_number(),
            self._clock(),
            "intent",
            model.name,
            secrets.token_hex(12),
            "",
            b"".join(digests),
            facts,
        )
        self._record(place, record)
        file = upload.finish()
        try:
            seen = client.create(file, token=record.token, job=_job_digest(self._job_id))
        except ModelError as error:
            if error.sent and (error.status is None or error.status >= 500):
                self._unsure[record.number] = time.monotonic()  # it may have been made: look, before it is sent again
                log.warning("job %s: the answer to a batch was lost (%s); it is looked for", self._job_id, error)
                return False
            self._now(place, record, "failed", {"why": str(error)})
            return self._too_large(error, len(digests)) or self._put_off(model, error)
        self._submitted(place, record, seen)
        return True

    def _submitted(self, place: BatchLog, record: BatchRecord, seen: Seen, *, adopted: bool = False) -> None:
        facts = {**record.facts, "adopted": adopted}
        self._now(place, replace(record, name=seen.name), "submitted", facts)
        self._unsure.pop(record.number, None)
        self._refusals = 0
        requests = record.facts.get("requests", 0)
        place.emit("batch:submitted", batch_id=seen.name, model=record.model, requests=requests)

    def _put_off(self, model: Model, error: ModelError) -> bool:
        """What passes is tried again later; the rest ends the run."""
        if not error.transient:
            raise error
        self._hold[model.name] = time.monotonic() + max(error.retry_after_s or 0.0, self._batch.poll_s)
        return False

    def _too_large(self, error: ModelError, requests: int) -> bool:
        """A batch that its endpoint finds too large is halved, as often as it takes."""
        if error.status != 413 and "too_large" not in str(error):
            return False
        if requests == 1 or self._refusals > 20:
            return False
        self._refusals += 1
        most = max(1, requests // 2)
        self._batch = replace(self._batch, max_requests=min(most, self._batch.max_requests or most))
        return True

    def _limits(self, ledger: BatchLedger, model: Model) -> Limits:
        vendor, batch = self._client(model).LIMITS, self._batch
        most = min(vendor.requests, batch.max_requests or vendor.requests)
        for one in ledger.batches.values():  # halved, where a batch alone was above a limit that was not told
            half = one.record.facts.get("halved")
            if one.record.model == model.name and isinstance(half, int):
                most = min(most, half)
        return Limits(max(1, most), min(vendor.bytes, batch.max_bytes or vendor.bytes))

    def _room(self, ledger: BatchLedger, model: Model) -> float:
        """Estimated input tokens that may be enqueued beside those that are."""
        told = [self._batch.max_tokens] if self._batch.max_tokens else []
        for one in ledger.batches.values():
            limit = one.record.facts.get("limit")
            if one.record.model == model.name and isinstance(limit, int):
                told.append(limit)
        if not told:
            return float("inf")
        sent = ledger.sent()
        under_way = sum(one.tokens for d, one in ledger.wanted.items() if d in sent and one.model == model.name)
        return min(told) - under_way

    # look

    def _adopt(self, place: BatchLog, ledger: BatchLedger) -> None:
        """Find the batches of which only the intent is known."""
        for batch in ledger.under_way():
            if batch.record.model not in self.models:
                self._gone(place, batch)  # the job goes on with other models
            elif batch.record.state == "intent":
                since = self._unsure.setdefault(batch.number, time.monotonic())
                with suppress(_Later):
                    seen = self._find(batch, set(ledger.names()) | self._strangers)
                    if seen is not None:
                        self._submitted(place, batch.record, seen, adopted=True)
                    elif time.monotonic() - since >= self._grace_s:
                        self._now(place, batch.record, "lost")

    @property
    def _grace_s(self) -> float:
        return min(MOST_GRACE_S, max(LEAST_GRACE_S, self._batch.poll_s))

    def _find(self, batch: Batched, known: Collection[str]) -> Seen | None:
        """The batch, among those of the account. _Later: it cannot be told yet."""
        client = self._client(self.models[batch.record.model])
        since = str(batch.record.facts.get("since") or "")
        try:
            for seen in client.found(token=batch.record.token, since=since, known=known, requests=batch.requests):
                if seen.token is not None:
                    return seen
                if not seen.over:
                    raise _Later  # whose it is its results will say
                if self._is_mine(client, batch, seen):
                    return seen
                self._strangers.add(seen.name)
        except ModelError as error:
            if not error.transient:
                raise
            raise _Later from None
        return None

    def _is_mine(self, client: BatchClient, batch: Batched, seen: Seen) -> bool:
        names = {digest.hex() for digest in batch.digests}
        first = next(iter(client.answers(seen)), None)
        return first is not None and first.custom_id in names

    def _poll(self, place: BatchLog, ledger: BatchLedger) -> bool:
        """Look at all that is under way; whether one of them is over, and collected."""
        came = False
        for batch in ledger.under_way():
            if not batch.record.name:
                continue
            client = self._client(self.models[batch.record.model])
            try:
                seen = client.look(batch.record.name)
                place.emit("batch:progress", batch_id=seen.name, model=batch.record.model, state=seen.word,
                           requests=seen.total or batch.requests, done=seen.done, failed=seen.failed)  # fmt: skip
                if seen.over:
                    self._over(place, ledger, batch, client, seen)
                    came = True
            except ModelError as error:
                if error.status == 404:
                    self._gone(place, batch)
                    came = True
                elif not error.transient:
                    raise
                else:
                    log.info("job %s: batch %s cannot be seen just now: %s", self._job_id, batch.record.name, error)
        return came

    def _gone(self, place: BatchLog, batch: Batched) -> None:
        log.warning("job %s: its provider knows nothing of batch %s any more", self._job_id, batch.record.name)
        self._now(place, batch.record, "ended", {"gone": True})

    def _over(self, place: BatchLog, ledger: BatchLedger, batch: Batched, client: BatchClient, seen: Seen) -> None:
        if seen.state == "failed":
            self._failed(place, ledger, batch, seen)
            return
        reader = self._reader(self.models[batch.record.model])
        found = reader.collect(place.view, client, batch, seen, place.append, place.sync)
        facts = {**batch.record.facts, "word": seen.word, "answered": found.answered, "refused": found.refused}
        self._now(place, batch.record, "ended", facts)
        client.tidy(seen)
        self._refusals = 0
        for name in list(self._hold):
            self._hold[name] = 0.0  # there is room now
        place.emit("batch:ended", batch_id=seen.name, model=batch.record.model, state=seen.word,
                   requests=batch.requests, answered=found.answered, refused=found.refused)  # fmt: skip

    def _failed(self, place: BatchLog, ledger: BatchLedger, batch: Batched, seen: Seen) -> None:
        """Refused as a whole. Too many enqueued tokens: the next one waits, or is smaller."""
        facts: dict[str, Any] = {**batch.record.facts, "word": seen.word, "code": seen.code}
        model = batch.record.model
        others = [one for one in ledger.under_way() if one.record.model == model and one.number != batch.number]
        crowded = "token" in seen.code and "limit" in seen.code
        if crowded:
            told = _LIMIT.search(seen.why)
            if told is not None:
                facts["limit"] = int(re.sub(r"\D", "", told[1]))
            elif not others:
                facts["halved"] = max(1, batch.requests // 2)
            self._hold[model] = time.monotonic() + (0.0 if not others else self._batch.poll_s)
        self._refusals += not crowded or (batch.requests == 1 and not others)
        self._now(place, batch.record, "failed", facts)
        log.warning("job %s: batch %s was refused: %s", self._job_id, seen.name, seen.code or seen.word)
        if self._refusals >= MOST_REFUSALS:
            raise ModelError(f"{model} refuses its batches ({seen.code or seen.word})", model=model)

    # cancel

    def _cancel(self, place: BatchLog, ledger: BatchLedger) -> None:
        """Ask for the end of all that is under way; what they have done by then is collected."""
        for batch in ledger.under_way():
            if batch.record.state == "submitted":
                self._now(place, batch.record, "cancelling")
            if batch.record.name and batch.number not in self._cancelled:
                with suppress(ModelError):  # asked again at the next look
                    self._client(self.models[batch.record.model]).cancel(batch.record.name)
                    self._cancelled.add(batch.number)

    # clients

    def _client(self, model: Model) -> BatchClient:
        found = self._clients.get(model.name)
        if found is None:
            found = self._clients[model.name] = connect_batches(model, str(self._folder))
        return found

    def _reader(self, model: Model) -> Reader:
        found = self._readers.get(model.name)
        if found is None:
            found = self._readers[model.name] = Reader(model)
        return found

    def _now(self, place: BatchLog, record: BatchRecord, state: str, facts: Mapping[str, Any] | None = None) -> None:
        """A batch is in another state."""
        facts = record.facts if facts is None else facts
        self._record(place, replace(record, at=self._clock(), state=state, digests=b"", facts=facts))

    def _record(self, place: BatchLog, record: BatchRecord) -> None:
        place.append(codec.BATCH, pack_batch(record))
        place.sync()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
        for reader in self._readers.values():
            reader.close()


class _Later(Exception):
    """It cannot be told yet."""


def _told(batches: list[Batched]) -> str:
    requests = sum(batch.requests for batch in batches)
    return f"{requests} request{'s' * (requests != 1)} in {len(batches)} batch{'es' * (len(batches) != 1)} under way"


def _job_digest(job_id: str) -> str:
    """What the metadata of a batch say of its job."""
    return blake2b(job_id.encode(), digest_size=16).hexdigest()
