"""Owns one limit: its buckets, its slots and its waiting line; decides who is granted what, and when.

Every method is told the time; nothing here waits, locks or talks to anybody.
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

__all__ = ["DIMENSIONS", "GRACE_S", "Held", "Limiter", "Spent", "Wait"]

DIMENSIONS = ("tokens", "input tokens", "output tokens", "requests")
REQUESTS = 3
# A wait without an end that could be computed (a slot that somebody has to leave) is looked at again in this time.
LOOK_AGAIN_S = (0.005, 1.0)
# Who does not come back within this time after the wait that it was told has left the line.
GRACE_S = 2.0
NEARLY_EMPTY = 0.1
WIDEST = 256  # calls in flight beyond which a provider of unknown limits is taken to have none
# A lone refusal among answers is about its call, which waits as it was told; two in a row, or as many among a few, are
# about the limit, and hold everybody: the weight of the newest answer, and the share of refusals that is too much.
NEWEST = 0.25
TROUBLE = 0.4
# Below what was refused once, more may be in flight with each success; that much again is tried after such a silence.
DARE_S = 15.0
LONGEST_HOLD_S = 60.0  # that nobody has told
DARE = 1.25
YOUNG_S = 5.0  # calls that were made before there was a limiter to count them are still under way

Spent = tuple[float, float, float]  # seconds ago, input tokens, output tokens of one call


@dataclass(slots=True)
class Held:
    """A grant that is not settled: what was taken, its mark in each bucket, and when."""

    need: Need
    marks: dict[int, int]
    at: float
    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """An ask that was not granted: seconds until it may be, and its place in the line, from 1."""

    key: Key
    wait_s: float
    position: int


class Limiter:
    """The limit of one model: tokens, input, output and requests per minute apart, and calls in flight.

    ``own`` are the buckets of the limits that were given or learned, by dimension; ``seen`` what the provider's headers
    said, which wins when it says less. An ask is granted when its owner is there to take it and the level holds it on
    top of all that is ahead of it in the line: an owner that comes late finds its tokens still there, and no grant lies
    about.
    """

    def __init__(
        self, limit: RateLimit, now: float, *, idle: Collection[int] = (), spent: Iterable[Spent] = ()
    ) -> None:
        self.limit = limit
        self.own: dict[int, Bucket] = _buckets(limit, now, list(spent))
        self.seen: dict[int, ServerBucket] = {}
        self.line = WaitQueue(now, idle)
        self.in_flight: dict[str, int] = {}  # by process, where several share the limit
        self.taken = [0.0] * len(DIMENSIONS)  # by the calls in flight of this process
        self.hold_until = float("-inf")
        self.window: int | None = None  # calls in flight that a provider of unknown limits is given at once …
        self.ceiling = WIDEST  # … and at most, until it has been silent for a while
        self.refused = (float("-inf"), 0)  # when, and the last call granted before
        self.misses = 0  # probes in a row that were refused
        self.borne = 0  # calls in flight at the last refusal, without those that it was one of
        self.trouble = 0.0  # the share of refusals among the latest answers
        self.call_s = 1.0
        self.number = 0
        self.at = self.born = now

    # asking

    def refuse_oversize(self, need: Need) -> None:
        """ConfigError for an ask that no full bucket could hold."""
        for i, bucket in self.own.items():
            amount = need[i]
            if amount <= bucket.capacity:
                continue
            most = max(1.0, burst(bucket.rate * MINUTE_S))
            if amount > most:
                raise ConfigError(
                    f"a call of {amount:.0f} {DIMENSIONS[i]} can never be granted: the limit of "
                    f"{bucket.rate * MINUTE_S:.0f} a minute grants at most {most:.0f} at once; "
                    "use smaller chunks, a smaller max_tokens or a larger limit",
                    setting="limits",
                )

    def serve(self, keys: Collection[Key], now: float, *, process: str = "") -> tuple[dict[Key, Held], list[Wait]]:
        """Grant what can be granted to those who are here, ``keys``; the waits of the others of them."""
        self._refill(now)
        granted: dict[Key, Held] = {}
        waits: list[Wait] = []
        ahead, position = [0.0] * len(DIMENSIONS), 0
        skipped: list[QueuedRequest] = []
        for ask, starved in self.line.in_order(now):
            here = ask.key in keys
            if here:
                wait_s = self._wait_s(ask, ahead, skipped, starved, now)
                if wait_s <= 0.0:
                    granted[ask.key] = self._grant(ask, now, process)
                    if self.slots() is not None:
                        for other in skipped:
                            other.passed += 1
                    continue
                ask.expires = now + wait_s + GRACE_S
                waits.append(Wait(ask.key, wait_s, position + 1))
            position += 1
            skipped.append(ask)
            for i, amount in enumerate(ask.need):
                ahead[i] += amount
        return granted, waits

    def _wait_s(
        self, ask: QueuedRequest, ahead: list[float], skipped: list[QueuedRequest], starved: bool, now: float
    ) -> float:
        wait_s = max(0.0, self.hold_until - now)
        rank = ask.rank
        for i, own in self.own.items():
            amount = ask.need[i]
            if amount and amount > own.level - ahead[i] - SHARES[rank] * own.capacity:
                reserve = NO_RESERVE if starved else self.line.reserve(rank, own.capacity, own.rate, now)
                wait_s = max(wait_s, own.wait_s(amount, ahead[i], *reserve))
        for i, seen in self.seen.items():
            if amount := ask.need[i]:
                wait_s = max(wait_s, seen.bucket.wait_s(amount, ahead[i]))
        slots = self.slots()
        return wait_s if slots is None else max(wait_s, self._slot_wait_s(slots, skipped))

    def slots(self) -> int | None:
        """How many calls may be in flight: by the limit, or by what a provider of unknown limits was seen to bear."""
        if self.window is None:
            return self.limit.concurrent
        return self.window if self.limit.concurrent is None else min(self.limit.concurrent, self.window)

    def _slot_wait_s(self, slots: int, skipped: list[QueuedRequest]) -> float:
        """Slots are not saved up: who is here may pass those who are not, but each of them only a few times."""
        free = slots - sum(self.in_flight.values())
        before = sum(ask.passed >= PASSES for ask in skipped)
        if free - before >= 1:
            return 0.0
        least, most = LOOK_AGAIN_S
        return min(most, max(least, self.call_s * (len(skipped) + 1) / slots))

    def _grant(self, ask: QueuedRequest, now: float, process: str) -> Held:
        self.line.serve(ask, now)
        return self.take(ask.need, now, process)

    def take(self, need: Need, now: float, process: str = "") -> Held:
        """Charge the buckets and occupy a slot, whatever the level."""
        self.number += 1
        marks = {i: bucket.take(need[i]) for i, bucket in self.own.items()}
        for i, seen in self.seen.items():
            seen.bucket.level -= need[i]
        self.occupy(process)
        for i, amount in enumerate(need):
            self.taken[i] += amount
        return Held(need, marks, now, self.number)

    def charge(self, used: Need, now: float) -> None:
        """Charge our own buckets for a call that was made before there were any; what the headers said knows of it."""
        self._refill(now)
        for i, bucket in self.own.items():
            bucket.take(used[i])

    def release(self, held: Held, process: str = "") -> None:
        """The call has ended: its slot is free."""
        self.vacate(process)
        for i, amount in enumerate(held.need):
            self.taken[i] -= amount

    def occupy(self, process: str = "") -> None:
        """Count a call that is in flight without charging for it: one that an earlier manager granted."""
        self.in_flight[process] = self.in_flight.get(process, 0) + 1

    def vacate(self, process: str = "") -> None:
        """Count a call in flight less, one that was occupied."""
        left = self.in_flight.get(process, 0) - 1
        if left > 0:
            self.in_flight[process] = left
        else:
            self.in_flight.pop(process, None)

    def processes(self) -> set[str]:
        """The names of the processes that hold or wait for something."""
        return {process_of(key) for key in self.line.waiting()} | self.in_flight.keys()

    def forget(self, process: str) -> None:
        """A process is dead: it waits no more and its calls have ended. What they were charged stays charged."""
        self.in_flight.pop(process, None)
        for key in self.line.waiting():
            if process_of(key) == process:
                self.line.leave(key)

    # settling

    def settle(self, held: Held, used: Need | None, now: float, *, process: str = "") -> None:
        """The call has ended and used this much; None: nobody knows, all that was taken stays taken."""
        self._refill(now)
        self.release(held, process)
        self.call_s += 0.2 * (now - held.at - self.call_s)
        if used is None:
            return
        if used[0]:
            self.trouble -= NEWEST * self.trouble
        if self.window is not None and used[0] and held.number > self.refused[1]:
            self._widen(now)
        for i, mark in held.marks.items():
            self.own[i].give_back(held.need[i] - used[i], mark)
        for i, seen in self.seen.items():
            if held.number > seen.number:
                seen.bucket.level = min(seen.bucket.capacity, seen.bucket.level + held.need[i] - used[i])

    def _widen(self, now: float) -> None:
        """A success where no limit is known: one more call may be in flight, if that many were never refused."""
        assert self.window is not None
        self.misses = 0
        if now - self.refused[0] > DARE_S:
            self.ceiling, self.refused = max(self.ceiling + 1, int(self.ceiling * DARE)), (now, self.refused[1])
        self.window = min(self.window + 1, self.ceiling)
        if self.window >= WIDEST:
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
        """Learn from an answer's headers. ``held``: its call; ``others()``: the calls that are in flight beside it.

        ``refused``: it was turned away for want of budget.
        """
        self._refill(now)
        if observed.retry_after_s is not None:
            self.trouble += NEWEST * (1.0 - self.trouble)
            if self.trouble > TROUBLE:
                self._hold(observed.retry_after_s, now)
        for i, (limit, told) in enumerate(pairs(observed)):
            own = self.own.get(i)
            if limit and own is None:
                own = self.own[i] = Bucket(burst(limit, self.limit.burst_s), limit / MINUTE_S, now)
            guess = refused and held is not None and told is None and self.trouble > TROUBLE
            remaining = _left(held.need[i], observed.retry_after_s, own) if guess and held is not None else told
            if remaining is None or own is None:
                continue
            rate = min(own.rate, limit / MINUTE_S) if limit else own.rate
            if remaining - self.taken[i] - MARGIN_S * rate >= own.level:
                self.seen.pop(i, None)  # it says no less, even if it has not seen one of the calls in flight
            elif i not in self.seen or held is None or held.number >= self.seen[i].number:
                news = HeaderReading(limit or own.rate * MINUTE_S, rate, remaining, now)
                self.seen[i] = self._carry_on(i, news, held, others())

    def _carry_on(self, i: int, news: HeaderReading, held: Held | None, others: Iterable[Held]) -> ServerBucket:
        """The level by now, with what was granted after the call that brings the news."""
        later = [other for other in others if held is None or other.number > held.number]
        taken = sum(other.need[i] for other in later)
        travelling = sum(other.need[i] for other in later if news.now - other.at < TRAVEL_S)
        since_s = 0.0 if held is None else news.now - held.at
        return ServerBucket.of(news, since_s, taken, travelling, self.number if held is None else held.number)

    def _hold(self, seconds: float, now: float) -> None:
        """Grant nothing to anybody for so long."""
        if not self.own:
            seconds = self._narrow(seconds, now)
        self.hold_until = max(self.hold_until, now + seconds)

    def _narrow(self, seconds: float, now: float) -> float:
        """Where no limit is known all that waits would run into the next refusal together.

        So half as many calls may be in flight afterwards, or as many as were borne; one alone tries where none was. One
        more may be for each that succeeds. A probe that is refused doubles the wait: what was told, or guessed, was too
        little.
        """
        if now >= self.hold_until:
            self.misses = min(self.misses + 1, 16) if self.window == 1 else 0
            seconds = max(seconds, min(seconds * 2.0**self.misses, LONGEST_HOLD_S))
            self.borne, self.refused = sum(self.in_flight.values()), (now + seconds, self.number)
            self.window = max(1, (self.borne + 1) // 2)
            if now - self.born > YOUNG_S and not self.misses:  # a lone probe tells nothing of how many are borne
                self.ceiling = max(1, self.borne)
        elif self.window is not None:
            self.borne -= 1
            self.window = max(1, min(self.window, self.borne))
        return seconds

    def remaining(self) -> int:
        """Tokens that could be granted now, of the dimension that has least; a large number where none is limited."""
        own = [bucket.level for i, bucket in self.own.items() if i != REQUESTS]
        seen = [seen.bucket.level for i, seen in self.seen.items() if i != REQUESTS]
        return max(0, int(min(own + seen, default=float(2**62))))

    def nearly_empty(self) -> bool:
        """Whether a bucket is so low that a refusal may be about what the calls in flight were taken for."""
        buckets = [*self.own.values(), *(seen.bucket for seen in self.seen.values())]
        return any(bucket.level < NEARLY_EMPTY * bucket.capacity for bucket in buckets)

    def _refill(self, now: float) -> None:
        if now == self.at:
            return
        self.at = now
        for bucket in self.own.values():
            bucket.refill(now)
        for seen in self.seen.values():
            seen.bucket.refill(now)

    # state, for limits that processes share

    def dump(self) -> list[Any]:
        """All that processes must agree on, as plain lists and numbers."""
        own = {i: bucket.dump() for i, bucket in self.own.items()}
        seen = {i: one.dump() for i, one in self.seen.items()}
        borne = [self.window, self.ceiling, self.refused, self.trouble, self.misses, self.borne]
        return [own, seen, self.line.dump(), self.in_flight, self.hold_until, borne, self.call_s, self.number]

    def load(self, state: list[Any]) -> None:
        """Take over the state that ``dump`` described; capacities and rates stay those of this limit."""
        own, seen, line, self.in_flight, self.hold_until, borne, self.call_s, self.number = state
        self.window, self.ceiling, (at, number), self.trouble, self.misses, self.borne = borne
        self.refused = (at, number)
        self.own.update({i: _adopt(self.own.get(i), dumped) for i, dumped in own.items()})
        self.seen = {i: ServerBucket.load(dumped) for i, dumped in seen.items()}
        self.line = WaitQueue.load(line)
        self.at = float("-inf")


def _left(asked: float, retry_after_s: float | None, own: Bucket | None) -> int | None:
    """What a provider that tells no level had left when it turned a call away: so much that the call fits when it says.

    Without that all who wait would come together then, and all but the first be turned away again.
    """
    if own is None or retry_after_s is None:
        return None
    return int(asked - own.rate * retry_after_s)


def _adopt(mine: Bucket | None, dumped: list[Any]) -> Bucket:
    bucket = Bucket.load(dumped)
    if mine is not None:
        bucket.capacity, bucket.rate = mine.capacity, mine.rate
        bucket.level = min(bucket.level, mine.capacity)
    return bucket


def _requests(limit: RateLimit) -> float | None:
    """Requests a minute, by whichever limit says less."""
    told = [limit.rpm, None if limit.rps is None else limit.rps * MINUTE_S]
    return min((float(one) for one in told if one is not None), default=None)


def _buckets(limit: RateLimit, now: float, spent: list[Spent]) -> dict[int, Bucket]:
    amounts = (
        [(ago, given + made) for ago, given, made in spent],
        [(ago, given) for ago, given, _ in spent],
        [(ago, made) for ago, _, made in spent],
        [(ago, 1.0) for ago, _, _ in spent],
    )
    buckets = {}
    for i, per_minute in enumerate((limit.tpm, limit.input_tpm, limit.output_tpm, _requests(limit))):
        if per_minute is not None:
            burst_s = 0.0 if i == REQUESTS and limit.rps is not None else limit.burst_s  # spaced evenly
            capacity, rate = burst(per_minute, burst_s), per_minute / MINUTE_S
            level = implied_level(capacity, rate, amounts[i]) if spent else None
            buckets[i] = Bucket(capacity, rate, now, level)
    return buckets
