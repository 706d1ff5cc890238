"""The arithmetic of one token bucket: a level that refills, grants that lower it, settlements that give back.

The clock is the caller's: every method takes ``now`` in seconds, and nothing here ever waits. The invariant is that of
the providers' own buckets: in any ``w`` seconds the settled grants sum to at most ``burst + rate × w``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

__all__ = ["HEADROOM_S", "MINUTE_S", "Bucket", "burst", "implied_level"]

MINUTE_S = 60.0
# The first call travels slowest (it opens the connection), so the provider's bucket starts to refill later than ours.
# A full minute's burst then ends in a 429; 0.6 s of the rate less causes none with delays of up to 0.2 s.
HEADROOM_S = 0.6
# Levels are floats: after the wait that was computed, the grant must not fail for a rounding error.
EPSILON = 1e-6
# The gaps that ``give_back`` needs are remembered in steps of the capacity, which bounds their number. In exchange,
# about one step of the returned tokens may be lost each time the bucket fills up.
STEPS = 128


def burst(limit: float, burst_s: float = MINUTE_S) -> float:
    """How much of ``limit`` a minute may be granted at once: ``burst_s`` seconds of the rate, less 0.6 s."""
    return max(0.0, (min(burst_s, MINUTE_S) - HEADROOM_S) * limit / MINUTE_S)


class Bucket:
    """``level`` tokens of at most ``capacity``, refilled at ``rate`` tokens a second.

    An amount above the capacity is granted when the bucket is full, and the level goes into debt. With a capacity of 0
    grants are therefore spaced evenly, each waiting until the one before it is paid off.
    """

    __slots__ = ("at", "capacity", "level", "lows", "marks", "rate")

    def __init__(self, capacity: float, rate: float, now: float, level: float | None = None) -> None:
        self.capacity = capacity
        self.rate = rate
        self.level = capacity if level is None else min(level, capacity)
        self.at = now
        # (grant number, how far from full the bucket was just before it); only suffix minima are kept, so both rise.
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
        """Seconds until ``need`` may be taken if nobody else takes anything; 0: now. Call ``refill`` first.

        ``ahead`` belongs to requests earlier in the queue. ``floor`` must be left in the bucket; it falls by
        ``falling`` a second, down to ``least``.
        """
        missing = min(need + floor, self.capacity) + ahead - self.level
        if missing <= EPSILON:
            return 0.0
        return max(missing / (self.rate + falling), (missing - (floor - least)) / self.rate if falling else 0.0)

    def take(self, amount: float) -> int:
        """Lower the level; ``give_back`` needs the mark that is returned."""
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

        The level becomes what it would be had the grant been smaller from the start.
        """
        if amount > 0:
            # A bucket that was nearly full since then would have overflowed, so no more comes back than the smallest
            # gap since the grant. ``min(capacity, level + amount)`` would pay old grants out again, on top of a burst.
            since = bisect_right(self.lows, mark, key=lambda low: low[0])
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


def implied_level(capacity: float, rate: float, spent: Iterable[tuple[float, float]]) -> float:
    """The lowest level a bucket can have, given its last minute as ``spent``: pairs of (seconds ago, amount)."""
    # A minute ago it may have been empty; but every grant found its amount in the bucket, so none left the level below
    # zero. Together these bound the level from below, exactly so if the minute began with an empty or a full bucket.
    level, at = 0.0, MINUTE_S
    for ago, amount in sorted(spent, reverse=True):
        if ago > MINUTE_S:
            continue
        level = min(capacity, level + rate * (at - max(ago, 0.0)))
        level, at = max(min(0.0, capacity - amount), level - amount), max(ago, 0.0)
    return min(capacity, level + rate * at)
