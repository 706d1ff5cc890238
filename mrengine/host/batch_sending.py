"""Sends wanted calls in batches: splits them by limits, keeps to the budget, logs each intent before its call."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mrengine.errors import ModelError
from mrengine.host.batch_answers import request_of
from mrengine.host.batch_budget import Allowance
from mrengine.host.batch_log import BatchLog, Clients, job_digest, note, write
from mrengine.host.batch_primers import Primers
from mrengine.log.format.batch_records import BatchRecord
from mrengine.log.view.batch_ledger import BatchLedger, Wanted
from mrengine.log.view.call_totals import CallTotals
from mrengine.providers.batches.client import BatchStatus, Limits, Upload
from mrengine.providers.models.model import Model
from mrengine.records import Batch, Budget

__all__ = ["Sender"]


log = logging.getLogger("mrengine")


class Sender:
    """Submits the batches of one run.

    ``hold``: for a model whose next batch has to wait, until when (``time.monotonic()``). ``unsure``: since when, in
    this process, nobody has known whether a batch was made.
    """

    def __init__(self, clients: Clients, budget: Budget | None, batch: Batch, job_id: str, folder: Path) -> None:
        self._clients, self._budget, self._batch = clients, budget, batch
        self._job_id, self._folder = job_id, folder
        self.hold: dict[str, float] = {}
        self.unsure: dict[int, float] = {}
        self.refusals = 0
        self.primers = Primers(clients.models)

    def allowance(self, place: BatchLog, ledger: BatchLedger) -> Allowance:
        """What the budget has left for batches."""
        budget = self._budget
        if budget is None or budget.per == "job":
            used = place.view.state.call_totals
        else:  # INTENTs, too: a call without an answer counts with its bound, as in the budget of direct calls
            used = CallTotals.of(place.view.reader.frames(place.view.state.round_offset, place.view.position))
        return Allowance(budget, ledger, used, self._clients.models)

    def submit(
        self, place: BatchLog, ledger: BatchLedger, sendable: list[tuple[bytes, Wanted]], allowance: Allowance
    ) -> dict[str, Any] | None:
        """Send what is wanted, as far as limits and budget allow; returns what to say where the budget did not."""
        groups: dict[str, list[tuple[bytes, Wanted]]] = {}
        for digest, wanted in sendable:
            groups.setdefault(wanted.model, []).append((digest, wanted))
        for name, group in groups.items():
            if time.monotonic() >= self.hold.get(name, 0.0):
                self.hold.pop(name, None)
                self._send_all(place, ledger, self._clients.models[name], group, allowance)
        return allowance.facts() if allowance.short else None

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
        # A request that did not fit stays ``pending``: the next batch begins with it.
        pending = next(todo, None)
        while pending is not None:
            upload = Upload(self._clients.client(model.name), self._limits(ledger, model), str(self._folder))
            digests: list[bytes] = []
            full = False
            try:
                while pending is not None:
                    digest, wanted = pending
                    record, request = request_of(place.view, wanted)
                    if model.shape == "anthropic":  # a mark makes the prefix dearer unless a cache has it already
                        request = replace(request, cache="1h" if self.primers.is_warm(ledger, wanted) else None)
                    # One request above the whole limit goes when nothing is under way: it would wait for ever.
                    full = record.input_tokens > room and bool(digests or ledger.under_way())
                    if full or not upload.add(digest.hex(), self._clients.reader(model.name).encoded(request)):
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
        client, file, token = self._clients.client(model.name), upload.finish(), secrets.token_hex(12)
        try:
            job = job_digest(place, self._job_id, model.name)
            prepared, since = client.prepare(file, token=token, job=job), client.newest()
        except ModelError as error:
            return self._too_large(error, len(digests)) or self._put_off(model, error)
        facts: dict[str, Any] = {"requests": len(digests), "bytes": upload.bytes, "since": since}
        if model.price is not None:  # another process may collect it, and not know the price
            facts["price"] = asdict(model.price)
        number = ledger.next_number()
        record = BatchRecord(number, time.time(), "intent", model.name, token, "", b"".join(digests), facts)
        write(place, record)
        try:
            status = client.create(file, prepared, token=token, job=job)
        except ModelError as error:
            if error.sent and (error.status is None or not 300 <= error.status < 500):
                # The provider may have made it, also where a 200 came with a body that is no batch: it is looked for
                # first, as sending it again could pay for it twice.
                self.unsure[record.number] = time.monotonic()
                log.warning("job %s: the answer to a batch was lost (%s); it is looked for", self._job_id, error)
                return False
            note(place, record, "failed", {"why": str(error)})
            return self._too_large(error, len(digests)) or self._put_off(model, error)
        self.submitted(place, record, status)
        return True

    def submitted(self, place: BatchLog, record: BatchRecord, status: BatchStatus, *, adopted: bool = False) -> None:
        facts = {**record.facts, "adopted": adopted}
        note(place, replace(record, name=status.name), "submitted", facts)
        self.unsure.pop(record.number, None)
        self.refusals = 0
        requests = record.facts.get("requests", 0)
        place.emit("batch:submitted", batch_id=status.name, model=record.model, requests=requests)

    def _put_off(self, model: Model, error: ModelError) -> bool:
        """Try again later where the error is transient; raise any other one, which ends the run."""
        if not error.transient:
            raise error
        self.hold[model.name] = time.monotonic() + max(error.retry_after_s or 0.0, self._batch.poll_s)
        return False

    def _too_large(self, error: ModelError, requests: int) -> bool:
        """Halve the limit of requests where an endpoint finds a batch too large. False: the cause is another."""
        if error.status != 413 and "too_large" not in str(error):
            return False
        if requests == 1 or self.refusals > 20:
            return False
        self.refusals += 1
        most = max(1, requests // 2)
        self._batch = replace(self._batch, max_requests=min(most, self._batch.max_requests or most))
        return True

    def _limits(self, ledger: BatchLedger, model: Model) -> Limits:
        vendor, batch = self._clients.client(model.name).LIMITS, self._batch
        most = min(vendor.requests, batch.max_requests or vendor.requests)
        # One batch alone was over a limit that the provider did not name: those after it were halved, in any process.
        for one in ledger.batches.values():
            half = one.record.facts.get("halved")
            if one.record.model == model.name and isinstance(half, int):
                most = min(most, half)
        return Limits(max(1, most), min(vendor.bytes, batch.max_bytes or vendor.bytes))

    def _room(self, ledger: BatchLedger, model: Model) -> float:
        """How many input tokens, by estimate, may be enqueued beside those that are under way."""
        limits = [self._batch.max_tokens] if self._batch.max_tokens else []
        for one in ledger.batches.values():
            limit = one.record.facts.get("limit")
            if one.record.model == model.name and isinstance(limit, int):
                limits.append(limit)
        if not limits:
            return float("inf")
        sent = ledger.sent()
        under_way = sum(one.tokens for d, one in ledger.wanted.items() if d in sent and one.model == model.name)
        return min(limits) - under_way
