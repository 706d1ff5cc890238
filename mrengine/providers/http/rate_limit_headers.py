"""Reads a provider's rate-limit headers: ``observed`` for the budget, ``exhausted_s`` for a refusal."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TypeVar

from mrengine.records import Observed

__all__ = ["exhausted_s", "observed", "span"]

# x-ratelimit-{limit,remaining,reset}-{requests,tokens}: OpenAI and those who copy it, with resets like 6m0s or 20ms;
# Mistral and Cerebras add "-minute".
# anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}: resets as RFC 3339.
# x-ratelimit-{limit,remaining,reset}, ratelimit-reset: of whatever is limited, with a reset in seconds, epoch seconds
# (GitHub) or epoch milliseconds (OpenRouter).
# retry-after: seconds or an HTTP date (RFC 9110, 10.2.3). retry-after-ms: OpenAI, Azure.
_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-", "retry-after")
_UNNAMED = frozenset({"x-ratelimit-reset", "ratelimit-reset", "x-ratelimit-reset-after"})
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A limit on requests that resets later is one of a day: Groq's always is, and OpenAI's for a free tier.
_MINUTE_AT_MOST_S = 90.0
_MAX_WAIT_S = 7 * 86400.0  # no header makes a job wait for ever
_EPOCH_S, _EPOCH_MS = 1e9, 1e11  # a larger number of seconds is an instant
T = TypeVar("T")


def observed(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> Observed | None:
    """Read the headers (names in lower case), without those that cannot be read. None: they state no limit."""
    limits = {name: value for name, value in headers.items() if name.startswith(_PREFIXES)}
    if not limits:
        return None
    clock = _clock(headers, now)

    def count(*names: str) -> int | None:
        return _first(_count, limits, names)

    def reset(*names: str) -> float | None:
        return _first(lambda text: span(text, clock), limits, names)

    requests_s = reset(*_names("reset", "requests"))
    requests = requests_s is None or requests_s <= _MINUTE_AT_MOST_S
    return Observed(
        limit_requests=count(*_names("limit", "requests")) if requests else None,
        remaining_requests=count(*_names("remaining", "requests")) if requests else None,
        reset_requests_s=requests_s,
        limit_tokens=count(*_names("limit", "tokens")),
        remaining_tokens=count(*_names("remaining", "tokens")),
        reset_tokens_s=reset(*_names("reset", "tokens")),
        limit_input_tokens=count("anthropic-ratelimit-input-tokens-limit"),
        remaining_input_tokens=count("anthropic-ratelimit-input-tokens-remaining"),
        limit_output_tokens=count("anthropic-ratelimit-output-tokens-limit"),
        remaining_output_tokens=count("anthropic-ratelimit-output-tokens-remaining"),
        retry_after_s=_retry_after(limits, clock),
    )


def exhausted_s(headers: Mapping[str, str], *, now: Callable[[], float]) -> float | None:
    """Seconds until the limit that refused a request resets, by its reset header; None: no header says it."""
    clock, waits = _clock(headers, now), []
    for name, value in headers.items():
        if not name.startswith(_PREFIXES) or "reset" not in name:
            continue
        left = headers.get(name.replace("reset", "remaining"))
        # A limit of which something is left has not refused. One without a name is the only one there is.
        used_up = name in _UNNAMED if left is None else _count(left.partition(".")[0]) == 0
        if used_up and (wait := span(value, clock)) is not None:
            waits.append(wait)
    return max(waits, default=None)


def _names(what: str, of: str) -> tuple[str, str, str]:
    return f"x-ratelimit-{what}-{of}", f"anthropic-ratelimit-{of}-{what}", f"x-ratelimit-{what}-{of}-minute"


def _clock(headers: Mapping[str, str], now: Callable[[], float]) -> Callable[[], float]:
    """The provider's own clock, if the answer has a ``Date``: nobody knows how far it is from ours."""
    try:
        instant = _instant(parsedate_to_datetime(headers["date"]))
    except (KeyError, ValueError, TypeError, IndexError):
        return now
    return lambda: instant


def _first(read: Callable[[str], T | None], headers: Mapping[str, str], names: tuple[str, ...]) -> T | None:
    for name in names:
        if name in headers:
            return read(headers[name])
    return None


def _count(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 16 else None


def span(text: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds from "1.5", "6m0s", "20ms", an epoch in seconds or milliseconds, an RFC 3339 instant or an HTTP date."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return _bounded(number if number < _EPOCH_S else (number / (1e3 if number > _EPOCH_MS else 1.0)) - now())
    parts = _SPAN.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text:
        return _bounded(sum(float(value) * _SECONDS[unit] for value, unit in parts))
    try:
        return _until(datetime.fromisoformat(text.replace("Z", "+00:00")), now)
    except ValueError:
        pass
    try:
        return _until(parsedate_to_datetime(text), now)
    except (ValueError, TypeError, IndexError):
        return None


def _retry_after(headers: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """The longest wait that the headers ask for."""
    waits = []
    if "retry-after-ms" in headers and (ms := _number(headers["retry-after-ms"])) is not None:
        waits.append(_bounded(ms / 1000))
    if "retry-after" in headers and (wait := span(headers["retry-after"], now)) is not None:
        waits.append(wait)
    return max(waits, default=None)


def _until(instant: datetime, now: Callable[[], float]) -> float:
    return _bounded(_instant(instant) - now())


def _instant(when: datetime) -> float:
    return (when if when.tzinfo is not None else when.replace(tzinfo=timezone.utc)).timestamp()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _MAX_WAIT_S)
