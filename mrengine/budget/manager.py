"""The limits of all models: plain arithmetic, without a thread, a process or I/O of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

from mrengine.budget.limiter import GRACE_S, Limiter, Spent
from mrengine.budget.wait_queue import Need, QueuedRequest, rank_of
from mrengine.errors import ConfigError
from mrengine.records import Grant, Observed, Priority, RateLimit

__all__ = ["Access", "Sharing", "TokenBucketManager", "check_limit"]

Access = AbstractContextManager[Limiter]
# Opens a limit that several processes draw on; None: this one is not shared. See ``mrengine.budget.shared_limits``.
Sharing = Callable[[str, RateLimit, Limiter], "Access | None"]
UNLIMITED = 2**62


class TokenBucketManager:
    """The token buckets of each model in ``limits``; a model without a limit is granted everything at once.

    ``clock``: seconds, monotonic. ``idle``: priorities that no caller uses, so nothing is reserved for them.
    ``history``: the calls of the last minute, by model, as (seconds ago, input tokens, output tokens); the buckets
    start at the levels these imply. ``sharing`` opens limits that other processes draw on as well; ``process`` is the
    name of this one among them.
    """

    def __init__(
        self,
        limits: Mapping[str, RateLimit] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        idle: Collection[Priority | str] = (),
        history: Mapping[str, Iterable[Spent]] | None = None,
        sharing: Sharing | None = None,
        process: str = "",
    ) -> None:
        self.clock = clock
        self.process = process
        self._idle = frozenset(map(rank_of, idle))
        self._sharing = sharing
        self._lock = threading.Lock()
        self._models: dict[str, Access] = {}
        for model, limit in (limits or {}).items():
            check_limit(model, limit)
            self._add(model, limit, (history or {}).get(model, ()))

    def request(
        self,
        model: str,
        tokens: int,
        priority: Priority | str = "P1_user",
        *,
        output_tokens: int = 0,
        ticket: int | None = None,
    ) -> Grant:
        """Ask for ``tokens`` (input) and ``output_tokens``; never blocks.

        If ``granted`` is 0, ask again after ``wait_ms``; the place in the queue is kept until two seconds after that.
        A requester is identified by its thread, or by ``ticket``. ConfigError for an unknown priority and for more
        than can ever be granted at once.
        """
        rank = rank_of(priority)
        if tokens < 0 or output_tokens < 0:
            raise ConfigError(f"tokens must not be negative: {tokens}, {output_tokens}", setting="tokens")
        total = tokens + output_tokens
        access = self.open(model)
        if access is None:
            return Grant(total, UNLIMITED, 0.0, 0)
        with self._lock, access as limiter:
            now = self.clock()
            need: Need = (total, tokens, output_tokens, 1.0)
            limiter.refuse_oversize(need)
            key = (f"{self.process}/{threading.get_ident()}/{rank}", -1 if ticket is None else ticket)
            limiter.queue.join(QueuedRequest(key, rank, need, now, now + GRACE_S))
            granted, waits = limiter.serve((key,), now)
            if granted:
                limiter.release(granted[key])
                return Grant(total, limiter.remaining(), 0.0, 0)
            wait = waits[0]
            return Grant(0, limiter.remaining(), wait.wait_s * 1000.0, wait.position)

    def open(self, model: str) -> Access | None:
        """Exclusive access to a model's limit, for one ``with`` statement; None where it has no limit."""
        return self._models.get(model)

    def learn(self, model: str, observed: Observed) -> Access | None:
        """Access to the limit of a model; where ``observed`` holds its first limit, the model has one from now on."""
        if model not in self._models and has_limits(observed):
            self._add(model, RateLimit(), ())
        return self._models.get(model)

    def _add(self, model: str, limit: RateLimit, spent: Iterable[Spent]) -> None:
        limiter = Limiter(limit, self.clock(), idle=self._idle, spent=spent)
        access = self._sharing(model, limit, limiter) if self._sharing is not None else None
        self._models[model] = access if access is not None else nullcontext(limiter)


def has_limits(observed: Observed) -> bool:
    """Whether headers state a limit, or a time before which nothing may be sent."""
    return bool(
        observed.retry_after_s is not None
        or observed.limit_tokens
        or observed.limit_requests
        or observed.limit_input_tokens
        or observed.limit_output_tokens
    )


def check_limit(model: str, limit: RateLimit) -> None:
    """ConfigError for a limit that cannot work."""
    for name in ("tpm", "rpm", "rps", "input_tpm", "output_tpm", "concurrent"):
        value = getattr(limit, name)
        if value is not None and not value > 0:
            raise ConfigError(f"limits[{model!r}].{name} is {value!r}: it must be above 0", setting="limits")
    if not limit.burst_s >= 0:
        raise ConfigError(f"limits[{model!r}].burst_s is {limit.burst_s!r}: it must not be negative", setting="limits")
