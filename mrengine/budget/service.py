"""The budget of a whole job: tracks the open calls of every worker and answers a worker's exchange.

The worker numbers its requests, and each exchange lists *all* that are still waiting. That makes the protocol
idempotent: repeating an exchange after a broken connection changes nothing, a request missing from the list has been
withdrawn, and a replacement manager learns from the next exchange what its predecessor knew.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mrengine.budget.connection import (
    SAME_CALL,
    SAME_PREFIX,
    UNMETERED,
    CallReport,
    Gates,
    HeldCall,
    Made,
    Reply,
    RequestRow,
)
from mrengine.budget.limiter import GRACE_S, NOTHING_USED, Held, Limiter
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.redis_limits import SharedLimitDown
from mrengine.budget.server_bucket import pairs
from mrengine.budget.spend_limit import SpendLimit, Sum
from mrengine.budget.token_estimates import TokenEstimator
from mrengine.budget.wait_queue import Key, Need, QueuedRequest
from mrengine.budget.warm_prefixes import WarmPrefixes
from mrengine.errors import ConfigError
from mrengine.records import Observed, Usage

__all__ = ["BudgetService"]

LONGEST_S = 30.0  # the longest wait reported to a worker: the queue may move faster than estimated
DOWN_S = 0.5  # the wait while the server of a limit does not answer
LOOK_AGAIN_S = 0.1  # the wait for other calls: to release their part of the spend limit, or to be answered
NOTHING: Sum = (0.0, 0.0)
TURNED_AWAY: Need = (0.0, 0.0, 0.0, 1.0)  # a provider that answers with its limits has counted a request


@dataclass(slots=True, eq=False)
class _OpenCall:
    """A granted call that is not settled. ``held`` is None if no bucket of this manager was charged for it.

    ``bound``: the reservation of the spend limit. ``max_tokens``: of an estimated call; 0: less is never reserved.
    ``adopted``: an earlier manager granted it.
    """

    held: Held | None
    bound: Sum
    max_tokens: int = 0
    adopted: bool = False


class _Request(NamedTuple):
    """A RequestRow by names. Between processes rows are plain tuples, which take a third of the time to pickle."""

    number: int
    model: str
    input_tokens: int
    max_tokens: int
    rank: int
    bound_tokens: int
    estimated: bool


_Ended = tuple[_OpenCall | None, Need | None, Observed | None]


@dataclass(slots=True, eq=False)
class _Worker:
    """One incarnation of a worker: its name in the queues, its open calls, and the model each request waits for."""

    incarnation: int
    name: str
    open_calls: dict[int, tuple[str, _OpenCall]] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    answered_before: set[int] = field(default_factory=set)  # requests that were sent to look for an earlier answer


@dataclass(slots=True, eq=False)
class _ModelWork:
    """The work of one exchange on one model's limit, collected so that the limit is locked only once."""

    ended: list[_Ended] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    requests: list[tuple[_Request, Sum]] = field(default_factory=list)  # each with what is reserved for it


class _Exchange:
    """One exchange with a worker, and the ``reply`` to it in the making."""

    __slots__ = ("granted", "now", "refused", "reply", "unlimited", "waits", "worker")

    def __init__(self, worker: _Worker, now: float) -> None:
        self.worker, self.now = worker, now
        self.reply: Reply = ([], [], [], [])
        self.granted, self.refused, self.waits, self.unlimited = self.reply


class BudgetService:
    """The state of the manager process: buckets, spend limit, token estimator and the open calls of every worker."""

    def __init__(
        self,
        manager: TokenBucketManager,
        *,
        spend_limit: SpendLimit | None = None,
        token_estimator: TokenEstimator | None = None,
    ) -> None:
        self._manager = manager
        self._spend_limit = spend_limit or SpendLimit(None)
        self._token_estimator = token_estimator or TokenEstimator()
        self._process = manager.process
        self._workers: dict[int, _Worker] = {}
        self._prefixes = WarmPrefixes()
        self._unsettled: dict[str, list[_Ended]] = {}  # of limits that could not be reached
        # Only between this server's threads. No other process can hold it, so a stopped worker blocks nobody.
        self._lock = threading.Lock()

    def hello(self, worker_id: int, incarnation: int, held: Sequence[HeldCall], made: Made = None) -> bool:
        """Register a worker. ``held``: its calls in flight, some of which an earlier manager may have granted.

        A new incarnation replaces the dead one, whose requests leave the queue and whose open grants are returned.
        Only the calls in ``made``, which were sent, stay spent (an int: the oldest so many; None: all of them).
        False: the caller is a stale incarnation, a newer one is already known.
        """
        with self._lock:
            worker = self._workers.get(worker_id)
            if worker is not None and worker.incarnation > incarnation:
                return False
            if worker is None or worker.incarnation < incarnation:
                if worker is not None:
                    self._reap(worker, made)
                worker = _Worker(incarnation, f"{self._process}/{worker_id}.{incarnation}")
                self._workers[worker_id] = worker
            for call in held:
                if call[0] not in worker.open_calls:
                    self._adopt(worker, *call)
            return True

    def _adopt(self, worker: _Worker, number: int, model: str, bound_tokens: int, output: int) -> None:
        """Take over a call that an earlier manager granted: it occupies a slot, and its upper bound is reserved."""
        access, bound = self._manager.open(model), NOTHING
        if self._spend_limit.limited:
            # The log that this manager was started from may already count it, as a call without an answer. Counted
            # twice, it stops the job too early rather than too late; the next run reads the settled usage.
            bound = self._spend_limit.bound(model, Usage(bound_tokens, output))
            self._spend_limit.force_reserve(bound)
        if access is not None:
            with access as limiter:
                limiter.occupy(self._process)
        if access is not None or self._spend_limit.limited:
            worker.open_calls[number] = model, _OpenCall(None, bound, adopted=access is not None)

    def exchange(
        self,
        worker_id: int,
        incarnation: int,
        rows: Sequence[RequestRow],
        done: Sequence[CallReport],
        gates: Mapping[int, Gates] | None = None,
    ) -> Reply | None:
        """Settle the calls that have ended, and grant what can be granted. None: the worker must say hello first.

        ``gates``: of those requests that may have to wait until another call is answered.
        """
        with self._lock:
            worker = self._workers.get(worker_id)
            if worker is None or worker.incarnation != incarnation:
                return None
            return self._exchange(worker, [_Request(*row) for row in rows], done, gates or {})

    def _exchange(
        self, worker: _Worker, requests: Sequence[_Request], done: Iterable[CallReport], gates: Mapping[int, Gates]
    ) -> Reply:
        exchange = _Exchange(worker, self._manager.clock())
        work: dict[str, _ModelWork] = defaultdict(_ModelWork)
        for report in done:
            number, model, _, _, usage, _, _ = report
            self._end(worker, report, work[model])
            self._prefixes.ended((worker.name, number), answered=usage is not None, now=exchange.now)
        waiting = {request.number for request in requests}
        alive = waiting | worker.open_calls.keys()
        self._prefixes.keep(worker.name, alive, exchange.now)
        worker.answered_before &= alive
        for number in [number for number in worker.waiting if number not in waiting]:
            work[worker.waiting.pop(number)].withdrawn.append(number)
        for request in requests:
            if request.number in worker.open_calls:  # granted before, and the reply was lost
                exchange.granted.append(request.number)
            elif (place := self._held_at(exchange, request, gates.get(request.number))) is not None:
                exchange.waits.append((request.number, LOOK_AGAIN_S, place))
            elif (bound := self._reserve(exchange, request)) is not None:
                work[request.model].requests.append((request, bound))
        for model, model_work in work.items():
            self._settle_and_grant(exchange, model, model_work)
        return exchange.reply

    def _held_at(self, exchange: _Exchange, request: _Request, gates: Gates | None) -> int | None:
        """SAME_CALL or SAME_PREFIX if a call has to wait until an identical one, or one that writes their common prefix
        into the provider's cache, is answered; else None.
        """
        flight, prefix = gates or ("", "")
        call, answered_before = (exchange.worker.name, request.number), exchange.worker.answered_before
        if flight:
            leads = self._prefixes.leads("", flight, call)
            if not self._prefixes.may_go("", flight, call, exchange.now):
                return SAME_CALL
            if not leads and not self._prefixes.leads("", flight, call) and request.number not in answered_before:
                # It was answered already: the worker looks for that answer, and is let through if it finds none.
                answered_before.add(request.number)
                return SAME_CALL
        if prefix and not self._prefixes.may_go(request.model, prefix, call, exchange.now):
            return SAME_PREFIX
        return None

    def _reap(self, dead: _Worker, made: Made) -> None:
        """Withdraw the requests of a dead worker and settle its open calls."""
        if isinstance(made, int):
            made = sorted(dead.open_calls)[:made]
        done = [(n, model, 0, 0, None, made is None or n in made, None) for n, (model, _) in dead.open_calls.items()]
        self._exchange(dead, (), done, {})

    def _end(self, worker: _Worker, report: CallReport, work: _ModelWork) -> None:
        """Settle an ended call with the spend limit and the estimator; queue the rest for its model's limiter."""
        # A call that was sent but reports no usage keeps its whole reservation: it may have been billed.
        number, model, counted, output, tokens, made, headers = report
        usage = None if tokens is None else Usage(*tokens)
        used = None if made else NOTHING_USED if headers is None else TURNED_AWAY
        if usage is not None:
            used = (float(usage.total_tokens), float(usage.input_tokens), float(usage.output_tokens), 1.0)
            if usage.input_tokens and counted and not usage.estimated:
                self._token_estimator.learn(model, counted, usage.input_tokens)
                self._token_estimator.learn_output(model, output, usage.output_tokens)
        ungranted = _OpenCall(None, NOTHING) if number == UNMETERED else None
        _, open_call = worker.open_calls.pop(number, (model, ungranted))
        if open_call is not None and self._spend_limit.limited:
            spent = open_call.bound if made else NOTHING
            cost = spent if usage is None else self._spend_limit.cost(model, usage)
            self._spend_limit.settle(open_call.bound, cost)
        work.ended.append((open_call, used, None if headers is None else Observed(*headers)))

    def _reserve(self, exchange: _Exchange, request: _Request) -> Sum | None:
        """Reserve the upper bound of a call with the spend limit; None if it has to wait, or cannot be paid."""
        if not self._spend_limit.limited:
            return NOTHING
        try:
            bound = self._spend_limit.bound(request.model, Usage(request.bound_tokens, request.max_tokens))
        except ConfigError as error:  # a model of unknown price that was not announced
            exchange.refused.append((request.number, "config", str(error), ("USD", 0.0, 0.0)))
            return None
        if self._spend_limit.reserve(bound):
            return bound
        if (facts := self._spend_limit.exhausted(bound)) is not None:
            exchange.refused.append((request.number, "exhausted", f"{bound[0]:.0f} tokens", facts))
        else:
            exchange.waits.append((request.number, LOOK_AGAIN_S, 0))
        return None

    def _settle_and_grant(self, exchange: _Exchange, model: str, work: _ModelWork) -> None:
        access = self._manager.open(model)
        for _, _, observed in work.ended:
            if access is None and observed is not None:
                access = self._manager.learn(model, observed)
        if access is None:
            self._grant_unlimited(exchange, model, work.requests)
            return
        work.ended = self._unsettled.pop(model, []) + work.ended
        try:
            with access as limiter:
                ended, work.ended = work.ended, []  # from here on the limit has them noted, even if it goes down
                for open_call, used, observed in ended:
                    self._settle(limiter, model, open_call, used, observed, exchange.now)
                for number in work.withdrawn:
                    limiter.queue.leave((exchange.worker.name, number))
                if work.requests:
                    self._serve(exchange, limiter, model, work.requests)
        except SharedLimitDown:  # no request is granted, and all ask again
            self._unsettled[model] = work.ended
            answered = {number for number, *_ in (*exchange.refused, *exchange.waits)} | set(exchange.granted)
            for request, bound in work.requests:
                if request.number not in answered:
                    self._spend_limit.settle(bound, NOTHING)
                    exchange.waits.append((request.number, DOWN_S, 0))

    def _grant_unlimited(self, exchange: _Exchange, model: str, requests: list[tuple[_Request, Sum]]) -> None:
        """Grant the calls to a model without a rate limit: only the spend limit applies."""
        for request, bound in requests:
            exchange.granted.append(request.number)
            exchange.worker.open_calls[request.number] = model, _OpenCall(None, bound)
        if requests and not self._spend_limit.limited:
            exchange.unlimited.append(model)

    def _serve(self, exchange: _Exchange, limiter: Limiter, model: str, requests: list[tuple[_Request, Sum]]) -> None:
        """Grant what the limit of a model allows; what is reserved for the others is free until they ask again."""
        worker = exchange.worker
        open_calls: dict[Key, _OpenCall] = {}
        for request, bound in requests:
            try:
                key = self._join(exchange, limiter, request)
            except ConfigError as error:
                exchange.refused.append((request.number, "config", str(error), ("tokens", 0.0, 0.0)))
                self._spend_limit.settle(bound, NOTHING)
                continue
            open_calls[key] = _OpenCall(None, bound, request.max_tokens if request.estimated else 0)
        grants, waits = limiter.serve(open_calls, exchange.now, process=self._process)
        for key, held in grants.items():
            number = key[1]
            worker.waiting.pop(number, None)
            open_calls[key].held = held
            worker.open_calls[number] = model, open_calls[key]
            exchange.granted.append(number)
        for wait in waits:
            self._spend_limit.settle(open_calls[wait.key].bound, NOTHING)
            exchange.waits.append((wait.key[1], min(wait.wait_s, LONGEST_S), wait.position))

    def _join(self, exchange: _Exchange, limiter: Limiter, request: _Request) -> Key:
        """Put a request into the limit's queue, with what is estimated that it needs. ConfigError: more than can ever
        be granted.
        """
        input_tokens, output = request.input_tokens, request.max_tokens
        if request.estimated:
            input_tokens = self._token_estimator.reserve(request.model, input_tokens)
            output = self._token_estimator.reserve_output(request.model, input_tokens, output)
        need = (float(input_tokens + output), float(input_tokens), float(output), 1.0)
        limiter.refuse_oversize(need)
        key = (exchange.worker.name, request.number)
        limiter.queue.join(QueuedRequest(key, request.rank, need, exchange.now, exchange.now + GRACE_S))
        exchange.worker.waiting[request.number] = request.model
        return key

    def _settle(
        self,
        limiter: Limiter,
        model: str,
        open_call: _OpenCall | None,
        used: Need | None,
        observed: Observed | None,
        now: float,
    ) -> None:
        held = None if open_call is None else open_call.held
        refused = used == TURNED_AWAY and observed is not None and observed.retry_after_s is not None
        if held is not None and open_call is not None:
            if refused and observed is not None:
                self._learn_refusal(limiter, model, open_call, held.need, observed)
            used = self._charged(model, held.need, open_call.max_tokens, used)
            limiter.settle(held, used, now, process=self._process)
        elif open_call is not None and open_call.adopted:
            limiter.vacate(self._process)
        if observed is not None:
            limiter.observe(observed, now, held=held, refused=refused, others=lambda: self._in_flight(model))
        if open_call is not None and held is None and used is not None and not open_call.adopted:
            limiter.charge(used, now)  # it was granted before its model had a limit

    def _learn_refusal(
        self, limiter: Limiter, model: str, open_call: _OpenCall, need: Need, observed: Observed
    ) -> None:
        """Detect a provider that counts all of max_tokens: it refuses a call although its bucket has enough for it."""
        if not open_call.max_tokens:
            return
        # The level in its own headers is the better evidence. Without one, only a refusal while our bucket was nearly
        # empty counts: then the difference between the estimate and max_tokens decided.
        levels = [(left, needed) for (_, left), needed in zip(pairs(observed), need, strict=True) if left is not None]
        if len(levels) > (observed.remaining_requests is not None):
            if all(left >= needed for left, needed in levels):
                self._token_estimator.be_strict(model)
        elif limiter.nearly_empty():
            self._token_estimator.be_strict(model, keeps=need[2] >= open_call.max_tokens)

    def _charged(self, model: str, need: Need, max_tokens: int, used: Need | None) -> Need | None:
        """What to charge for a call: a provider that keeps max_tokens charges all of it, whatever was used."""
        if used is None or used[0] == 0.0 or not max_tokens:
            return used
        if not self._token_estimator.keeps(model, need[1], max_tokens):
            return used
        output = max(used[2], need[2])
        return used[1] + output, used[1], output, used[3]

    def _in_flight(self, model: str) -> list[Held]:
        return [
            open_call.held
            for worker in self._workers.values()
            for name, open_call in worker.open_calls.values()
            if open_call.held is not None and name == model
        ]
