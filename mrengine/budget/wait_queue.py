"""The wait queue of one limit: the waiting requests, their order, and the reserves for higher priorities.

Rank 0 is ``P0_critical``, 1 ``P1_user``, 2 ``P2_batch``. Within a rank first come, first served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from mrengine.errors import ConfigError
from mrengine.records import Priority

__all__ = [
    "NO_RESERVE", "PASSES", "RANKS", "SHARES", "ClassReserve", "Key", "Need", "QueuedRequest", "WaitQueue",
    "process_of", "rank_of",
]  # fmt: skip

Need = tuple[float, float, float, float]  # tokens, input tokens, output tokens, requests
Key = tuple[str, int]  # the requester, and the number of its request

RANKS: dict[str, int] = {"P0_critical": 0, "P1_user": 1, "P2_batch": 2, "P0": 0, "P1": 1, "P2": 2}
SHARES = (0.0, 0.3, 0.6)  # of the capacity, that each rank leaves for higher priorities
# A reserve is released linearly while those it is kept for are silent. A third of the minute in which a bucket refills,
# so that a job that is alone has used burst and rate in full by the end of that minute.
RELEASE_S = 20.0
# Batch work never releases this last part of its reserve, in seconds of the rate: an urgent call is served soon.
KEPT_S = 0.5
# Starvation bound: however busy higher priorities are, a rank is served again after one refill period.
PASSED_OVER_S = 60.0
# How often requests behind it in the queue may take a slot before a request whose worker is absent.
PASSES = 4


def process_of(key: Key) -> str:
    """The process that a request comes from: requesters are named ``process/…``."""
    return key[0].partition("/")[0]


def rank_of(priority: Priority | str) -> int:
    """0, 1 or 2; ConfigError for anything that is not a priority."""
    try:
        return RANKS[priority]
    except KeyError:
        names = ", ".join(RANKS)
        raise ConfigError(f"unknown priority {priority!r}: use one of {names}", setting="priority") from None


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A waiting request, dropped at ``expires`` unless its requester renews it. Seconds on the queue's clock."""

    key: Key
    rank: int
    need: Need
    since: float
    expires: float
    passed: int = 0


class ClassReserve(NamedTuple):
    """The reserve that a rank leaves in a bucket: ``floor`` tokens, falling by ``falling`` a second to ``least``."""

    floor: float
    least: float
    falling: float


NO_RESERVE = ClassReserve(0.0, 0.0, 0.0)


class WaitQueue:
    """All requests that wait for one limit, from whichever worker or process."""

    __slots__ = ("last_seen", "requests", "served")

    def __init__(self, now: float, idle: Collection[int] = ()) -> None:
        self.requests: tuple[dict[Key, QueuedRequest], ...] = ({}, {}, {})
        # Nothing is kept for ranks that no job uses (``idle``); a request of any other rank may come at any moment.
        self.last_seen = [float("-inf") if rank in idle else now for rank in range(3)]
        self.served = [now] * 3

    def __len__(self) -> int:
        return sum(map(len, self.requests))

    def join(self, request: QueuedRequest) -> None:
        """Append a request to its rank. One that is already queued keeps its place; its need and expiry are updated."""
        self.last_seen[request.rank] = request.since
        queued = self.requests[request.rank].setdefault(request.key, request)
        queued.need, queued.expires = request.need, request.expires

    def leave(self, key: Key) -> QueuedRequest | None:
        """Remove a request, whatever its rank."""
        for requests in self.requests:
            if key in requests:
                return requests.pop(key)
        return None

    def waiting(self) -> list[Key]:
        """The keys of all waiting requests, in no particular order."""
        return [key for requests in self.requests for key in requests]

    def in_order(self, now: float) -> Iterator[tuple[QueuedRequest, bool]]:
        """Every request in the order of service, and whether its rank is starved. Expired requests are dropped."""
        starved = [request for request in map(self._starved, (1, 2), (now, now)) if request is not None]
        first = {request.key for request in starved}
        for request in starved:
            yield request, True
        for rank, requests in enumerate(self.requests):
            for request in list(requests.values()):
                if request.expires < now:
                    del requests[request.key]
                elif request.key not in first:
                    yield request, False
            if requests:
                self.last_seen[rank] = now

    def _starved(self, rank: int, now: float) -> QueuedRequest | None:
        head = next(iter(self.requests[rank].values()), None)
        if head is None or head.expires < now or now - max(head.since, self.served[rank]) < PASSED_OVER_S:
            return None
        return head

    def serve(self, request: QueuedRequest, now: float) -> None:
        """Remove a request that was granted."""
        del self.requests[request.rank][request.key]
        self.served[request.rank] = self.last_seen[request.rank] = now

    def silence_s(self, rank: int, now: float) -> float:
        """How long no request of a higher priority has come; 0 while one waits."""
        higher = range(rank)
        if any(self.requests[i] for i in higher):
            return 0.0
        return min((now - self.last_seen[i] for i in higher), default=float("inf"))

    def reserve(self, rank: int, capacity: float, rate: float, now: float) -> ClassReserve:
        """The reserve that a rank leaves in a bucket, which shrinks while higher priorities are silent."""
        silence = self.silence_s(rank, now)
        if silence == float("inf"):
            return NO_RESERVE
        least = min(KEPT_S * rate, capacity) if rank == 2 else 0.0
        share = SHARES[rank] * capacity
        floor = max(least, share * (1.0 - silence / RELEASE_S))
        return ClassReserve(floor, least, share / RELEASE_S if silence > 0.0 else 0.0)

    def dump(self) -> list[Any]:
        """The state, as plain lists and numbers."""
        waiting = [
            [*request.key, request.rank, request.need, request.since, request.expires, request.passed]
            for requests in self.requests
            for request in requests.values()
        ]
        return [waiting, self.last_seen, self.served]

    @classmethod
    def load(cls, state: list[Any]) -> WaitQueue:
        """The queue that ``dump`` described."""
        waiting, last_seen, served = state
        queue = cls(0.0)
        queue.last_seen, queue.served = last_seen, served
        for owner, number, rank, need, since, expires, passed in waiting:
            request = QueuedRequest((owner, number), rank, tuple(need), since, expires, passed)
            queue.requests[rank][request.key] = request
        return queue
