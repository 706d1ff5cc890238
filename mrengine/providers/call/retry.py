"""The one retry loop: gets permission, makes the call, and retries transient failures until the chunk's deadline.

Waits are full-jitter exponential (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): uniform
between 0 and ``backoff_s`` × 2ⁿ, at most a minute, and never less than ``Retry-After``.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from mrengine.errors import ModelError, ModelUnavailable, MrengineError, RateLimited, Stopped
from mrengine.providers.call import error_map
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.call.counting import billed
from mrengine.records import Completion, Observed, Request, Usage

__all__ = ["Caller", "LeaseLike", "Send", "call"]

MAX_BACKOFF_S = 60.0
MIN_BACKOFF_S = 0.01  # a job with backoff_s=0 must not spin
MAX_CAUSES = 12  # attempts that an error lists, the last ones
MIN_ATTEMPT_S = 30.0
UNSTATED_S = 1.0  # the wait for a limit whose refusal names none
UNSTATED_MOST_S = 90.0  # limits per minute are free again by then: a call that is still refused met another kind

Send = Callable[[Request], Completion]


class LeaseLike(Protocol):
    """The reservation of one call."""

    def settle(self, usage: Usage | None, observed: Observed | None = None, *, made: bool = True) -> None:
        """Settle it for what was used. ``made=False``: the provider did not admit the call; all of it is returned."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What the caller does while a call fails.

    ``stopping`` ends each wait. ``alternatives``: another model may answer, so a failure is raised at once if the
    breaker has opened. ``aside``: the caller has other work, and wants the error of a model that does not answer at
    once (``error.aside``) rather than wait here. ``on_retry(error, attempt, wait_s)`` is called before each wait.
    ``pause()`` surrounds the wait for a limit, and puts the deadline off.
    """

    stopping: threading.Event | None = None
    alternatives: bool = False
    aside: bool = False
    on_retry: Callable[[ModelError, int, float], None] | None = None
    pause: Callable[[], AbstractContextManager[object]] | None = None

    def waits_out(self, error: ModelError) -> bool:
        """Whether this is a limit that is waited for however long it takes, as the wait does not count."""
        return self.pause is not None and not self.alternatives and _is_limit(error)

    def goes_elsewhere(self, breaker: Breaker | None) -> bool:
        """Whether another model is asked rather than this one again."""
        return self.alternatives and breaker is not None and breaker.state != "closed"


def call(
    send: Send,
    request: Request,
    *,
    deadline: float | Callable[[], float],
    caller: Caller = Caller(),  # frozen
    model: str | None = None,
    reserve: Callable[[], LeaseLike] | None = None,
    backoff_s: float = 1.0,
    breaker: Breaker | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
    rng: Callable[[], float] = random.random,
) -> Completion:
    """Make a call, as often as it takes until ``deadline`` (seconds on ``clock``; a callable is asked again after each
    wait for the budget, which may put it off).

    ``send`` makes one attempt, as ``Provider.complete`` does. ``reserve`` waits for permission to make one, and its
    lease is settled whatever happens. ``model``: its name in messages, the request's by default. ``breaker`` is
    notified of every outcome. A limit ends its model when it has refused this call without a break for the call's own
    time, and for 15 minutes (90 s if it names no wait).

    Raises ``Stopped``, or the last ``ModelError``, whose message, ``attempts``, ``waited_s`` and ``causes`` say what
    was tried. An answer must begin within half of the time that is left, or 30 s; one that has begun has all of it.
    """
    name = model or request.model
    until = deadline if callable(deadline) else lambda: deadline
    wait_until = _Waiter(caller.stopping, clock, sleep)
    history = _History(clock(), until() - clock())
    while True:
        lease = None if reserve is None else reserve()
        left_s = until() - clock()  # after the wait for budget, which may have put the deadline off
        if left_s <= 0:
            if lease is not None:
                lease.settle(None, None, made=False)
            if breaker is not None:
                breaker.withdrawn()
            raise history.cut_short(name, clock())
        history.attempts += 1
        began = clock()
        outcome = _settled(send, request, name, lease, left_s)
        _record(breaker, outcome)
        history.judge(outcome, clock())
        if isinstance(outcome, Completion):
            return outcome
        left_s = until() - clock()
        wait_s = _backoff(history.attempts, backoff_s, rng, outcome.retry_after_s, left_s)
        late = wait_s >= left_s and not caller.waits_out(outcome)  # no time would be left for another attempt
        enough = history.enough_of(outcome)
        outcome.silent_s = clock() - began
        outcome.aside = caller.aside and not caller.alternatives and not enough and _is_passing(outcome)
        if not outcome.transient or late or caller.goes_elsewhere(breaker) or enough or outcome.aside:
            raise history.final(outcome, clock())
        if caller.on_retry is not None:
            caller.on_retry(outcome, history.attempts, wait_s)
        history.add(outcome, wait_s)
        with caller.pause() if caller.pause is not None and caller.waits_out(outcome) else nullcontext():
            wait_until(clock() + wait_s)


def _is_limit(error: ModelError) -> bool:
    """Whether this is a limit that ends by itself: waiting for it is not the task's fault."""
    return isinstance(error, RateLimited) and error.transient


def _is_passing(error: ModelError) -> bool:
    """Whether the model does not answer now, for a reason other than a limit."""
    return error.transient and not isinstance(error, RateLimited)


def _settled(
    send: Send, request: Request, name: str, lease: LeaseLike | None, left_s: float
) -> Completion | ModelError:
    """One call, settled with the budget however it ends."""
    try:
        outcome = _attempt(send, request, name, left_s)
    except BaseException as error:
        if lease is not None:  # after a wrong setting, or a stop, nothing was sent
            lease.settle(None, None, made=not isinstance(error, (Stopped, MrengineError)))
        raise
    if lease is not None and isinstance(outcome, Completion):
        lease.settle(billed(outcome.usage), outcome.observed)
    elif lease is not None and isinstance(outcome, ModelError):
        lease.settle(outcome.usage, _observed(outcome), made=not error_map.turned_away(outcome))
    return outcome


def _attempt(send: Send, request: Request, name: str, left_s: float) -> Completion | ModelError:
    """One call; whatever a provider raises becomes a value, without a context that may hold a prompt or a key."""
    # Half of the time, so that a call which is never answered leaves time for another.
    timeout_s = min(left_s, max(left_s / 2, MIN_ATTEMPT_S))
    try:
        return send(replace(request, timeout_s=timeout_s, finish_s=left_s))
    except ModelError as failed:
        error: ModelError = failed
    except (Stopped, MrengineError):
        raise
    except Exception as failed:  # noqa: BLE001  # a provider of the user's may raise anything
        error = error_map.from_exception(failed, model=name)
    return error_map.lasting(error)


def _observed(failed: ModelError) -> Observed | None:
    """What the budget learns from a failure. A limit that names no wait counts as a short one: else the other calls
    that wait for this model would only run into it, too.
    """
    headers = failed.observed
    if not _is_limit(failed) or (headers and headers.retry_after_s is not None):
        return headers
    wait_s = failed.retry_after_s if failed.retry_after_s is not None else UNSTATED_S
    return replace(headers or Observed(), retry_after_s=wait_s)


def _record(breaker: Breaker | None, outcome: Completion | ModelError) -> None:
    if breaker is None:
        return
    if isinstance(outcome, Completion):
        breaker.succeeded()
    else:
        breaker.failed(outcome)


def _backoff(attempt: int, backoff_s: float, rng: Callable[[], float], asked_s: float | None, left_s: float) -> float:
    """Seconds to wait; never less than ``asked_s``, the provider's own. Jitter that would pass the deadline is redrawn
    within the remaining time, if there is enough.
    """
    least = max(backoff_s, MIN_BACKOFF_S)
    ceiling = min(least * 2.0 ** min(attempt - 1, 20), MAX_BACKOFF_S)
    wait_s = rng() * ceiling
    if wait_s >= left_s > least:
        wait_s = rng() * left_s
    return max(wait_s, MIN_BACKOFF_S, asked_s or 0.0)


class _Waiter:
    """Sleeps until an instant, and never less; raises Stopped at once when the job stops."""

    def __init__(
        self, stopping: threading.Event | None, clock: Callable[[], float], sleep: Callable[[float], object] | None
    ) -> None:
        self._stopping, self._clock = stopping, clock
        self._sleep = sleep or (stopping.wait if stopping is not None else time.sleep)

    def __call__(self, instant: float) -> None:
        while True:
            if self._stopping is not None and self._stopping.is_set():
                raise Stopped
            if (left := instant - self._clock()) <= 0:
                return
            self._sleep(left)


class _History:
    """The attempts of one call so far: how many, how long it waited, and why each of them failed."""

    def __init__(self, started: float, own_s: float) -> None:
        self.attempts = 0
        self._own_s = own_s
        self._refused_since: float | None = None
        self._started = started
        self._waited_s = 0.0
        self._causes: deque[str] = deque(maxlen=MAX_CAUSES)
        self._last: ModelError | None = None
        self._bounded = 0

    def enough_of(self, error: ModelError) -> bool:
        """Whether an error that is worth only a few tries (``error.tries``) has come that often."""
        self._bounded += error.tries is not None
        return error.tries is not None and self._bounded >= error.tries

    def judge(self, outcome: Completion | ModelError, now: float) -> None:
        """Give up on a limit that has refused the call for too long."""
        if not isinstance(outcome, RateLimited) or not outcome.transient:
            self._refused_since = None  # the limit let the call through, whatever became of it
            return
        self._refused_since = now if self._refused_since is None else self._refused_since
        least_s = UNSTATED_MOST_S if outcome.retry_after_s is None else error_map.LONG_S
        if now - self._refused_since >= max(least_s, self._own_s):
            error_map.given_up(outcome)

    def add(self, error: ModelError, wait_s: float) -> None:
        self._last = error
        self._waited_s += wait_s
        self._causes.append(f"attempt {self.attempts}: {error}; waited {wait_s:.1f} s")

    def final(self, error: ModelError, now: float) -> ModelError:
        """The error that ends the call, with the history in its attributes and its message."""
        # An earlier error is named as well: the last attempt may have failed only for lack of time.
        self._causes.append(f"attempt {self.attempts}: {error}")
        before = f"; before it: {self._last}" if self._last is not None and str(self._last) != str(error) else ""
        return self._ended(error, now, before)

    def cut_short(self, name: str, now: float) -> ModelError:
        """The error of a call whose time ran out between two attempts: the last attempt's, if there was one."""
        if self._last is not None:
            return self._ended(self._last, now)
        error = ModelUnavailable(f"{name}: no time is left for the call", model=name)
        error.sent = False
        self._causes.append(str(error))
        return self._ended(error, now)

    def _ended(self, error: ModelError, now: float, before: str = "") -> ModelError:
        error.attempts, error.waited_s, error.causes = self.attempts, self._waited_s, tuple(self._causes)
        if self.attempts > 1:
            took = f"{self.attempts} attempts in {now - self._started:.1f} s, {self._waited_s:.1f} s of it waiting"
            error.args = (f"{error} ({took}{before})", *error.args[1:])
        return error
