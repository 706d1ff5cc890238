"""Circuit breakers: a model that keeps failing gets no calls for a while, and is then tried with a single one.

::

    closed ──(failures in a row)──► open ──(cooldown over)──► half-open: one call
       ▲                             ▲ cooldown doubled            │
       └───────── success ───────────┴───────── failure ───────────┘      refused for good: ended
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mrengine.errors import ModelError, RateLimited

__all__ = ["Breaker"]


class Breaker:
    """The breaker of one model. ``threshold`` failures in a row open it for ``cooldown_s``, doubled each time up to
    ``max_s``. Thread-safe.

    Only transient errors count as failures, and no 429, which is the budget's business. A certain refusal of the whole
    model (quota) ends it for good, and an uncertain one (401) changes nothing.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        cooldown_s: float = 15.0,
        max_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold, self._first_s, self._max_s, self._clock = threshold, cooldown_s, max_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._cooldown_s = cooldown_s
        self._until: float | None = None
        self._probing = False
        self._ended = False

    @property
    def state(self) -> str:
        """ "closed", "open", "half-open" or "ended"."""
        with self._lock:
            if self._ended:
                return "ended"
            if self._until is None:
                return "closed"
            return "half-open" if self._clock() >= self._until else "open"

    def wait_s(self) -> float:
        """Seconds until a call may be tried; 0 now, infinity never."""
        with self._lock:
            if self._ended:
                return float("inf")
            return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def allow(self) -> bool:
        """Whether a call may be made now. Half-open, only the first caller may, until its outcome is known."""
        with self._lock:
            if self._ended:
                return False
            if self._until is None:
                return True
            if self._clock() < self._until or self._probing:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """A call was answered."""
        with self._lock:
            self._failures, self._until, self._probing = 0, None, False
            self._cooldown_s = self._first_s

    def failed(self, error: ModelError, *, times: int = 1) -> None:
        """A call failed; it counts as ``times`` failures."""
        if (isinstance(error, RateLimited) and error.transient) or not error.certain:
            with self._lock:
                self._probing = False
        elif error.transient:
            self._count(times)
        elif error.scope == "model":
            with self._lock:
                self._ended = True
        else:
            self.succeeded()  # a refusal of one chunk proves that the model answers

    def withdrawn(self) -> None:
        """A call that was allowed is not made after all: another one may probe."""
        with self._lock:
            self._probing = False

    def _count(self, times: int) -> None:
        with self._lock:
            self._failures += times
            if self._until is not None and self._clock() < self._until:
                return  # this call was under way when the breaker opened, and says nothing new
            if self._probing or self._failures >= self._threshold:
                if self._probing:
                    self._cooldown_s = min(self._cooldown_s * 2, self._max_s)
                self._until = self._clock() + self._cooldown_s
                self._failures, self._probing = 0, False
