"""Owns who holds what: the tickets of all workers, and the one method that answers a whole worker at once.

Everything is named by tickets that the worker numbers, and a worker always tells *all* its waiting asks. So an exchange
that is repeated after a broken connection changes nothing, an ask that is no longer told has been withdrawn, and a
manager that was replaced learns by the next exchange what its predecessor knew.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from mrengine.budget.limiter import GRACE_S, Held, Limiter
from mrengine.budget.line import Ask, Key, Need
from mrengine.budget.manager import Access, TokenBucketManager
from mrengine.budget.purse import Purse, Sum
from mrengine.budget.reserve import Ratios
from mrengine.budget.wire import Asked, Done, HeldCall, Refused, Reply, Waiting
from mrengine.errors import ConfigError
from mrengine.records import Observed, Usage

__all__ = ["Ledger"]

LOOK_AGAIN_S = 0.1  # for a purse that others have to give back to


@dataclass(slots=True)
class _Ticket:
    """A granted call that is not settled. ``held`` is None where no bucket of this manager was charged for it."""

    model: str
    held: Held | None
    bound: Sum
    adopted: bool = False


@dataclass(slots=True)
class _Worker:
    """One incarnation of a worker: its name in the lines, its open tickets and where its asks wait."""

    incarnation: int
    name: str
    tickets: dict[int, _Ticket] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)


class Ledger:
    """The state of the manager process: buckets, purse, ratios and the tickets of every worker.

    ``process`` names this process where limits are shared with others.
    """

    def __init__(
        self,
        manager: TokenBucketManager,
        *,
        purse: Purse | None = None,
        ratios: Ratios | None = None,
        process: str = "",
    ) -> None:
        self._manager = manager
        self._purse = purse or Purse(None)
        self._ratios = ratios or Ratios()
        self._process = process
        self._workers: dict[int, _Worker] = {}
        self._lock = threading.Lock()  # the threads of the server; no other process ever waits for it

    def hello(
        self, worker: int, incarnation: int, held: Sequence[HeldCall], made: Collection[int] | None = None
    ) -> bool:
        """A worker has connected. ``held``: calls it has in flight, of whom an earlier manager may have granted some.

        A new incarnation replaces the dead one: its asks leave the line, its open grants are given back — but for the
        tickets in ``made``, whose calls were sent (None: all of them), which stay spent. False: a newer incarnation is
        known, the caller is a ghost.
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
            for number, model in held:
                if number not in mine.tickets and (access := self._manager.open(model)) is not None:
                    with access as limiter:
                        limiter.occupy(self._process)
                    mine.tickets[number] = _Ticket(model, None, (0.0, 0.0), adopted=True)
            return True

    def exchange(self, worker: int, incarnation: int, asks: Sequence[Asked], done: Sequence[Done]) -> Reply | None:
        """Settle what is done, grant what can be granted of all that waits in a worker. None: say hello first."""
        with self._lock:
            mine = self._workers.get(worker)
            if mine is None or mine.incarnation != incarnation:
                return None
            now = self._manager.clock()
            for call in done:
                self._settle(mine, call, now)
            self._withdraw(mine, {ask[0] for ask in asks})
            return self._answer(mine, asks, now)

    # granting

    def _answer(self, mine: _Worker, asks: Sequence[Asked], now: float) -> Reply:
        granted: list[int] = []
        refused: list[Refused] = []
        waits: list[Waiting] = []
        free: set[str] = set()
        by_model: dict[str, list[tuple[Asked, Sum]]] = {}
        for ask in asks:
            number, model = ask[0], ask[1]
            if number in mine.tickets:  # granted before, and the reply was lost
                granted.append(number)
            elif (bound := self._put_aside(ask, refused, waits)) is None:
                continue
            elif self._manager.open(model) is None:
                if self._purse.limited:
                    mine.tickets[number] = _Ticket(model, None, bound)
                else:
                    free.add(model)
                granted.append(number)
            else:
                by_model.setdefault(model, []).append((ask, bound))
        for model, some in by_model.items():
            self._serve(mine, model, some, now, (granted, refused, waits))
        return granted, refused, waits, sorted(free)

    def _put_aside(self, ask: Asked, refused: list[Refused], waits: list[Waiting]) -> Sum | None:
        """The purse's part: an upper bound for this call, or None where it has to wait or cannot be paid."""
        if not self._purse.limited:
            return (0.0, 0.0)
        number, model, _, output, _, bound_tokens, _ = ask
        try:
            bound = self._purse.cost(model, Usage(bound_tokens, output))
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

    def _serve(
        self,
        mine: _Worker,
        model: str,
        asks: list[tuple[Asked, Sum]],
        now: float,
        reply: tuple[list[int], list[Refused], list[Waiting]],
    ) -> None:
        granted, refused, waits = reply
        access = self._open(model)
        with access as limiter:
            bounds = {ask[0]: bound for ask, bound in asks}
            keys: list[Key] = []
            for ask, bound in asks:
                try:
                    keys.append(self._join(mine, limiter, ask, now))
                except ConfigError as error:
                    refused.append((ask[0], "config", str(error), ("tokens", 0.0, 0.0)))
                    self._purse.settle(bound, (0.0, 0.0))
            took, later = limiter.serve(frozenset(keys), now, process=self._process)
            for key, held in took.items():
                mine.waiting.pop(key[1], None)
                mine.tickets[key[1]] = _Ticket(model, held, bounds[key[1]])
                granted.append(key[1])
            for wait in later:
                self._purse.settle(bounds[wait.key[1]], (0.0, 0.0))
                waits.append((wait.key[1], wait.wait_s, wait.position))

    def _join(self, mine: _Worker, limiter: Limiter, ask: Asked, now: float) -> Key:
        number, model, counted, output, rank, _, estimated = ask
        given = counted
        if estimated:
            given, output = self._ratios.reserve(model, counted), self._ratios.reserve_output(model, output)
        need = (float(given + output), float(given), float(output), 1.0)
        limiter.refuse_oversize(need)
        limiter.join(Ask((mine.name, number), rank, need, now, now + GRACE_S))
        mine.waiting[number] = model
        return mine.name, number

    def _withdraw(self, mine: _Worker, still: Collection[int]) -> None:
        for number in [number for number in mine.waiting if number not in still]:
            with self._open(mine.waiting.pop(number)) as limiter:
                limiter.line.leave((mine.name, number))

    # settling

    def _settle(self, mine: _Worker, call: Done, now: float) -> None:
        number, model, counted, output, tokens, made, said = call
        ticket = mine.tickets.pop(number, None)
        usage = None if tokens is None else Usage(*tokens)
        if usage is not None and usage.input_tokens and counted:
            self._ratios.learn(model, counted, usage.input_tokens)
            self._ratios.learn_output(model, output, usage.output_tokens)
        if ticket is not None:
            self._close(ticket, usage, made, now)
        if said is not None and (access := self._manager.learn(model, observed := Observed(*said))) is not None:
            with access as limiter:
                held = ticket.held if ticket is not None else None
                limiter.observe(observed, now, held=held, others=self._in_flight(model))

    def _close(self, ticket: _Ticket, usage: Usage | None, made: bool, now: float) -> None:
        """Give back what was not used. A call that was made and did not tell its usage keeps all that was reserved."""
        spent = ticket.bound if made else (0.0, 0.0)
        used = None if made else (0.0, 0.0, 0.0, 0.0)
        if usage is not None:
            spent = self._purse.cost(ticket.model, usage) if self._purse.limited else spent
            used = (float(usage.total_tokens), float(usage.input_tokens), float(usage.output_tokens), 1.0)
        self._purse.settle(ticket.bound, spent)
        if (access := self._manager.open(ticket.model)) is None:
            return
        with access as limiter:
            if ticket.held is not None:
                used = self._judge(ticket, ticket.held, used, turned_away=limiter.nearly_empty())
                limiter.settle(ticket.held, used, now, process=self._process)
            elif ticket.adopted:
                limiter.vacate(self._process)

    def _judge(self, ticket: _Ticket, held: Held, used: Need | None, *, turned_away: bool) -> Need | None:
        """A call that was turned away although there was just enough for it: this provider counts max_tokens."""
        if used is None or used[3] == 0.0:
            return used
        if used[0] == 0.0:
            if turned_away:
                self._ratios.be_strict(ticket.model)
            return used
        if not self._ratios.strict(ticket.model):
            return used
        output = max(used[2], held.need[2])
        return used[1] + output, used[1], output, used[3]

    def _bury(self, dead: _Worker, made: Collection[int] | None) -> None:
        now = self._manager.clock()
        self._withdraw(dead, ())
        for number, ticket in dead.tickets.items():
            self._close(ticket, None, made is None or number in made, now)
        dead.tickets.clear()

    def _in_flight(self, model: str) -> list[Held]:
        return [
            ticket.held
            for worker in self._workers.values()
            for ticket in worker.tickets.values()
            if ticket.held is not None and ticket.model == model
        ]

    def _open(self, model: str) -> Access:
        access = self._manager.open(model)
        assert access is not None  # nothing waits for a model without a limit
        return access
