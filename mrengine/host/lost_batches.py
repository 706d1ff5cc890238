"""Finds batches of a job that its log does not know: their records were damaged, or lost in a power cut.

A vendor's metadata show whose a batch is. Where there are none (Anthropic) only its results do. So after a loss of
records, all batches made before the repair have to be over before anything is sent again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Set
from dataclasses import asdict

from mrengine.errors import ModelError
from mrengine.host.batch_answers import digest_in
from mrengine.host.batch_log import BatchLog, Clients, job_digest, write
from mrengine.log.format.batch_records import BatchRecord
from mrengine.log.view.batch_ledger import BatchLedger
from mrengine.providers.batches.client import BatchClient, BatchStatus

__all__ = ["LostBatches", "Misses", "Proofs"]

log = logging.getLogger("mrengine")
MOST_LOOKS = 10
PATIENCE_S = 180.0  # and at least so long, however often one looks: a provider's files may take minutes to appear
SLACK_S = 300.0  # the most by which our clock and the provider's may differ


class Misses:
    """Counts how often, and since when, something that a batch should have was missing."""

    # Given up too early, it would be paid for twice: so both a number of looks and a time have to pass.

    def __init__(self) -> None:
        self._times: Counter[object] = Counter()
        self._since: dict[object, float] = {}

    def is_lost(self, what: object) -> bool:
        """Count one more miss; whether to give up on it."""
        now = time.monotonic()
        self._times[what] += 1
        return self._times[what] > MOST_LOOKS and now >= self._since.setdefault(what, now) + PATIENCE_S


class Proofs:
    """Says whose a batch is that carries no metadata: by the custom_id of one of its results, which is read once."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str | None] = {}  # by model and name of a batch
        self._unread = Misses()

    def custom_id(self, client: BatchClient, batch: BatchStatus) -> str | None:
        """The custom_id of a result of a batch that is over. None: it has no results, or they do not come, however
        often they are asked for. ModelError: they cannot be read yet.
        """
        key = client.model.name, batch.name
        if key not in self._ids:
            try:
                self._ids[key] = client.first_name(batch)
            except ModelError as error:
                if error.status not in (404, 200) or not self._unread.is_lost(key):
                    raise
                self._ids[key] = None
        return self._ids[key]


class LostBatches:
    """Looks for lost batches, once in a process and before it sends anything."""

    def __init__(self, clients: Clients, job_id: str, proofs: Proofs, *, resumed: bool) -> None:
        """``resumed``: an earlier process may have left batches."""
        self._clients, self._job_id, self._resumed = clients, job_id, resumed
        self._looked: set[str] = set()  # models
        self._proofs = proofs
        self._unsure: dict[str, list[BatchStatus]] = {}  # by model: batches whose owner only their results will show

    def adopt(self, place: BatchLog, ledger: BatchLedger) -> Set[str]:
        """Adopt the batches that are found; returns the models for which nothing may be sent yet."""
        if not self._resumed:
            return frozenset()
        models = {one.model for one in ledger.wanted.values()} | {one.record.model for one in ledger.under_way()}
        return {name for name in models & set(self._clients.models) if not self._is_known(place, ledger, name)}

    def _is_known(self, place: BatchLog, ledger: BatchLedger, model: str) -> bool:
        try:
            if model not in self._looked:
                self._look(place, ledger, model)
                self._looked.add(model)
            self._prove(place, ledger, model)
        except ModelError as error:
            if not (error.transient or error.status == 404):  # results may not be there at once
                raise
            return False
        return not self._unsure.get(model)

    def _look(self, place: BatchLog, ledger: BatchLedger, model: str) -> None:
        state, known = place.view.state, set(ledger.names())
        began = (state.epochs[0].job.at if state.epochs else time.time()) - SLACK_S
        mine, client = job_digest(place, self._job_id, model), self._clients.client(model)
        own: list[BatchStatus] = []
        unsure: list[BatchStatus] = []
        for status in client.since(began):
            if status.token is None:
                if state.repaired and status.name not in known and status.created <= state.repaired_by + SLACK_S:
                    unsure.append(status)
            elif status.job == mine:
                own.append(status)
        tokens = {one.record.token for one in ledger.under_way()}  # intents have their own search, by token
        for status in own:
            if status.name not in known and status.token not in tokens and status.state != "failed":
                self._adopt(place, ledger, model, status)
        self._unsure[model] = unsure
        live = {one.record.name for one in ledger.under_way()}
        client.sweep(mine, tokens=tokens, batches=own, live=live)

    def _prove(self, place: BatchLog, ledger: BatchLedger, model: str) -> None:
        """Adopt or dismiss the unsure batches that are over, by their results."""
        client = self._clients.client(model)
        for status in self._unsure.get(model, [])[:]:
            now = status if status.over else client.look(status.name)
            if now.over:
                digest = digest_in(self._proofs.custom_id(client, now) or "")
                if digest in ledger.wanted and ledger.wanted[digest].model == model:
                    self._adopt(place, ledger, model, now)
                self._unsure[model].remove(status)

    def _adopt(self, place: BatchLog, ledger: BatchLedger, model: str, status: BatchStatus) -> None:
        facts: dict[str, object] = {"requests": status.total, "recovered": True}
        price = self._clients.models[model].price
        if price is not None:
            facts["price"] = asdict(price)
        number, token = ledger.next_number(), status.token or ""
        log.warning("job %s: batch %s, of which the log knew nothing, is its own: adopted", self._job_id, status.name)
        write(place, BatchRecord(number, time.time(), "submitted", model, token, status.name, b"", facts))
