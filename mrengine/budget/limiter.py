"""One limit: its buckets, slots and wait queue. Decides which request is granted, and when.

Every method takes the time as an argument; nothing here waits, locks or does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from mrengine.budget.bucket import MINUTE_S, Bucket, burst, implied_level
from mrengine.budget.server_bucket import MARGIN_S, TRAVEL_S, HeaderReading, ServerBucket, pairs
from mrengine.budget.wait_queue import NO_RESERVE, PASSES, SHARES, Key, Need, QueuedRequest, WaitQueue, process_of
from mrengine.errors import ConfigError
from mrengine.records import Observed, RateLimit

__all__ = ["DIMENSIONS", "GRACE_S", "NOTHING_USED", "Held", "Limiter", "Spent", "Wait"]

DIMENSIONS = ("tokens", "input tokens", "output tokens", "requests")
REQUESTS = 3
# The end of a wait for a slot cannot be computed, so it is checked again within these bounds.
LOOK_AGAIN_S = (0.005, 1.0)
# A requester that does not come back within this time after its wait leaves the queue.
GRACE_S = 2.0
NEARLY_EMPTY = 0.1
UNLIMITED_AT = 256  # calls in flight at which a provider of unknown limits is taken to have none
# A lone refusal among answers concerns its own call, which waits for its Retry-After. Two in a row, or a similar share,
# concern the limit and hold every request: the weight of the newest answer, and the share of refusals that is too high.
NEWEST = 0.25
TROUBLE = 0.4
# The window grows with each success up to the ceiling, which is where a refusal once came; after this long without a
# refusal the ceiling is raised by the factor below.
PROBE_AFTER_S = 15.0
PROBE_FACTOR = 1.25
LONGEST_HOLD_S = 60.0  # unless Retry-After says more
YOUNG_S = 5.0  # after start, calls granted before this limiter existed may be in flight, uncounted

NOTHING_USED: Need = (0.0, 0.0, 0.0, 0.0)  # what a call that was never sent has used
Spent = tuple[float, float, float]  # seconds ago, input tokens, output tokens of one call


@dataclass(slots=True)
class Held:
    """An unsettled grant: what was taken and when, and its mark in each bucket."""

    need: Need
    marks: dict[int, int]
    at: float
    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that was not granted: seconds until it may be, and its place in the queue, from 1."""

    key: Key
    wait_s: float
    position: int


class Limiter:
    """The limit of one model: total, input and output tokens and requests per minute, and calls in flight.

    ``own`` are the buckets of configured or learned limits, by dimension; ``server_buckets`` come from the provider's
    headers, which win if they are stricter. A request is granted only while its requester is present, if the levels
    suffice for it on top of everything ahead of it in the queue.
    """

    # Nothing is granted in advance: such a grant would go stale with a stopped worker, be lost with a dead one, and
    # block a P0 that arrives meanwhile. A requester that comes late finds its tokens still there.

    def __init__(
        self, limit: RateLimit, now: float, *, idle: Collection[int] = (), spent: Iterable[Spent] = ()
    ) -> None:
        self.limit = limit
        self.own: dict[int, Bucket] = _buckets(limit, now, list(spent))
        self.server_buckets: dict[int, ServerBucket] = {}
        self.queue = WaitQueue(now, idle)
        self.in_flight: dict[str, int] = {}  # by process, where several share the limit
        self.taken = [0.0] * len(DIMENSIONS)  # by the calls in flight of this process
        self.hold_until = float("-inf")
        self.window: int | None = None  # calls in flight allowed where limits are unknown …
        self.ceiling = UNLIMITED_AT  # … and how far that may grow until no refusal has come for a while
        self.refused = (float("-inf"), 0)  # when the last refusal came, and the last call granted before it
        self.misses = 0  # probes in a row that were refused
        self.tolerated = 0  # calls in flight at the last refusal that were not refused themselves
        self.trouble = 0.0  # the share of refusals among the latest answers
        self.call_s = 1.0
        self.number = 0
        self.at = self.born = now

    # asking

    def refuse_oversize(self, need: Need) -> None:
        """ConfigError for a request that exceeds even a full bucket."""
        for i, bucket in self.own.items():
            amount = need[i]
            if amount <= bucket.capacity:
                continue
            # Above the capacity, a request takes a full bucket into debt; but it must not exceed a minute's burst.
            most = max(1.0, burst(bucket.rate * MINUTE_S))
            if amount > most:
                raise ConfigError(
                    f"a call of {amount:.0f} {DIMENSIONS[i]} can never be granted: the limit of "
                    f"{bucket.rate * MINUTE_S:.0f} a minute grants at most {most:.0f} at once; "
                    "use smaller chunks, a smaller max_tokens or a larger limit",
                    setting="limits",
                )

    def serve(self, keys: Collection[Key], now: float, *, process: str = "") -> tuple[dict[Key, Held], list[Wait]]:
        """Grant what can be granted of ``keys``, the requests whose requesters are present; the waits of the rest."""
        self._refill(now)
        granted: dict[Key, Held] = {}
        waits: list[Wait] = []
        ahead = [0.0] * len(DIMENSIONS)
        skipped: list[QueuedRequest] = []
        for request, starved in self.queue.in_order(now):
            if request.key in keys:
                wait_s = self._wait_s(request, ahead, skipped, starved, now)
                if wait_s <= 0.0:
                    self.queue.serve(request, now)
                    granted[request.key] = self.take(request.need, now, process)
                    if self.slots() is not None:
                        for other in skipped:
                            other.passed += 1
                    continue
                request.expires = now + wait_s + GRACE_S
                waits.append(Wait(request.key, wait_s, len(skipped) + 1))
            skipped.append(request)
            for i, amount in enumerate(request.need):
                ahead[i] += amount
        return granted, waits

    def _wait_s(
        self, request: QueuedRequest, ahead: list[float], skipped: list[QueuedRequest], starved: bool, now: float
    ) -> float:
        wait_s = max(0.0, self.hold_until - now)
        rank = request.rank
        for i, own in self.own.items():
            amount = request.need[i]
            # Most often even the full reserve leaves enough, so that it need not be computed.
            if amount and amount > own.level - ahead[i] - SHARES[rank] * own.capacity:
                reserve = NO_RESERVE if starved else self.queue.reserve(rank, own.capacity, own.rate, now)
                wait_s = max(wait_s, own.wait_s(amount, ahead[i], *reserve))
        for i, theirs in self.server_buckets.items():
            if amount := request.need[i]:
                wait_s = max(wait_s, theirs.bucket.wait_s(amount, ahead[i]))
        slots = self.slots()
        return wait_s if slots is None else max(wait_s, self._slot_wait_s(slots, skipped))

    def slots(self) -> int | None:
        """How many calls may be in flight: by the limit, or by what a provider of unknown limits has tolerated."""
        if self.window is None:
            return self.limit.concurrent
        return self.window if self.limit.concurrent is None else min(self.limit.concurrent, self.window)

    def _slot_wait_s(self, slots: int, skipped: list[QueuedRequest]) -> float:
        """Free slots are not kept for absent requesters: present ones may pass them, but each only a few times."""
        free = slots - sum(self.in_flight.values())
        before = sum(request.passed >= PASSES for request in skipped)
        if free - before >= 1:
            return 0.0
        least, most = LOOK_AGAIN_S
        return min(most, max(least, self.call_s * (len(skipped) + 1) / slots))

    def take(self, need: Need, now: float, process: str = "") -> Held:
        """Charge the buckets and occupy a slot, whatever the levels."""
        self.number += 1
        marks = {i: bucket.take(need[i]) for i, bucket in self.own.items()}
        for i, theirs in self.server_buckets.items():
            theirs.bucket.level -= need[i]
        self.occupy(process)
        for i, amount in enumerate(need):
            self.taken[i] += amount
        return Held(need, marks, now, self.number)

    def charge(self, used: Need, now: float) -> None:
        """Charge our own buckets for a call made before they existed; the provider's headers already include it."""
        self._refill(now)
        for i, bucket in self.own.items():
            bucket.take(used[i])

    def release(self, held: Held, process: str = "") -> None:
        """The call has ended: its slot is free."""
        self.vacate(process)
        for i, amount in enumerate(held.need):
            self.taken[i] -= amount

    def occupy(self, process: str = "") -> None:
        """Count a call in flight without charging for it: an earlier manager granted it."""
        self.in_flight[process] = self.in_flight.get(process, 0) + 1

    def vacate(self, process: str = "") -> None:
        """Free a slot taken by ``occupy``."""
        left = self.in_flight.get(process, 0) - 1
        if left > 0:
            self.in_flight[process] = left
        else:
            self.in_flight.pop(process, None)

    def processes(self) -> set[str]:
        """The names of the processes with calls in flight or waiting requests."""
        return {process_of(key) for key in self.queue.waiting()} | self.in_flight.keys()

    def forget(self, process: str) -> None:
        """Drop the requests and slots of a dead process. What its calls were charged stays charged."""
        self.in_flight.pop(process, None)
        for key in self.queue.waiting():
            if process_of(key) == process:
                self.queue.leave(key)

    # settling

    def settle(self, held: Held, used: Need | None, now: float, *, process: str = "") -> None:
        """Settle an ended call for what it ``used``; None: unknown, so all that was taken stays taken."""
        self._refill(now)
        self.release(held, process)
        self.call_s += 0.2 * (now - held.at - self.call_s)
        if used is None:
            return
        if used[0]:
            self.trouble -= NEWEST * self.trouble
        # Calls granted before the last refusal do not show that more are tolerated now.
        if self.window is not None and used[0] and held.number > self.refused[1]:
            self._widen(now)
        for i, mark in held.marks.items():
            self.own[i].give_back(held.need[i] - used[i], mark)
        for i, theirs in self.server_buckets.items():
            if held.number > theirs.number:  # the reading includes the earlier ones
                theirs.bucket.level = min(theirs.bucket.capacity, theirs.bucket.level + held.need[i] - used[i])

    def _widen(self, now: float) -> None:
        """After a success where no limit is known, allow one more call in flight, up to the ceiling."""
        assert self.window is not None
        self.misses = 0
        if now - self.refused[0] > PROBE_AFTER_S:
            self.ceiling, self.refused = max(self.ceiling + 1, int(self.ceiling * PROBE_FACTOR)), (now, self.refused[1])
        self.window = min(self.window + 1, self.ceiling)
        if self.window >= UNLIMITED_AT:
            self.window = None

    def observe(
        self,
        observed: Observed,
        now: float,
        *,
        held: Held | None,
        refused: bool = False,
        others: Callable[[], Iterable[Held]] = tuple,
    ) -> None:
        """Learn from an answer's headers. ``held``: the grant of its call; ``others()``: those still in flight.

        ``refused``: the call was refused for lack of budget.
        """
        self._refill(now)
        if observed.retry_after_s is not None:
            self.trouble += NEWEST * (1.0 - self.trouble)
            if self.trouble > TROUBLE:
                self._hold(observed.retry_after_s, now)
        for i, (limit, stated) in enumerate(pairs(observed)):
            own = self.own.get(i)
            if limit and own is None:
                own = self.own[i] = Bucket(burst(limit, self.limit.burst_s), limit / MINUTE_S, now)
            remaining = stated
            if stated is None and refused and held is not None and self.trouble > TROUBLE:
                remaining = _level_at_refusal(held.need[i], observed.retry_after_s, own)
            if remaining is not None and own is not None:
                rate = min(own.rate, limit / MINUTE_S) if limit else own.rate
                self._read(i, HeaderReading(limit or own.rate * MINUTE_S, rate, remaining, now), held, others)

    def _read(self, i: int, reading: HeaderReading, held: Held | None, others: Callable[[], Iterable[Held]]) -> None:
        """Take in the level that the provider reports for a dimension that we have a bucket for."""
        earlier = self.server_buckets.get(i)
        if reading.remaining - self.taken[i] - MARGIN_S * reading.rate >= self.own[i].level:
            # Our own bucket is the stricter one, even if the provider has seen none of the calls in flight.
            self.server_buckets.pop(i, None)
        elif earlier is None or held is None or held.number >= earlier.number:  # answers may overtake each other
            self.server_buckets[i] = self._updated(i, reading, held, others())

    def _updated(self, i: int, reading: HeaderReading, held: Held | None, others: Iterable[Held]) -> ServerBucket:
        """The provider's bucket now: the reading, less what was granted after the call that brought it."""
        later = [other for other in others if held is None or other.number > held.number]
        taken = sum(other.need[i] for other in later)
        travelling = sum(other.need[i] for other in later if reading.now - other.at < TRAVEL_S)
        since_s = 0.0 if held is None else reading.now - held.at
        return ServerBucket.of(reading, since_s, taken, travelling, self.number if held is None else held.number)

    def _hold(self, seconds: float, now: float) -> None:
        """Grant nothing for this long."""
        if not self.own:
            seconds = self._narrow(seconds, now)
        self.hold_until = max(self.hold_until, now + seconds)

    def _narrow(self, seconds: float, now: float) -> float:
        """Reduce the calls in flight after a refusal where no limit is known: else all waiters run into the next one.

        The window halves at the first refusal of a burst, and shrinks with those that follow to the number of calls
        that were tolerated; if none were, a single call probes.
        """
        if now >= self.hold_until:
            self.misses = min(self.misses + 1, 16) if self.window == 1 else 0
            # Each refused probe doubles the wait, as Retry-After, or our guess, was too short.
            seconds = max(seconds, min(seconds * 2.0**self.misses, LONGEST_HOLD_S))
            self.tolerated, self.refused = sum(self.in_flight.values()), (now + seconds, self.number)
            self.window = max(1, (self.tolerated + 1) // 2)
            if now - self.born > YOUNG_S and not self.misses:  # a lone probe does not show how many calls are tolerated
                self.ceiling = max(1, self.tolerated)
        elif self.window is not None:
            self.tolerated -= 1
            self.window = max(1, min(self.window, self.tolerated))
        return seconds

    def remaining(self) -> int:
        """Tokens that could be granted now, in the tightest dimension; a large number where none is limited."""
        own = [bucket.level for i, bucket in self.own.items() if i != REQUESTS]
        theirs = [one.bucket.level for i, one in self.server_buckets.items() if i != REQUESTS]
        return max(0, int(min(own + theirs, default=float(2**62))))

    def nearly_empty(self) -> bool:
        """Whether a bucket is so low that the estimates of the calls in flight may explain a refusal."""
        buckets = [*self.own.values(), *(one.bucket for one in self.server_buckets.values())]
        return any(bucket.level < NEARLY_EMPTY * bucket.capacity for bucket in buckets)

    def _refill(self, now: float) -> None:
        if now == self.at:
            return
        self.at = now
        for bucket in self.own.values():
            bucket.refill(now)
        for theirs in self.server_buckets.values():
            theirs.bucket.refill(now)

    # state, for limits that processes share

    def dump(self) -> list[Any]:
        """The state that processes share, as plain lists and numbers."""
        own = {i: bucket.dump() for i, bucket in self.own.items()}
        theirs = {i: one.dump() for i, one in self.server_buckets.items()}
        probing = [self.window, self.ceiling, self.refused, self.trouble, self.misses, self.tolerated]
        return [own, theirs, self.queue.dump(), self.in_flight, self.hold_until, probing, self.call_s, self.number]

    def load(self, state: list[Any]) -> None:
        """Restore the state that ``dump`` described; capacities and rates stay those of this limit."""
        own, theirs, queue, self.in_flight, self.hold_until, probing, self.call_s, self.number = state
        self.window, self.ceiling, (at, number), self.trouble, self.misses, self.tolerated = probing
        self.refused = (at, number)
        self.own.update({i: _adopt(self.own.get(i), dumped) for i, dumped in own.items()})
        self.server_buckets = {i: ServerBucket.load(dumped) for i, dumped in theirs.items()}
        self.queue = WaitQueue.load(queue)
        self.at = float("-inf")  # the buckets are those of another process, and must be refilled


def _level_at_refusal(needed: float, retry_after_s: float | None, own: Bucket | None) -> int | None:
    """The level of a provider that reports none, by its refusal: the call just fits after Retry-After."""
    if own is None or retry_after_s is None:
        return None
    # Without this guess all waiters would come back together at that time, and all but the first be refused again.
    return int(needed - own.rate * retry_after_s)


def _adopt(mine: Bucket | None, dumped: list[Any]) -> Bucket:
    bucket = Bucket.load(dumped)
    if mine is not None:
        bucket.capacity, bucket.rate = mine.capacity, mine.rate
        bucket.level = min(bucket.level, mine.capacity)
    return bucket


def _requests(limit: RateLimit) -> float | None:
    """Requests a minute, by the stricter of the two limits."""
    limits = [limit.rpm, None if limit.rps is None else limit.rps * MINUTE_S]
    return min((float(one) for one in limits if one is not None), default=None)


def _buckets(limit: RateLimit, now: float, spent: list[Spent]) -> dict[int, Bucket]:
    amounts = (
        [(ago, input_tokens + output_tokens) for ago, input_tokens, output_tokens in spent],
        [(ago, input_tokens) for ago, input_tokens, _ in spent],
        [(ago, output_tokens) for ago, _, output_tokens in spent],
        [(ago, 1.0) for ago, _, _ in spent],
    )
    buckets = {}
    for i, per_minute in enumerate((limit.tpm, limit.input_tpm, limit.output_tpm, _requests(limit))):
        if per_minute is not None:
            burst_s = 0.0 if i == REQUESTS and limit.rps is not None else limit.burst_s  # rps: spaced evenly
            capacity, rate = burst(per_minute, burst_s), per_minute / MINUTE_S
            level = implied_level(capacity, rate, amounts[i]) if spent else None
            buckets[i] = Bucket(capacity, rate, now, level)
    return buckets
