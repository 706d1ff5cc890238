"""Owns who holds what: the tickets of all workers, and the one method that answers a whole worker at once.

Everything is named by tickets that the worker numbers, and a worker always tells *all* its waiting asks. So an exchange
that is repeated after a broken connection changes nothing, an ask that is no longer told has been withdrawn, and a
manager that was replaced learns by the next exchange what its predecessor knew.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mrengine.budget.connection import UNASKED, Asked, Done, HeldCall, Made, Refused, Reply, Waiting
from mrengine.budget.limiter import GRACE_S, Held, Limiter
from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.server_bucket import pairs
from mrengine.budget.spend_limit import SpendLimit, Sum
from mrengine.budget.token_estimates import TokenEstimator
from mrengine.budget.wait_queue import Key, Need, QueuedRequest
from mrengine.errors import ConfigError
from mrengine.records import Observed, Usage

__all__ = ["BudgetService"]

LONGEST_S = 30.0  # the longest wait that is told to a worker: the line may move faster than it looks
LOOK_AGAIN_S = 0.1  # for a purse that others have to give back to
NOTHING: Sum = (0.0, 0.0)
UNSENT: Need = (0.0, 0.0, 0.0, 0.0)
TURNED_AWAY: Need = (0.0, 0.0, 0.0, 1.0)  # a provider that answers with its limits has counted a request


@dataclass(slots=True, eq=False)
class _Ticket:
    """A granted call that is not settled. ``held`` is None where no bucket of this manager was charged for it.

    ``bound``: what the purse put aside. ``max_tokens``: of an estimated call, else 0: nobody expects less of it.
    """

    held: Held | None
    bound: Sum
    max_tokens: int = 0
    adopted: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    """One incarnation of a worker: its name in the lines, its open tickets and where its asks wait."""

    incarnation: int
    name: str
    tickets: dict[int, tuple[str, _Ticket]] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Work:
    """What one exchange has to do at one model's limit, so that it is opened once."""

    ended: list[tuple[_Ticket | None, Need | None, Observed | None]] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    asks: list[tuple[Asked, Sum]] = field(default_factory=list)


class BudgetService:
    """The state of the manager process: buckets, purse, ratios and the tickets of every worker."""

    def __init__(
        self,
        manager: TokenBucketManager,
        *,
        purse: SpendLimit | None = None,
        ratios: TokenEstimator | None = None,
    ) -> None:
        self._manager = manager
        self._purse = purse or SpendLimit(None)
        self._ratios = ratios or TokenEstimator()
        self._process = manager.process
        self._workers: dict[int, _Worker] = {}
        self._lock = threading.Lock()  # the threads of the server; no other process ever waits for it

    def hello(self, worker: int, incarnation: int, held: Sequence[HeldCall], made: Made = None) -> bool:
        """A worker has connected. ``held``: calls it has in flight, of whom an earlier manager may have granted some.

        A new incarnation replaces the dead one: its asks leave the line, its open grants are given back. Only the
        tickets in ``made``, whose calls were sent, stay spent (a number: the oldest so many; None: all). False: a newer
        incarnation is known, the caller is a ghost.
        """
        with self._lock:
            mine = self._workers.get(worker)
            if mine is not None and mine.incarnation > incarnation:
                return False
            if mine is None or mine.incarnation < incarnation:
                if mine is not None:
                    self._bury(mine, made)
                mine = _Worker(incarnation, f"{self._process}/{worker}.{incarnation}")
                self._workers[worker] = mine
            for call in held:
                if call[0] not in mine.tickets:
                    self._adopt(mine, *call)
            return True

    def _adopt(self, mine: _Worker, number: int, model: str, bound_tokens: int, output: int) -> None:
        """A call that an earlier manager granted: it has a slot, and its upper bound is put aside.

        The log may have told of it already, as a call without an answer; then it is counted twice, and the job stops
        too early rather than too late. When it is run again the log knows better.
        """
        access, bound = self._manager.open(model), NOTHING
        if self._purse.limited:
            bound = self._purse.bound(model, Usage(bound_tokens, output))
            self._purse.put_aside(bound)
        if access is not None:
            with access as limiter:
                limiter.occupy(self._process)
        if access is not None or self._purse.limited:
            mine.tickets[number] = model, _Ticket(None, bound, adopted=access is not None)

    def exchange(self, worker: int, incarnation: int, asks: Sequence[Asked], done: Sequence[Done]) -> Reply | None:
        """Settle what is done, grant what can be granted of all that waits in a worker. None: say hello first."""
        with self._lock:
            mine = self._workers.get(worker)
            if mine is None or mine.incarnation != incarnation:
                return None
            return self._exchange(mine, asks, done)

    def _exchange(self, mine: _Worker, asks: Sequence[Asked], done: Iterable[Done]) -> Reply:
        now = self._manager.clock()
        reply: Reply = ([], [], [], [])
        work: dict[str, _Work] = defaultdict(_Work)
        for call in done:
            self._report(mine, call, work[call[1]])
        if mine.waiting:
            still = {ask[0] for ask in asks}
            for number in [number for number in mine.waiting if number not in still]:
                work[mine.waiting.pop(number)].withdrawn.append(number)
        for ask in asks:
            if ask[0] in mine.tickets:  # granted before, and the reply was lost
                reply[0].append(ask[0])
            elif (bound := self._put_aside(ask, reply[1], reply[2])) is not None:
                work[ask[1]].asks.append((ask, bound))
        for model, some in work.items():
            self._do(mine, model, some, now, reply)
        return reply

    def _bury(self, dead: _Worker, made: Made) -> None:
        """The worker is dead: nothing of it waits, and what it was granted is settled."""
        if isinstance(made, int):
            made = sorted(dead.tickets)[:made]
        done = [(n, model, 0, 0, None, made is None or n in made, None) for n, (model, _) in dead.tickets.items()]
        self._exchange(dead, (), done)

    def _report(self, mine: _Worker, call: Done, work: _Work) -> None:
        """A call has ended: what it teaches, what it cost, and what its limit is to be told.

        One that was made and did not tell its usage keeps all that was reserved.
        """
        number, model, counted, output, tokens, made, said = call
        usage = None if tokens is None else Usage(*tokens)
        used = None if made else UNSENT if said is None else TURNED_AWAY
        if usage is not None:
            used = (float(usage.total_tokens), float(usage.input_tokens), float(usage.output_tokens), 1.0)
            if usage.input_tokens and counted and not usage.estimated:
                self._ratios.learn(model, counted, usage.input_tokens)
                self._ratios.learn_output(model, output, usage.output_tokens)
        _, ticket = mine.tickets.pop(number, (model, _Ticket(None, NOTHING) if number == UNASKED else None))
        if ticket is not None and self._purse.limited:
            spent = ticket.bound if made else NOTHING
            self._purse.settle(ticket.bound, spent if usage is None else self._purse.cost(model, usage))
        work.ended.append((ticket, used, None if said is None else Observed(*said)))

    def _put_aside(self, ask: Asked, refused: list[Refused], waits: list[Waiting]) -> Sum | None:
        """The purse's part: an upper bound for this call, or None where it has to wait or cannot be paid."""
        if not self._purse.limited:
            return NOTHING
        number, model, _, output, _, bound_tokens, _ = ask
        try:
            bound = self._purse.bound(model, Usage(bound_tokens, output))
        except ConfigError as error:  # a model that was not announced, of unknown price
            refused.append((number, "config", str(error), ("USD", 0.0, 0.0)))
            return None
        if self._purse.reserve(bound):
            return bound
        if (facts := self._purse.exhausted(bound)) is not None:
            refused.append((number, "exhausted", f"{bound[0]:.0f} tokens", facts))
        else:
            waits.append((number, LOOK_AGAIN_S, 0))
        return None

    def _do(self, mine: _Worker, model: str, work: _Work, now: float, reply: Reply) -> None:
        access = self._manager.open(model)
        for _, _, observed in work.ended:
            if access is None and observed is not None:
                access = self._manager.learn(model, observed)
        if access is None:
            self._grant_free(mine, model, work.asks, reply)
            return
        with access as limiter:
            for ticket, used, observed in work.ended:
                self._settle(limiter, model, ticket, used, observed, now)
            for number in work.withdrawn:
                limiter.line.leave((mine.name, number))
            if work.asks:
                self._serve(mine, model, limiter, work.asks, now, reply)

    def _grant_free(self, mine: _Worker, model: str, asks: list[tuple[Asked, Sum]], reply: Reply) -> None:
        """A model without a limit: there is only the purse."""
        reply[0].extend(ask[0] for ask, _ in asks)
        mine.tickets.update((ask[0], (model, _Ticket(None, bound))) for ask, bound in asks)
        if asks and not self._purse.limited:
            reply[3].append(model)

    def _serve(
        self, mine: _Worker, model: str, limiter: Limiter, asks: list[tuple[Asked, Sum]], now: float, reply: Reply
    ) -> None:
        granted, refused, waits, _ = reply
        tickets: dict[Key, _Ticket] = {}
        for ask, bound in asks:
            try:
                tickets[self._join(mine, model, limiter, ask, now)] = _Ticket(None, bound, ask[3] if ask[6] else 0)
            except ConfigError as error:
                refused.append((ask[0], "config", str(error), ("tokens", 0.0, 0.0)))
                self._purse.settle(bound, NOTHING)
        took, later = limiter.serve(tickets, now, process=self._process)
        for key, held in took.items():
            mine.waiting.pop(key[1], None)
            tickets[key].held = held
            mine.tickets[key[1]] = model, tickets[key]
            granted.append(key[1])
        for wait in later:
            self._purse.settle(tickets[wait.key].bound, NOTHING)
            waits.append((wait.key[1], min(wait.wait_s, LONGEST_S), wait.position))

    def _join(self, mine: _Worker, model: str, limiter: Limiter, ask: Asked, now: float) -> Key:
        number, _, given, output, rank, _, estimated = ask
        if estimated:
            given = self._ratios.reserve(model, given)
            output = self._ratios.reserve_output(model, given, output)
        need = (float(given + output), float(given), float(output), 1.0)
        limiter.refuse_oversize(need)
        key = (mine.name, number)
        limiter.line.join(QueuedRequest(key, rank, need, now, now + GRACE_S))
        mine.waiting[number] = model
        return key

    def _settle(
        self,
        limiter: Limiter,
        model: str,
        ticket: _Ticket | None,
        used: Need | None,
        observed: Observed | None,
        now: float,
    ) -> None:
        held = None if ticket is None else ticket.held
        refused = used == TURNED_AWAY and observed is not None and observed.retry_after_s is not None
        if held is not None and ticket is not None:
            if refused and observed is not None:
                self._learn_refusal(limiter, model, ticket, held.need, observed)
            used = self._judge(model, held.need, ticket.max_tokens, used)
            limiter.settle(held, used, now, process=self._process)
        elif ticket is not None and ticket.adopted:
            limiter.vacate(self._process)
        if observed is not None:
            limiter.observe(observed, now, held=held, refused=refused, others=lambda: self._in_flight(model))
        if ticket is not None and held is None and used is not None and not ticket.adopted:
            limiter.charge(used, now)  # granted before there was a limit

    def _learn_refusal(self, limiter: Limiter, model: str, ticket: _Ticket, need: Need, observed: Observed) -> None:
        """A provider that turns a call away although its bucket has enough for it counts all of max_tokens.

        Its own word for the level is the better witness. Without it: ours was nearly empty, so that it had just enough.
        """
        if not ticket.max_tokens:
            return
        told = [(left, asked) for (_, left), asked in zip(pairs(observed), need, strict=True) if left is not None]
        if len(told) > (observed.remaining_requests is not None):
            if all(left >= asked for left, asked in told):
                self._ratios.be_strict(model)
        elif limiter.nearly_empty():
            self._ratios.be_strict(model, keeps=need[2] >= ticket.max_tokens)

    def _judge(self, model: str, need: Need, max_tokens: int, used: Need | None) -> Need | None:
        """What is to be charged for a call, where the provider may count max_tokens instead of what was used of it."""
        if used is None or used[0] == 0.0 or not max_tokens or not self._ratios.keeps(model, need[1], max_tokens):
            return used
        output = max(used[2], need[2])
        return used[1] + output, used[1], output, used[3]

    def _in_flight(self, model: str) -> list[Held]:
        return [
            ticket.held
            for worker in self._workers.values()
            for name, ticket in worker.tickets.values()
            if ticket.held is not None and name == model
        ]
