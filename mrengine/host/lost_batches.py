"""Finds batches of a job of which its log knows nothing: their records were damaged, or lost in a power cut.

Where the vendor keeps metadata, these say whose a batch is. Elsewhere (Anthropic) only its results do: where records
are known to be lost, whatever was made before that was noticed has to be over before anything is sent again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Set
from dataclasses import asdict

from mrengine.errors import ModelError
from mrengine.host.batch_log import BatchLog, Clients, job_digest, write
from mrengine.log.format.batch_records import BatchRecord
from mrengine.log.view.batch_ledger import BatchLedger
from mrengine.providers.batches.client import BatchClient, BatchStatus

__all__ = ["LostBatches"]

log = logging.getLogger("mrengine")
MOST_LOOKS = 10
SLACK_S = 300.0  # between our clock and the provider's


class LostBatches:
    """Looked for once in a process, before it sends anything."""

    def __init__(self, clients: Clients, job_id: str, *, resumed: bool) -> None:
        """``resumed``: an earlier process may have left something."""
        self._clients, self._job_id, self._resumed = clients, job_id, resumed
        self._looked: set[str] = set()  # models
        self._unread: Counter[str] = Counter()  # how often the results of a batch were not there
        self._unsure: dict[str, list[BatchStatus]] = {}  # by model: whose they are their results will say

    def adopt(self, place: BatchLog, ledger: BatchLedger) -> Set[str]:
        """Adopt what is found; the models of which nothing may be sent yet."""
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
        for seen in client.since(began):
            if seen.token is None:
                if state.repaired and seen.name not in known and seen.created <= state.repaired_by + SLACK_S:
                    unsure.append(seen)
            elif seen.job == mine:
                own.append(seen)
        tokens = {one.record.token for one in ledger.under_way()}  # an intent is looked for by its own
        for seen in own:
            if seen.name not in known and seen.token not in tokens and seen.state != "failed":
                self._adopt(place, ledger, model, seen)
        self._unsure[model] = unsure
        live = {one.record.name for one in ledger.under_way()}
        client.sweep(mine, tokens=tokens, seen=own, live=live)

    def _prove(self, place: BatchLog, ledger: BatchLedger, model: str) -> None:
        """Batches that are over show whose they are."""
        client = self._clients.client(model)
        for seen in self._unsure.get(model, [])[:]:
            now = seen if seen.over else client.look(seen.name)
            if now.over:
                digest = self._first_digest(client, now)
                if digest in ledger.wanted and ledger.wanted[digest].model == model:
                    self._adopt(place, ledger, model, now)
                self._unsure[model].remove(seen)

    def _first_digest(self, client: BatchClient, seen: BatchStatus) -> bytes:
        """Of its results; none where these are not there, however often they are asked for."""
        try:
            return _digest(client.first_name(seen) or "")
        except ModelError as error:
            self._unread[seen.name] += error.status in (404, 200)
            if self._unread[seen.name] <= MOST_LOOKS:
                raise
            return b""

    def _adopt(self, place: BatchLog, ledger: BatchLedger, model: str, seen: BatchStatus) -> None:
        facts: dict[str, object] = {"requests": seen.total, "recovered": True}
        price = self._clients.models[model].price
        if price is not None:
            facts["price"] = asdict(price)
        number, token = ledger.next_number(), seen.token or ""
        log.warning("job %s: batch %s, of which the log knew nothing, is its own: adopted", self._job_id, seen.name)
        write(place, BatchRecord(number, time.time(), "submitted", model, token, seen.name, b"", facts))


def _digest(custom_id: str) -> bytes:
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return b""
