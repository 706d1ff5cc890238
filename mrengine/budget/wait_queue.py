"""Owns the waiting line of one limit: who asked, in what order they are served, how much a class leaves to its betters.

Rank 0 is ``P0_critical``, 1 ``P1_user``, 2 ``P2_batch``. Within a rank first come, first served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from mrengine.errors import ConfigError
from mrengine.records import Priority

__all__ = [
    "NO_RESERVE",
    "RANKS",
    "SHARES",
    "ClassReserve",
    "Key",
    "Need",
    "QueuedRequest",
    "WaitQueue",
    "process_of",
    "rank_of",
]

Need = tuple[float, float, float, float]  # tokens, input tokens, output tokens, requests
Key = tuple[str, int]  # who asks, and the number of the ask

RANKS: dict[str, int] = {"P0_critical": 0, "P1_user": 1, "P2_batch": 2, "P0": 0, "P1": 1, "P2": 2}
SHARES = (0.0, 0.3, 0.6)  # of the capacity, left to the betters of each rank
# A reserve is given up evenly over this silence of those it is kept for: a third of the minute in which a bucket
# refills, so that a job that is alone has used burst and rate in full when the minute is over.
RELEASE_S = 20.0
# Batch work gives up all of its reserve but this much of the rate: a better call that comes is served soon.
KEPT_S = 0.5
# However busy its betters are, the first of a class waits no longer than this after the last one: a refill period.
PATIENCE_S = 60.0
# Being passed for a slot by those who are there to take it, at most so often.
PASSES = 4


def process_of(key: Key) -> str:
    """The process that an ask comes from: owners are named ``process/…``."""
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
    """One wait. ``expires``: forgotten then, if its owner has not come again. Seconds of the line's clock."""

    key: Key
    rank: int
    need: Need
    since: float
    expires: float
    passed: int = 0


class ClassReserve(NamedTuple):
    """``floor`` tokens are left for now; that falls by ``falling`` a second to ``least``."""

    floor: float
    least: float
    falling: float


NO_RESERVE = ClassReserve(0.0, 0.0, 0.0)


class WaitQueue:
    """All asks that wait for one limit, whichever worker or process they come from."""

    __slots__ = ("asks", "heard", "served")

    def __init__(self, now: float, idle: Collection[int] = ()) -> None:
        self.asks: tuple[dict[Key, QueuedRequest], ...] = ({}, {}, {})
        # A class that cannot come (``idle``) has been silent for ever; the others may come any moment.
        self.heard = [float("-inf") if rank in idle else now for rank in range(3)]
        self.served = [now] * 3

    def __len__(self) -> int:
        return sum(map(len, self.asks))

    def join(self, ask: QueuedRequest) -> None:
        """Put an ask at the end of its class; one that is there already keeps its place, and is brought up to date."""
        self.heard[ask.rank] = ask.since
        there = self.asks[ask.rank].setdefault(ask.key, ask)
        there.need, there.expires = ask.need, ask.expires

    def leave(self, key: Key) -> QueuedRequest | None:
        """Take an ask out, wherever it is."""
        for asks in self.asks:
            if key in asks:
                return asks.pop(key)
        return None

    def waiting(self) -> list[Key]:
        """Who waits, in no order that matters."""
        return [key for asks in self.asks for key in asks]

    def in_order(self, now: float) -> Iterator[tuple[QueuedRequest, bool]]:
        """Every ask in the order of service, and whether its class was starved; the expired are dropped on the way."""
        starved = [ask for ask in map(self._starved, (1, 2), (now, now)) if ask is not None]
        first = {ask.key for ask in starved}
        for ask in starved:
            yield ask, True
        for rank, asks in enumerate(self.asks):
            for ask in list(asks.values()):
                if ask.expires < now:
                    del asks[ask.key]
                elif ask.key not in first:
                    yield ask, False
            if asks:
                self.heard[rank] = now

    def _starved(self, rank: int, now: float) -> QueuedRequest | None:
        head = next(iter(self.asks[rank].values()), None)
        if head is None or head.expires < now or now - max(head.since, self.served[rank]) < PATIENCE_S:
            return None
        return head

    def serve(self, ask: QueuedRequest, now: float) -> None:
        """Take out an ask that was granted."""
        del self.asks[ask.rank][ask.key]
        self.served[ask.rank] = self.heard[ask.rank] = now

    def silence_s(self, rank: int, now: float) -> float:
        """Since when no better class has asked; 0 while one waits."""
        better = range(rank)
        if any(self.asks[i] for i in better):
            return 0.0
        return min((now - self.heard[i] for i in better), default=float("inf"))

    def reserve(self, rank: int, capacity: float, rate: float, now: float) -> ClassReserve:
        """What a class leaves in a bucket: its share of the capacity, less with the silence of its betters."""
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
            [*ask.key, ask.rank, ask.need, ask.since, ask.expires, ask.passed]
            for asks in self.asks
            for ask in asks.values()
        ]
        return [waiting, self.heard, self.served]

    @classmethod
    def load(cls, state: list[Any]) -> WaitQueue:
        """The line that ``dump`` described."""
        waiting, heard, served = state
        line = cls(0.0)
        line.heard, line.served = heard, served
        for owner, number, rank, need, since, expires, passed in waiting:
            ask = QueuedRequest((owner, number), rank, tuple(need), since, expires, passed)
            line.asks[rank][ask.key] = ask
        return line
