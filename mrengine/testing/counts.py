"""The test server's account of what it received and answered, on its own clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mrengine.testing.prompt_cache import Billed

__all__ = ["Counts", "Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """The server's account. Times are seconds of its own monotonic clock.

    ``distinct``: different requests. ``ok``: real answers. ``paid_twice``: answers to a request that had one already.
    ``batched``: answers in batches. ``read_calls``: answers whose prompt was partly read from the cache;
    ``read_tokens`` and ``written_tokens``: the cache's, of all answers. ``billed_usd``: the bill, by the server's own
    prices. ``early``: requests repeated before their ``Retry-After`` was over.
    """

    requests: int = 0
    ok: int = 0
    distinct: int = 0
    paid_twice: int = 0
    early: int = 0
    in_flight_max: int = 0
    connections: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    batched: int = 0
    read_calls: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    billed_usd: float = 0.0
    first_request_s: float | None = None
    last_answer_s: float | None = None
    cpu_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)

    @property
    def span_s(self) -> float:
        """Seconds from the first request to the last answer."""
        if self.first_request_s is None or self.last_answer_s is None:
            return 0.0
        return self.last_answer_s - self.first_request_s

    @property
    def rate_limited(self) -> int:
        """Requests answered with 429."""
        return self.statuses.get("429", 0)


class Counts:
    """The counters behind ``Stats``."""

    def __init__(self) -> None:
        self.connections = 0
        self._requests: Counter[bytes] = Counter()
        self._answers: Counter[bytes] = Counter()
        self._statuses: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()  # by the names of Stats
        self._in_flight = self._in_flight_max = 0
        self._usd = Decimal(0)  # exact: tests compare it with the job's own sum
        self._first: float | None = None
        self._last: float | None = None

    def arrived(self, now: float, digest: bytes, model: str, *, early: bool) -> None:
        """Count a request that has arrived."""
        self._first = now if self._first is None else self._first  # 0.0 is a time, too
        self._requests[digest] += 1
        self._models[model] += 1
        self._sums["early"] += early
        self._in_flight += 1
        self._in_flight_max = max(self._in_flight_max, self._in_flight)

    def billed(self, billed: Billed, usd: Decimal | None) -> None:
        """Add the tokens of an answer, and its price."""
        self._sums["input_tokens"] += billed.input
        self._sums["output_tokens"] += billed.output
        self._sums["read_calls"] += billed.read > 0
        self._sums["read_tokens"] += billed.read
        self._sums["written_tokens"] += billed.written + billed.written_1h
        self._usd += usd or 0

    def batched(self, digest: bytes, model: str) -> None:
        """Count a request of a batch, with its answer."""
        self._requests[digest] += 1
        self._answers[digest] += 1
        self._models[model] += 1
        self._sums["batched"] += 1

    def left(self, now: float, digest: bytes, status: int, *, good: bool) -> None:
        """Count an answer that was sent, or a connection that ended (status 0). ``good``: a real answer."""
        self._last = now
        self._in_flight -= 1
        self._statuses[str(status or "dropped")] += 1
        if good:
            self._answers[digest] += 1

    def stats(self, cpu_s: float) -> dict[str, Any]:
        """The fields of ``Stats``."""
        ok = self._answers.total()
        return {
            **self._sums,
            "requests": self._requests.total(),
            "ok": ok,
            "distinct": len(self._requests),
            "paid_twice": ok - len(self._answers),
            "in_flight_max": self._in_flight_max,
            "connections": self.connections,
            "billed_usd": float(self._usd),
            "first_request_s": self._first,
            "last_answer_s": self._last,
            "cpu_s": cpu_s,
            "statuses": dict(self._statuses),
            "models": dict(self._models),
        }
