"""The requests of one worker: those that wait for a grant, and the reports of calls that have ended."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

from mrengine.budget.wait_queue import rank_of
from mrengine.errors import BudgetExhausted, ConfigError, ModelRefused, MrengineError, Stopped
from mrengine.records import Observed, Priority, Usage

if TYPE_CHECKING:  # the host needs no sockets
    from mrengine.budget.connection import CallReport, Gates, HeldCall, Reply, RequestRow

__all__ = ["LOOK_S", "BudgetPort", "Lease", "OnWait", "PendingRequest", "PendingRequests", "Stopping", "check", "wait"]

Stopping = Callable[[], bool] | None
OnWait = Callable[[str, float], None] | None  # is given the model and the wait in milliseconds

_SAME_CALL = -1  # as connection.SAME_CALL, which the host does not import
LOOK_S = 0.25  # how often a waiting thread checks whether the job is stopping


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request for the budget of one call. ``ready``: a lock, released when there is news for the waiter."""

    row: RequestRow
    gates: Gates = ("", "")
    held: bool = False  # an identical call was made meanwhile
    ready: Any = field(default_factory=threading.Lock)  # it costs a tenth of an Event
    error: MrengineError | None = None
    wait_ms: float = 0.0
    granted: bool = False
    given_up: bool = False

    def __post_init__(self) -> None:
        self.ready.acquire()

    @property
    def model(self) -> str:
        """The model to be called."""
        return self.row[1]

    def wake(self) -> None:
        """Wake the waiter, which may not have woken from the last time yet."""
        if self.ready.locked():
            self.ready.release()


class Lease:
    """Permission to make one call. ``settle`` it when the call has ended, whatever its outcome."""

    __slots__ = ("_request", "_settle", "held")

    def __init__(self, request: PendingRequest, settle: Callable[[CallReport], None]) -> None:
        self._request: PendingRequest | None = request
        self._settle = settle
        self.held = request.held

    def settle(self, usage: Usage | None = None, observed: Observed | None = None, *, made: bool = True) -> None:
        """Report the end of the call. Never blocks; only the first report counts.

        ``usage`` None: unknown, so the whole reservation counts as spent. ``made=False``: the call was never sent, or
        refused unread (a 429, with its headers in ``observed``); its tokens are returned.
        """
        request, self._request = self._request, None
        if request is None:
            return
        number, model, counted, output, _, _, estimated = request.row
        tokens = None if usage is None else astuple(usage)
        headers = None if observed is None else astuple(observed)
        self._settle((number, model, counted if estimated else 0, output, tokens, made, headers))


class PendingRequests:
    """All requests of one worker. Thread-safe."""

    def __init__(self, on_settled: Callable[[int], None] | None = None) -> None:
        self._on_settled = on_settled
        self._lock = threading.Lock()
        self._waiting: dict[int, PendingRequest] = {}
        self._held: dict[int, HeldCall] = {}
        self._done: list[CallReport] = []
        self._number = 0

    def add(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        priority: Priority | str,
        bound_tokens: int | None,
        estimated: bool,
        gates: Gates = ("", ""),
    ) -> PendingRequest:
        """Add a request, which waits from now on."""
        rank = rank_of(priority)
        bound = input_tokens if bound_tokens is None else bound_tokens
        with self._lock:
            self._number += 1
            row = self._number, model, input_tokens, output_tokens, rank, bound, estimated
            request = PendingRequest(row, gates)
            self._waiting[self._number] = request
        return request

    def give_up(self, request: PendingRequest) -> None:
        """Withdraw a request nobody waits for any more; a grant that has arrived meanwhile is returned."""
        with self._lock:
            request.given_up = True
            number, model = request.row[:2]
            self._waiting.pop(number, None)
            if request.granted and self._held.pop(number, None) is not None:
                self._done.append((number, model, 0, 0, None, False, None))

    def settle(self, report: CallReport) -> bool:
        """Queue the report of an ended call. True if it is the only one queued."""
        number, *_ = report
        with self._lock:
            self._held.pop(number, None)
            self._done.append(report)
            return len(self._done) == 1

    def message(self) -> tuple[list[RequestRow], list[CallReport]]:
        """The next message: every waiting request, and every call that has ended since the last reply."""
        with self._lock:
            return [request.row for request in self._waiting.values()], list(self._done)

    def gates(self) -> dict[int, Gates]:
        """The gates of the waiting requests that have some, by their numbers."""
        with self._lock:
            return {number: request.gates for number, request in self._waiting.items() if any(request.gates)}

    def held(self) -> list[HeldCall]:
        """The calls in flight, for a new manager that may not know them."""
        with self._lock:
            return list(self._held.values())

    def idle(self) -> bool:
        """Whether no request waits and no ended call is to be reported."""
        return not self._waiting and not self._done

    def reports(self) -> bool:
        """Whether ended calls are still to be reported."""
        return bool(self._done)

    def waiting(self) -> bool:
        """Whether any request waits."""
        return bool(self._waiting)

    def take(self, reply: Reply, reported: int) -> float | None:
        """Pass a reply on to the waiters. Seconds until the first of the rest may be granted; None if none waits.

        ``reported``: how many ended calls were in the message that this replies to; more may have ended since.
        """
        granted, refused, waits, _ = reply
        with self._lock:
            if self._on_settled is not None:  # its beginnings do not count calls that were never sent, so nor do we
                sent = [1 for *_, made, headers in self._done[:reported] if made or headers is not None]
                self._on_settled(len(sent))
            del self._done[:reported]
            for number in granted:
                self._grant(number)
            for number, kind, why, facts in refused:
                if (request := self._waiting.pop(number, None)) is not None:
                    request.error = _refusal(request, kind, why, facts)
                    request.wake()
            for number, wait_s, place in waits:
                if place == _SAME_CALL and number in self._waiting:
                    self._waiting[number].held = True
                if (request := self._waiting.get(number)) is not None and not request.wait_ms:
                    request.wait_ms = max(wait_s * 1000.0, 0.001)
                    request.wake()
        return min((wait_s for _, wait_s, _ in waits), default=None)

    def _grant(self, number: int) -> None:
        request = self._waiting.pop(number, None)
        if request is not None:
            request.granted = True
            _, model, _, output, _, bound, _ = request.row
            self._held[number] = (number, model, bound, output)
            request.wake()
        elif number not in self._held and not any(done[0] == number for done in self._done):
            self._done.append((number, "", 0, 0, None, False, None))  # given up meanwhile: the grant goes back


def _refusal(request: PendingRequest, kind: str, why: str, facts: tuple[str, float, float]) -> MrengineError:
    if kind == "exhausted":
        unit, spent, limit = facts
        _, _, _, output, _, prompt, _ = request.row
        # In a re-ask the answers so far are part of the prompt.
        parts = f"{prompt} for the prompt and what is asked again, {output} for the answer (its max_tokens)"
        return BudgetExhausted(
            f"the next call to {request.model!r} could exceed the budget: {spent:g} of {limit:g} {unit} are spent, and "
            f"it reserves {why} at most: {parts}; the same job with a larger Budget goes on from here",
            spent=spent,
            limit=limit,
            unit=unit,
        )
    if facts[0] == "USD":
        return ConfigError(why, setting="budget")
    return ModelRefused(f"{request.model!r}: {why}", model=request.model)


def check(request: PendingRequest, stopping: Stopping) -> None:
    """Raise whatever ends the wait: the refusal of the request, or Stopped."""
    if request.error is not None:
        raise request.error
    if stopping is not None and stopping():
        raise Stopped(f"the job is stopping; {request.model!r} is not called")


def wait(request: PendingRequest, stopping: Stopping, on_wait: OnWait) -> None:
    """Block until the request is granted or ``check`` raises; checks four times a second."""
    reported = False
    while not request.granted:
        check(request, stopping)
        request.ready.acquire(timeout=LOOK_S)
        if on_wait is not None and request.wait_ms and not reported and not request.granted:
            reported = True
            on_wait(request.model, request.wait_ms)


class BudgetPort(ABC):
    """Permission to make calls, as a worker's tasks ask for it. Safe from any thread."""

    def __init__(self, on_settled: Callable[[int], None] | None = None) -> None:
        self._pending = PendingRequests(on_settled)

    def acquire(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        priority: Priority | str = "P1_user",
        bound_tokens: int | None = None,
        estimated: bool = True,
        stopping: Stopping = None,
        on_wait: OnWait = None,
        gates: Gates = ("", ""),
    ) -> Lease:
        """Block until a call of this size may be made.

        ``input_tokens`` by our own count, raised by the model's learned ratio if ``estimated``. ``bound_tokens``: an
        upper bound of the input, for ``Budget``. ``on_wait`` is called once, if there is a wait. ``gates``: the digests
        of the call and of its prefix that a provider may cache: of the calls with the same one, the first goes alone,
        and the others follow when it has been answered. Raises Stopped, ModelRefused for a call larger than the limit,
        BudgetExhausted, ConfigError.
        """
        if not any(gates) and (lease := self._unlimited_lease(model)) is not None:
            return lease
        self._start()  # before any lock is taken: in a fork of the worker, a thread that is gone may hold it for ever
        request = self._pending.add(
            model,
            input_tokens,
            output_tokens,
            priority=priority,
            bound_tokens=bound_tokens,
            estimated=estimated,
            gates=gates,
        )
        self._wait(request, stopping, on_wait)
        return Lease(request, self._settle)

    @abstractmethod
    def close(self, timeout_s: float = 0.5) -> None:
        """Send the remaining reports, within ``timeout_s``; idempotent."""

    def _unlimited_lease(self, model: str) -> Lease | None:
        """A lease without a request, for a model that is known to have no limit."""
        return None

    @abstractmethod
    def _start(self) -> None:
        """Get ready to make requests. ConfigError: this process may not."""

    @abstractmethod
    def _wait(self, request: PendingRequest, stopping: Stopping, on_wait: OnWait) -> None:
        """Return once the request is granted; else withdraw it, and raise what ``check`` raises."""

    @abstractmethod
    def _settle(self, report: CallReport) -> None:
        """Report an ended call. Never blocks for long."""
