"""What a provider's headers say of its limits, read into one value.

Formats: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` with resets like ``6m0s`` or ``20ms`` (OpenAI and
those who copy it); ``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`` with
RFC 3339 resets; ``retry-after`` in seconds or as an HTTP date (RFC 9110, 10.2.3); ``retry-after-ms`` (OpenAI, Azure).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TypeVar

from mrengine.records import Observed

__all__ = ["observed"]

_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_WAIT_S = 7 * 86400.0
T = TypeVar("T")


def observed(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> Observed | None:
    """Read the headers (names in lower case). ``None`` where they say nothing; what cannot be read counts as unsaid."""
    said = {name: value for name, value in headers.items() if name.startswith(_PREFIXES)}
    if not said:
        return None

    def count(*names: str) -> int | None:
        return _first(_count, said, names)

    def span(*names: str) -> float | None:
        return _first(lambda text: _span(text, now), said, names)

    return Observed(
        limit_requests=count("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"),
        remaining_requests=count("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"),
        reset_requests_s=span("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset"),
        limit_tokens=count("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit"),
        remaining_tokens=count("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"),
        reset_tokens_s=span("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"),
        limit_input_tokens=count("anthropic-ratelimit-input-tokens-limit"),
        remaining_input_tokens=count("anthropic-ratelimit-input-tokens-remaining"),
        limit_output_tokens=count("anthropic-ratelimit-output-tokens-limit"),
        remaining_output_tokens=count("anthropic-ratelimit-output-tokens-remaining"),
        retry_after_s=_retry_after(said, now),
    )


def _first(read: Callable[[str], T | None], said: Mapping[str, str], names: tuple[str, ...]) -> T | None:
    for name in names:
        if name in said:
            return read(said[name])
    return None


def _count(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _span(text: str, now: Callable[[], float]) -> float | None:
    """Seconds from "1.5", "6m0s", "20ms" or an RFC 3339 instant."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number
    parts = _SPAN.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text:
        return _bounded(sum(float(value) * _SECONDS[unit] for value, unit in parts))
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return _until(instant, now)


def _retry_after(said: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """The longer of what the headers say: never earlier than told."""
    waits = []
    if "retry-after-ms" in said and (ms := _number(said["retry-after-ms"])) is not None:
        waits.append(ms / 1000)
    if "retry-after" in said and (wait := _seconds_or_date(said["retry-after"].strip(), now)) is not None:
        waits.append(wait)
    return max(waits, default=None)


def _seconds_or_date(text: str, now: Callable[[], float]) -> float | None:
    number = _number(text)
    if number is not None:
        return number
    try:
        return _until(parsedate_to_datetime(text), now)
    except (ValueError, TypeError, IndexError):
        return None


def _until(instant: datetime, now: Callable[[], float]) -> float:
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=timezone.utc)
    return _bounded(instant.timestamp() - now())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return _bounded(value) if math.isfinite(value) else None


def _bounded(seconds: float) -> float:
    """A week at most: no header makes a job wait for ever."""
    return min(max(seconds, 0.0), _MAX_WAIT_S)
