"""Owns what one worker waits for and has to report: tickets in, messages out, replies back to those who wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

from mrengine.budget.wait_queue import rank_of
from mrengine.errors import BudgetExhausted, ConfigError, ModelRefused, ModelUnavailable, MrengineError
from mrengine.records import Observed, Priority, Usage

if TYPE_CHECKING:  # the host needs no sockets
    from mrengine.budget.connection import Asked, Done, HeldCall, Reply

__all__ = ["Lease", "PendingRequest", "PendingRequests", "Stopped", "check", "wait"]

LOOK_S = 0.25  # how often one who waits looks whether the job is stopping


class Stopped(MrengineError):
    """The job is stopping: nothing was granted and nothing is to be called."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One wait for the budget, and then one call. ``ready`` is a lock that is released when there is news."""

    ask: Asked
    ready: Any = field(default_factory=threading.Lock)
    error: MrengineError | None = None
    wait_ms: float = 0.0
    granted: bool = False
    given_up: bool = False

    def __post_init__(self) -> None:
        self.ready.acquire()

    @property
    def model(self) -> str:
        """The model that is to be called."""
        return self.ask[1]

    def ring(self) -> None:
        """Wake the one who waits; he may not have heard the last ring yet."""
        if self.ready.locked():
            self.ready.release()


class Lease:
    """Leave to make one call. ``settle`` it when the call has ended, whatever became of it."""

    __slots__ = ("_settle", "_ticket")

    def __init__(self, ticket: PendingRequest, settle: Callable[[Done], None]) -> None:
        self._ticket: PendingRequest | None = ticket
        self._settle = settle

    @property
    def number(self) -> int:
        """The ticket's number, unique within this incarnation of the worker: for the log's intent."""
        return self._ticket.ask[0] if self._ticket is not None else -1

    def settle(self, usage: Usage | None = None, observed: Observed | None = None, *, made: bool = True) -> None:
        """Report the call's end; never blocks; only the first time counts.

        ``usage`` None: unknown, all that was reserved counts as spent. ``made=False``: the call was never sent, or
        turned away unread (429, with its headers in ``observed``): the tokens are given back.
        """
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        number, model, counted, output, _, _, estimated = ticket.ask
        tokens = None if usage is None else astuple(usage)
        said = None if observed is None else astuple(observed)
        self._settle((number, model, counted if estimated else 0, output, tokens, made, said))


class PendingRequests:
    """All tickets of one worker. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, PendingRequest] = {}
        self._held: dict[int, HeldCall] = {}
        self._done: list[Done] = []
        self._number = 0

    def ask(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        priority: Priority | str,
        bound_tokens: int | None,
        estimated: bool,
    ) -> PendingRequest:
        """A new ticket, which waits from now on."""
        rank = rank_of(priority)
        bound = input_tokens if bound_tokens is None else bound_tokens
        with self._lock:
            self._number += 1
            ticket = PendingRequest((self._number, model, input_tokens, output_tokens, rank, bound, estimated))
            self._waiting[self._number] = ticket
        return ticket

    def give_up(self, ticket: PendingRequest) -> None:
        """Nobody waits for this ticket any more; one that was granted meanwhile is given back."""
        with self._lock:
            ticket.given_up = True
            number, model = ticket.ask[:2]
            self._waiting.pop(number, None)
            if ticket.granted and self._held.pop(number, None) is not None:
                self._done.append((number, model, 0, 0, None, False, None))

    def settle(self, done: Done) -> bool:
        """A call has ended. Whether it is the first to be reported since the last message."""
        with self._lock:
            self._held.pop(done[0], None)
            self._done.append(done)
            return len(self._done) == 1

    def message(self) -> tuple[list[Asked], list[Done]]:
        """All that waits, and all that is done since the last reply."""
        with self._lock:
            return [ticket.ask for ticket in self._waiting.values()], list(self._done)

    def held(self) -> list[HeldCall]:
        """The calls in flight, for a manager that may not know them."""
        with self._lock:
            return list(self._held.values())

    def idle(self) -> bool:
        """Whether nothing waits and nothing is to be reported."""
        return not self._waiting and not self._done

    def reports(self) -> bool:
        """Whether anything is to be reported."""
        return bool(self._done)

    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def take(self, reply: Reply, reported: int) -> float | None:
        """Hand the reply to those who wait. Seconds until the first of the rest may be granted, None where none waits.

        ``reported``: how many of the calls that are done the answered message held.
        """
        granted, refused, waits, _ = reply
        with self._lock:
            del self._done[:reported]
            for number in granted:
                self._grant(number)
            for number, kind, why, facts in refused:
                if (ticket := self._waiting.pop(number, None)) is not None:
                    ticket.error = _refusal(ticket, kind, why, facts)
                    ticket.ring()
            for number, wait_s, _ in waits:
                if (ticket := self._waiting.get(number)) is not None and not ticket.wait_ms:
                    ticket.wait_ms = max(wait_s * 1000.0, 0.001)
                    ticket.ring()
        return min((wait_s for _, wait_s, _ in waits), default=None)

    def _grant(self, number: int) -> None:
        ticket = self._waiting.pop(number, None)
        if ticket is not None:
            ticket.granted = True
            self._held[number] = (number, ticket.model, ticket.ask[5], ticket.ask[3])
            ticket.ring()
        elif number not in self._held and not any(done[0] == number for done in self._done):
            self._done.append((number, "", 0, 0, None, False, None))  # whoever asked has given up meanwhile


def _refusal(ticket: PendingRequest, kind: str, why: str, facts: tuple[str, float, float]) -> MrengineError:
    if kind == "exhausted":
        unit, spent, limit = facts
        _, _, _, output, _, prompt, _ = ticket.ask
        # A token a byte is what no tokenizer exceeds; in a re-ask the answers before it are part of the prompt.
        parts = f"{prompt} for the prompt and what is asked again, {output} for the answer (its max_tokens)"
        return BudgetExhausted(
            f"the next call to {ticket.model!r} could exceed the budget: {spent:g} of {limit:g} {unit} are spent, and "
            f"it reserves {why} at most: {parts}; the same job with a larger Budget goes on from here",
            spent=spent,
            limit=limit,
            unit=unit,
        )
    if facts[0] == "USD":
        return ConfigError(why, setting="budget")
    return ModelRefused(f"{ticket.model!r}: {why}", model=ticket.model)


def check(
    ticket: PendingRequest,
    *,
    deadline: float | None,
    stopping: Callable[[], bool] | None,
    clock: Callable[[], float] = time.monotonic,
    why: Callable[[], str] = lambda: "its rate limit did not allow it",
) -> None:
    """Raise what ends a wait: what refused the ticket, Stopped, or ModelUnavailable at the deadline."""
    if ticket.error is not None:
        raise ticket.error
    if stopping is not None and stopping():
        raise Stopped(f"the job is stopping; {ticket.model!r} is not called")
    if deadline is not None and clock() >= deadline:
        raise ModelUnavailable(f"{ticket.model!r} could not be called before the deadline: {why()}", model=ticket.model)


def wait(
    ticket: PendingRequest,
    *,
    deadline: float | None,
    stopping: Callable[[], bool] | None,
    on_wait: Callable[[str, float], None] | None,
    why: Callable[[], str],
) -> None:
    """Block until the ticket is granted, or raise what ``check`` raises; looks up four times a second."""
    told = False
    while not ticket.granted:
        check(ticket, deadline=deadline, stopping=stopping, why=why)
        left = LOOK_S if deadline is None else deadline - time.monotonic()
        ticket.ready.acquire(timeout=max(0.0, min(left, LOOK_S)))
        if on_wait is not None and ticket.wait_ms and not told and not ticket.granted:
            told = True
            on_wait(ticket.model, ticket.wait_ms)
