"""Owns the arithmetic of one token bucket: a level that refills, grants that lower it, what is given back.

The clock is the caller's: every method is told ``now`` in seconds and nothing here ever waits. The rule is the one of
the providers' own buckets. In any ``w`` seconds the grants, as they were settled, sum to at most ``burst + rate × w``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

__all__ = ["HEADROOM_S", "MINUTE_S", "Bucket", "burst", "implied_level"]

MINUTE_S = 60.0
# The first call travels slowest, so the provider's bucket starts to drain later than ours refills. A full minute gives
# a 429 at the end of the burst; 0.6 s of the rate less gives none with delays of up to 0.2 s.
HEADROOM_S = 0.6
# Levels are floats: a wait that was computed as enough must be enough.
EPSILON = 1e-6
# How far from full a bucket was is remembered in steps of its capacity, so that it keeps no more marks than there are
# steps. Of all that is given back after one filling about a step may be lost.
STEPS = 128


def burst(limit: float, burst_s: float = MINUTE_S) -> float:
    """What may be granted at once, of ``limit`` a minute: ``burst_s`` seconds of the rate, less 0.6 s."""
    return max(0.0, (min(burst_s, MINUTE_S) - HEADROOM_S) * limit / MINUTE_S)


class Bucket:
    """``level`` tokens of at most ``capacity``, refilled at ``rate`` tokens a second.

    An amount above the capacity is granted when the bucket is full, and the level goes into debt: with a capacity of 0
    grants are spaced evenly, each after the time that the one before it is worth.
    """

    __slots__ = ("at", "capacity", "level", "lows", "marks", "rate")

    def __init__(self, capacity: float, rate: float, now: float, level: float | None = None) -> None:
        self.capacity = capacity
        self.rate = rate
        self.level = capacity if level is None else min(level, capacity)
        self.at = now
        # How far from full the bucket was just before each grant, as suffix minima: (number of the grant, gap), rising.
        self.lows: list[tuple[int, float]] = []
        self.marks = 0

    def refill(self, now: float) -> None:
        """Bring the level to ``now``. A clock that went backwards adds nothing."""
        if now > self.at:
            self.level = min(self.capacity, self.level + self.rate * (now - self.at))
            self.at = now

    def wait_s(
        self, need: float, ahead: float = 0.0, floor: float = 0.0, least: float = 0.0, falling: float = 0.0
    ) -> float:
        """Seconds until ``need`` may be taken, if nobody else takes anything; 0: now. The level must be current.

        ``ahead`` is owed to others, ``floor`` has to be left, and falls by ``falling`` a second to ``least``.
        """
        missing = min(need + floor, self.capacity) + ahead - self.level
        if missing <= EPSILON:
            return 0.0
        return max(missing / (self.rate + falling), (missing - (floor - least)) / self.rate if falling else 0.0)

    def take(self, amount: float) -> int:
        """Lower the level; the mark that is returned is asked for when something is given back."""
        gap = self.capacity - self.level
        while self.lows and self.lows[-1][1] >= gap:
            self.lows.pop()
        self.marks += 1
        if self.lows and self.lows[-1][1] + self.capacity / STEPS > gap:
            gap = self.lows.pop()[1]
        self.lows.append((self.marks, gap))
        self.level -= amount
        return self.marks

    def give_back(self, amount: float, mark: int) -> None:
        """Return a part of the grant ``mark``; a negative ``amount`` takes more.

        The level becomes what it would be had the grant been smaller from the start. A bucket that was nearly full
        since then would have spilled the difference, so no more comes back than the smallest gap since the grant: with
        a plain ``min(capacity, level + amount)`` old grants could be paid out a second time on top of a full burst.
        """
        if amount > 0:
            since = bisect_right(self.lows, mark, key=_number)
            least = self.lows[since][1] if since < len(self.lows) else amount
            amount = max(0.0, min(amount, least, self.capacity - self.level))
        self.level += amount

    def dump(self) -> list[Any]:
        """The state, as plain lists and numbers."""
        return [self.capacity, self.rate, self.level, self.at, self.marks, self.lows]

    @classmethod
    def load(cls, state: list[Any]) -> Bucket:
        """The bucket that ``dump`` described."""
        capacity, rate, level, at, marks, lows = state
        bucket = cls(capacity, rate, at, level)
        bucket.marks = marks
        bucket.lows = [(number, gap) for number, gap in lows]
        return bucket


def _number(low: tuple[int, float]) -> int:
    return low[0]


def implied_level(capacity: float, rate: float, spent: Iterable[tuple[float, float]]) -> float:
    """The least level a bucket can have after ``spent``, pairs of (seconds ago, amount) of its last minute.

    A minute ago it may have been empty; but every grant found its amount in the bucket, so the level was never below
    zero after one. Both together bound it from below, exactly where the minute began with an empty or a full bucket.
    """
    level, at = 0.0, MINUTE_S
    for ago, amount in sorted(spent, reverse=True):
        if ago > MINUTE_S:
            continue
        level = min(capacity, level + rate * (at - max(ago, 0.0)))
        level, at = max(min(0.0, capacity - amount), level - amount), max(ago, 0.0)
    return min(capacity, level + rate * at)
