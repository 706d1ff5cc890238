"""Keeps the state of a job's batches, from its log: calls that are wanted, batches under way, refused calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mrengine.log.format.batch_records import BatchRecord, unpack_batch, unpack_request
from mrengine.log.format.codec import Frame
from mrengine.log.format.job_records import unpack_close
from mrengine.log.format.packing import full_key
from mrengine.log.format.task_records import DIGEST_BYTES, digest_in, unpack_call

__all__ = ["UNDER_WAY", "WAITING", "BatchLedger", "Batched", "Wanted"]

UNDER_WAY = frozenset({"intent", "submitted", "cancelling"})
WAITING = "waiting"  # the state of a CLOSE after which the same run goes on, in another process
REFUSED = '{"status":'  # how the text of a CALL begins that holds a refusal


class Wanted(NamedTuple):
    """A REQUEST without an answer. ``tasks``: (round, chunk_id, model_index) of all tasks that want the answer.

    ``tokens``: an estimate of its input tokens, ``bound`` an upper bound of them. ``prefix``: digest and tokens of the
    part that may be cached.
    """

    offset: int
    epoch: int
    tasks: tuple[tuple[int, int, int], ...]
    model: str
    tokens: int
    bound: int
    max_tokens: int
    prefix: tuple[str, int] = ("", 0)


@dataclass(slots=True)
class Batched:
    """A batch as its records describe it. ``began``: when its first record was written.

    ``blind``: its intent is lost, so that any request of its model may be in the batch.
    """

    number: int
    began: float
    record: BatchRecord
    digests: tuple[bytes, ...] = field(default=(), repr=False)
    requests: int = 0
    blind: bool = False

    @property
    def under_way(self) -> bool:
        return self.record.state in UNDER_WAY


class BatchLedger:
    """The state of all batches; add each record in order.

    ``since``: offset where the present logical run begins, behind the newest CLOSE that does not only wait.
    ``refused``: by digest, offset of the CALL of this run that holds a refusal. ``tries``: by digest, the number of
    this run's batches that held a request without answering it. ``warmed``: by (model, digest of a prefix), when an
    answer last showed that the prefix was in its provider's cache: written for an hour, or read.
    """

    # A logical run may take many processes: each leaves with a CLOSE that says "waiting", and another goes on later.

    def __init__(self) -> None:
        self.wanted: dict[bytes, Wanted] = {}
        self.batches: dict[int, Batched] = {}
        self.refused: dict[bytes, int] = {}
        self.tries: Counter[bytes] = Counter()
        self.warmed: dict[tuple[str, str], float] = {}
        self.since = 0
        self.deadline_from: float | None = None  # when the first batch of this run was begun
        self._epoch = 0
        self._prefixes: dict[tuple[str, int], tuple[str, int]] = {}

    @property
    def active(self) -> bool:
        """Whether the job has ever asked for a batch."""
        return bool(self.batches or self.wanted)

    # records

    def begin_epoch(self, number: int) -> None:
        """Take in a JOB: requests of earlier epochs are not sent any more."""
        # Their batches under way are still collected: they are paid for, and identical calls may find the answers.
        self._epoch = number

    def request(self, frame: Frame) -> None:
        """Take in a REQUEST. LogError: it is malformed."""
        record, epoch = unpack_request(frame.payload), full_key(frame.payload)[0]
        known = self.wanted.get(record.digest)
        others = () if known is None or known.epoch != epoch else known.tasks
        tasks = tuple(dict.fromkeys((*others, (record.round, record.chunk_id, record.model_index))))
        tokens = record.input_tokens, record.bound_tokens, record.max_tokens
        prefix = record.prefix_digest, record.prefix_tokens
        prefix = self._prefixes.setdefault(prefix, prefix)  # one object for all that begin alike
        self.wanted[record.digest] = Wanted(frame.offset, epoch, tasks, record.model, *tokens, prefix)

    def batch(self, frame: Frame) -> None:
        """Take in a BATCH. LogError: it is malformed."""
        record = unpack_batch(frame.payload)
        known = self.batches.get(record.number)
        if known is None:
            digests = tuple(
                record.digests[at : at + DIGEST_BYTES] for at in range(0, len(record.digests), DIGEST_BYTES)
            )
            stated = record.facts.get("requests")
            requests = len(digests) or (stated if isinstance(stated, int) else 0)
            blind = record.state != "intent"
            self.batches[record.number] = Batched(record.number, record.at, record, digests, requests, blind)
            self.deadline_from = record.at if self.deadline_from is None else self.deadline_from
            self.tries.update(digest for digest in digests if digest in self.wanted)
            return
        known.record = record
        if not known.under_way:
            if record.state in ("lost", "failed"):  # it was never begun, and no try of its requests
                self.tries.subtract(digest for digest in known.digests if digest in self.tries)
            known.digests = ()

    def call(self, frame: Frame) -> None:
        """Take in a CALL, which settles the request of its digest. LogError: it is malformed."""
        if not self.active:
            return
        digest = digest_in(frame.payload)
        known = self.wanted.pop(digest, None)
        if known is None:
            return
        record = unpack_call(frame.payload)
        if known.prefix[0] and (record.usage.cache_write_1h_tokens or record.usage.cached_tokens):
            asked_at = record.at - record.latency_ms / 1e3  # for an answer of a batch: when the batch was begun
            prefix = known.model, known.prefix[0]
            self.warmed[prefix] = max(asked_at, self.warmed.get(prefix, 0.0))
        if record.reusable:
            self.tries.pop(digest, None)
            self.refused.pop(digest, None)
        elif record.text.startswith(REFUSED):
            self.refused[digest] = frame.offset

    def close(self, frame: Frame) -> None:
        """Take in a CLOSE. LogError: it is malformed."""
        if unpack_close(frame.payload).state != WAITING:
            self.since = frame.end
            self.refused.clear()
            self.tries.clear()
            self.deadline_from = None

    # what they add up to

    def under_way(self) -> list[Batched]:
        """Batches that are not over, the oldest first."""
        return [one for one in self.batches.values() if one.under_way]

    def sent(self) -> set[bytes]:
        """Digests of the requests that are, or may be, in a batch under way."""
        # A request that may be in a batch is not sent again: it would be paid for twice.
        under_way = self.under_way()
        sent = {digest for one in under_way for digest in one.digests}
        blind = {one.record.model for one in under_way if one.blind}
        return sent | {digest for digest, one in self.wanted.items() if one.model in blind} if blind else sent

    def unsent(self) -> dict[bytes, Wanted]:
        """The calls that the present epoch wants and no batch under way holds."""
        sent = self.sent()
        return {digest: one for digest, one in self.wanted.items() if digest not in sent and one.epoch == self._epoch}

    def waiting(self, round_: int) -> set[tuple[int, int]]:
        """(chunk_id, model_index) of the round's tasks that want an answer."""
        # They are not run: they would only be parked again.
        mine = (one.tasks for one in self.wanted.values() if one.epoch == self._epoch)
        return {task[1:] for tasks in mine for task in tasks if task[0] == round_}

    def next_number(self) -> int:
        """The number of the next batch."""
        return max(self.batches, default=0) + 1

    def names(self) -> Iterator[str]:
        """The provider's ids of all batches of the job."""
        return (one.record.name for one in self.batches.values() if one.record.name)
