"""The arithmetic of progress: counts, pace, tokens, money, time left; and the words for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from mrengine.records import Usage, cost_sum

__all__ = ["Clock", "Meter", "describe"]

WINDOW_S = 30.0  # of the pace: long enough to be steady, short enough to follow a change
SAMPLE_S = 0.25
MINUTE_S = 60.0

Clock = Callable[[], float]


class Meter:
    """Counts, pace, tokens, money and time left. ``done`` includes failures and resumed chunks; the rest is this run's.

    ``cost_usd`` is None once a price was unknown. ``tpm``: the limits of models, as far as they are known.
    """

    def __init__(self, tpm: Mapping[str, int] | None = None, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._tpm = dict(tpm or {})
        self._used: dict[str, deque[tuple[float, int]]] = {model: deque() for model in self._tpm}
        self._samples: deque[tuple[float, int]] = deque()
        self.begin(0, 0)

    def begin(self, total: int, resumed: int) -> None:
        """Start a round."""
        self.total, self.so_far = total, False
        self.done = resumed
        self.failed = self.tokens = self.in_flight = 0
        self.cost_usd: float | None = 0.0
        self._ended = 0  # chunks with a result in this run, whose cost is known
        self._started = self._clock()
        self._samples.clear()
        self._samples.append((self._started, resumed))

    def count(self, *, done: int, failed: int) -> None:
        """Update the counts; ``done`` includes failures."""
        self.done, self.failed = done, failed
        now = self._clock()
        if now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, done))
        # The newest sample before the window stays: the pace is measured from there.
        while len(self._samples) > 2 and self._samples[1][0] < now - WINDOW_S:
            self._samples.popleft()

    def spend(self, usage: Usage, cost_usd: float | None) -> None:
        """Add the usage and cost of a chunk's calls."""
        self.tokens += usage.total_tokens
        self.cost_usd = cost_sum(self.cost_usd, cost_usd)
        self._ended += 1

    def use(self, model: str, tokens: int) -> None:
        """Add an answered call, which counts against the model's limit for a minute."""
        calls = self._used.get(model)
        if calls is not None:
            calls.append((self._clock(), tokens))

    @property
    def limit_used(self) -> float | None:
        """The largest share of its limit that a model has used in the last minute; None: no limit is known."""
        since = self._clock() - MINUTE_S
        shares = []
        for model, calls in self._used.items():
            while calls and calls[0][0] < since:
                calls.popleft()
            shares.append(sum(tokens for _, tokens in calls) / self._tpm[model])
        return min(1.0, max(shares)) if shares else None  # a burst may use more than a minute's share at once

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second since the round began."""
        return self.tokens / max(self.elapsed_s, 1e-9)

    @property
    def projected_usd(self) -> float | None:
        """The cost of the run at its end, at the rate so far; None before there is a rate, or without a price."""
        if not self._ended or self.cost_usd is None or self.so_far:
            return None
        return self.cost_usd * (1 + max(0, self.total - self.done) / self._ended)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the round began."""
        return self._clock() - self._started

    @property
    def per_second(self) -> float:
        """Chunks a second over the last half minute; 0 before the first."""
        since, done = self._samples[0]
        return (self.done - done) / max(self._clock() - since, 1e-9)

    def grow(self, total: int, *, so_far: bool) -> None:
        """Set the total; ``so_far``: it will grow."""
        self.total, self.so_far = total, so_far

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the current pace; None before there is a pace, and while the total grows."""
        pace = self.per_second
        return (self.total - self.done) / pace if pace > 0 and not self.so_far else None


def describe(meter: Meter, state: str = "", *, width: int = 10_000) -> str:
    """The text of the line: "12/40 chunks, draining, 1 failed, 3.1/s, 0:09 left".

    If it exceeds ``width``, tokens, the limit, tasks in flight, the cost, the pace and the state are left out, in this
    order. The time left is always shown.
    """
    count = f"{meter.done}/{meter.total}{'…' * meter.so_far} chunks" if meter.total else ""
    failed = f"{meter.failed} failed" if meter.failed else ""
    speed = (_in_flight(meter), _rate(meter), _tokens(meter), _limit(meter))
    words = [count, state, failed, *speed, _cost(meter), _time(meter)]
    for least_needed in (5, 6, 3, 7, 4, 1, None):
        line = ", ".join(word for word in words if word)
        if len(line) <= width or least_needed is None:
            break
        words[least_needed] = ""
    return line


def _in_flight(meter: Meter) -> str:
    # Outcomes are reported before the load: no more tasks can be in flight than are left.
    left = meter.in_flight if meter.so_far else min(meter.in_flight, meter.total - meter.done)
    return f"{left} in flight" if left > 0 else ""


def _rate(meter: Meter) -> str:
    pace = meter.per_second
    if pace <= 0:
        return ""
    return f"{pace:.1f}/s" if pace >= 1 else f"{1 / pace:.1f} s each"


def _tokens(meter: Meter) -> str:
    return f"{meter.tokens_per_second:,.0f} tokens/s" if meter.tokens else ""


def _limit(meter: Meter) -> str:
    used = meter.limit_used
    return f"{used:.0%} of the limit" if used else ""


def _cost(meter: Meter) -> str:
    if not meter.cost_usd:
        return ""
    whole = meter.projected_usd
    spent = f"${meter.cost_usd:.4f}" if meter.cost_usd < 1 else f"${meter.cost_usd:.2f}"
    return spent if whole is None or meter.done >= meter.total else f"{spent} of about ${whole:.3g}"


def _time(meter: Meter) -> str:
    left = meter.eta_s is not None and meter.done < meter.total
    return f"{_clock_time(meter.eta_s or 0)} left" if left else _clock_time(meter.elapsed_s)


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
