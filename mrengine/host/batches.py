"""Submits, polls, adopts, cancels and collects the batches of a job, between two plays of a round.

Nothing else touches them. All state that matters is in the log (``log/view/batch_ledger``), so that another process can
go on at any instant. docs/decisions/batches.md says what a kill at each step means.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrengine.errors import ModelError, ModelUnavailable
from mrengine.host.batch_log import BatchLog, Clients, note
from mrengine.host.batch_sending import Sender
from mrengine.host.lost_batches import LostBatches, Misses, Proofs
from mrengine.job.driver import Ended
from mrengine.log.view.batch_ledger import WAITING, Batched, BatchLedger, Wanted
from mrengine.providers.batches.client import BatchClient, BatchStatus
from mrengine.providers.models.model import Model
from mrengine.records import Batch, Budget

__all__ = ["BatchCoordinator"]

log = logging.getLogger("mrengine")
MOST_TRIES = 5  # batches that fail to answer a request, after which it is asked directly
LEAST_GRACE_S, MOST_GRACE_S = 2.0, 60.0  # how long a create call without an answer may still be under way …
SLOWEST = 1_000_000  # … beside the time to send its body, at so many bytes a second
LOOKS_S = 0.1  # between two looks for such a batch, of which there are several
MOST_REFUSALS = 5  # batches refused as a whole, in a row, after which the run ends
_LIMIT = re.compile(r"[Ll]imit:?\s*([\d,_.]{3,})")


class BatchCoordinator:
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
        resumed: bool = True,
        answers: Sequence[str] | None = None,
    ) -> None:
        """``resumed``: an earlier process may have left batches. ``answers``: see Clients."""
        self._batch, self._job_id, self._folder, self._detach = batch, job_id, folder, detach
        self._clients = Clients(models, folder, answers)
        self._sender = Sender(self._clients, budget, batch, job_id, folder)
        self._proofs = Proofs()
        self._lost = LostBatches(self._clients, job_id, self._proofs, resumed=resumed)
        self._waits_from: float | None = None
        self._looked: dict[int, float] = {}  # when a batch was last looked for, by its number …
        self._sought: dict[int, float] = {}  # … and when first
        self._short = Misses()  # a batch that is not found, or has fewer answers than its counts say, by its number
        self._cancelled: set[int] = set()  # batches that this process has asked to end

    @property
    def models(self) -> Mapping[str, Model]:
        """All that may be asked, by name."""
        return self._clients.models

    # what a round asks

    def mode(self, ledger: BatchLedger, began: int | None) -> dict[str, Any]:
        """The fields of ``worker.batched_call.BatchMode`` for the next play."""
        return {
            "since": ledger.since,
            "began": began,
            "late": self._batch.finish if self._is_late(ledger) else "",
            "finish": self._batch.finish,
            "refused": dict(ledger.refused),
            "direct": self._hopeless(ledger),
            "primers": list(self._sender.primers.now),
        }

    def held(self, ledger: BatchLedger, round_: int) -> set[tuple[int, int]]:
        """(chunk_id, model_index) of tasks that need not run yet: the answer that they wait for has not come."""
        if self._is_late(ledger) and not ledger.under_way():  # all run, and end as Batch.finish says
            return set()
        direct = {*self._hopeless(ledger), *(self._sender.primers.now & ledger.wanted.keys())}
        if not direct:
            return ledger.waiting(round_)
        able = {task[1:] for digest in direct for task in ledger.wanted[digest].tasks if task[0] == round_}
        return ledger.waiting(round_) - able

    def _hopeless(self, ledger: BatchLedger) -> list[bytes]:
        """Digests that no batch will answer."""
        sent = ledger.sent() if ledger.tries else ()
        return [d for d, tries in ledger.tries.items() if tries >= MOST_TRIES and d in ledger.wanted and d not in sent]

    def _is_late(self, ledger: BatchLedger) -> bool:
        began, deadline_s = ledger.deadline_from, self._batch.deadline_s
        return deadline_s is not None and began is not None and time.time() >= began + deadline_s

    # between two plays

    def settle(self, place: BatchLog) -> Ended | None:
        """Send what is wanted, and wait until something comes back. None: the round can be played again."""
        self._waits_from = self._waits_from or time.monotonic()
        try:
            return self._settle(place)
        except ModelError as error:
            message = f"its batches cannot go on: {error}. What was answered is kept; batch=None asks directly"
            return Ended("failed", {"message": message})

    def _settle(self, place: BatchLog) -> Ended | None:
        ledger = place.view.state.batches
        while True:
            why = self._interrupted(place)
            if why is not None and why != "cancelled":
                late = f"no batch has ended within max_wait_s={self._batch.max_wait_s:g}" if why == "max_wait_s" else ""
                return Ended("timeout" if late else why, {"message": late})
            # Adopt before sending: what an earlier process has sent, or a lost answer hides, must not be bought again.
            ending = why == "cancelled" or self._is_late(ledger)
            self._adopt(place, ledger)
            unknown = self._lost.adopt(place, ledger)
            short = None
            if ending:
                self._cancel(place, ledger)
            else:
                sendable = [one for one in self._sendable(ledger) if one[1].model not in unknown]
                allowance = self._sender.allowance(place, ledger)
                if self._sender.primers.choose(ledger, sendable, allowance):
                    return None  # the first calls go directly: the batch is sent when they have filled the cache
                short = self._sender.submit(place, ledger, sendable, allowance)
            came = self._poll(place, ledger)
            under_way = ledger.under_way()
            if why is not None and not under_way and not unknown:
                return Ended(why, {})
            # While it ends, all is awaited: what batches have done by then is paid for, and collected.
            if came if not ending else not under_way and not unknown:
                return None
            if not under_way and not self._sendable(ledger):
                return None
            if not under_way and short is not None and not self._sender.hold:
                return Ended("budget", short)
            if self._detach and (under_way or unknown) and not ending:
                return Ended(WAITING, {"message": _waiting_for(under_way)})
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
        """The requests that are in no batch and that a batch may answer, in the order of the log."""
        hopeless = set(self._hopeless(ledger))
        sendable = [(digest, wanted) for digest, wanted in ledger.unsent().items() if digest not in hopeless]
        return sorted(sendable, key=lambda item: item[1].offset)

    # look

    def _adopt(self, place: BatchLog, ledger: BatchLedger) -> None:
        """Look for the batches of which the log has only the intent: a create call may have made them."""
        for batch in ledger.under_way():
            if batch.record.model not in self.models:
                self._gone(place, batch)  # the job goes on with other models: nobody has a client for it
            elif batch.record.state == "intent":
                with suppress(_Later):
                    self._look_for(place, ledger, batch)

    def _look_for(self, place: BatchLog, ledger: BatchLedger, batch: Batched) -> None:
        now, number = time.monotonic(), batch.number
        if now < self._looked.get(number, 0.0) + LOOKS_S:
            return
        self._looked[number] = now
        first = self._sought.setdefault(number, now)
        status = self._find(batch, set(ledger.names()))
        if status is not None:
            self._sender.submitted(place, batch.record, status, adopted=True)
        elif self._is_over(batch, now) and now >= first + 2 * LOOKS_S:  # after several looks
            note(place, batch.record, "lost")

    def _is_over(self, batch: Batched, now: float) -> bool:
        """Whether a create call cannot be under way any more: of this process, or of one that was killed."""
        # Of a killed process the age of the intent tells, by the wall clock: its monotonic clock is not ours.
        grace_s = min(MOST_GRACE_S, max(LEAST_GRACE_S, self._batch.poll_s))
        failed = self._sender.unsure.get(batch.number)
        size = batch.record.facts.get("bytes")
        sent_s = size / SLOWEST if isinstance(size, int) else 0.0
        return now >= failed + grace_s if failed is not None else time.time() >= batch.began + grace_s + sent_s

    def _find(self, batch: Batched, known: Collection[str]) -> BatchStatus | None:
        """Find a batch among those of the account. _Later: it cannot be decided yet."""
        client = self._clients.client(batch.record.model)
        since = str(batch.record.facts.get("since") or "")
        try:
            token, requests = batch.record.token, batch.requests
            for status in client.candidates(token=token, since=since, known=known, requests=requests):
                if status.token is not None:
                    return status  # the provider keeps metadata, and has compared the token
                if not status.over:
                    raise _Later  # only its results will show whose it is
                if self._is_mine(client, batch, status):
                    return status
        except ModelError as error:
            if not (error.transient or error.status == 404):  # results may not be there at once
                raise
            raise _Later from None
        return None

    def _is_mine(self, client: BatchClient, batch: Batched, status: BatchStatus) -> bool:
        # Providers without metadata (Anthropic): the custom_ids of its results are digests of our requests. What was
        # read is kept, not the verdict: a batch that is a stranger to one intent may be the batch of another.
        return self._proofs.custom_id(client, status) in {digest.hex() for digest in batch.digests}

    def _poll(self, place: BatchLog, ledger: BatchLedger) -> bool:
        """Look at every batch under way, and collect those that are over; whether there was one."""
        came = False
        for batch in ledger.under_way():
            if not batch.record.name:
                continue
            client = self._clients.client(batch.record.model)
            try:
                status = client.look(batch.record.name)
                place.emit("batch:progress", batch_id=status.name, model=batch.record.model, state=status.word,
                           requests=status.total or batch.requests, done=status.done, failed=status.failed)  # fmt: skip
                if status.over:
                    self._over(place, ledger, batch, client, status)
                    came = True
            except ModelError as error:
                # A 404 may last for a moment only: given up at the first, the batch would be bought again.
                if error.status == 404 and self._short.is_lost(batch.number):
                    self._gone(place, batch)
                    came = True
                elif not error.transient and error.status != 404:
                    raise
                else:
                    log.info("job %s: batch %s cannot be seen just now: %s", self._job_id, batch.record.name, error)
        return came

    def _gone(self, place: BatchLog, batch: Batched) -> None:
        log.warning("job %s: its provider knows nothing of batch %s any more", self._job_id, batch.record.name)
        note(place, batch.record, "ended", {"gone": True})

    def _over(
        self, place: BatchLog, ledger: BatchLedger, batch: Batched, client: BatchClient, status: BatchStatus
    ) -> None:
        if status.state == "failed":
            self._failed(place, ledger, batch, status)
            return
        reader = self._clients.reader(batch.record.model)
        counts = reader.collect(place.view, client, batch, status, place.append, place.sync)
        # Its files may not be complete yet: answers counted as missing now would be bought again.
        if counts.successes < status.done and not self._short.is_lost(batch.number):
            problem = f"{counts.successes:,} of {status.done:,} answers came; its files are read again"
            raise ModelUnavailable(f"{batch.record.model}: {problem}", model=batch.record.model)
        facts = {**batch.record.facts, "word": status.word, "answered": counts.answered, "refused": counts.refused}
        note(place, batch.record, "ended", facts)
        client.tidy(status)
        self._sender.refusals = 0
        for name in list(self._sender.hold):
            self._sender.hold[name] = 0.0  # there is room now
        place.emit("batch:ended", batch_id=status.name, model=batch.record.model, state=status.word,
                   requests=batch.requests, answered=counts.answered, refused=counts.refused)  # fmt: skip

    def _failed(self, place: BatchLog, ledger: BatchLedger, batch: Batched, status: BatchStatus) -> None:
        """Note a batch that was refused as a whole; with too many tokens enqueued, the next one waits or shrinks."""
        facts: dict[str, Any] = {**batch.record.facts, "word": status.word, "code": status.code}
        model = batch.record.model
        others = [one for one in ledger.under_way() if one.record.model == model and one.number != batch.number]
        crowded = "token" in status.code and "limit" in status.code
        if crowded:
            match = _LIMIT.search(status.why)
            if match is not None:
                facts["limit"] = int(re.sub(r"\D", "", match[1]))
            elif not others:
                facts["halved"] = max(1, batch.requests // 2)
            self._sender.hold[model] = time.monotonic() + (0.0 if not others else self._batch.poll_s)
        # A crowded queue is no fault of the batch, unless it was one request with the queue to itself.
        self._sender.refusals += not crowded or (batch.requests == 1 and not others)
        note(place, batch.record, "failed", facts)
        log.warning("job %s: batch %s was refused: %s", self._job_id, status.name, status.code or status.word)
        if self._sender.refusals >= MOST_REFUSALS:
            raise ModelError(f"{model} refuses its batches ({status.code or status.word})", model=model)

    # cancel

    def _cancel(self, place: BatchLog, ledger: BatchLedger) -> None:
        """Ask the provider to end all that is under way; what was done by then is collected."""
        for batch in ledger.under_way():
            if batch.record.state == "submitted":  # noted first: after a kill it is asked again, which does no harm
                note(place, batch.record, "cancelling")
            if batch.record.name and batch.number not in self._cancelled:
                with suppress(ModelError):  # asked again at the next look
                    self._clients.client(batch.record.model).cancel(batch.record.name)
                    self._cancelled.add(batch.number)

    def close(self) -> None:
        """Close all connections."""
        self._clients.close()


class _Later(Exception):
    """Whose a batch is cannot be decided yet."""


def _waiting_for(batches: list[Batched]) -> str:
    requests = sum(batch.requests for batch in batches)
    return f"{requests} request{'s' * (requests != 1)} in {len(batches)} batch{'es' * (len(batches) != 1)} under way"
