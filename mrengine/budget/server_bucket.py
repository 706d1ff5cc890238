"""The provider's own buckets, as its response headers describe them, brought up to date with our later calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mrengine.budget.bucket import Bucket
from mrengine.records import Observed

__all__ = ["MARGIN_S", "TRAVEL_S", "HeaderReading", "ServerBucket", "pairs"]

# Calls granted this shortly before an answer may not have reached the provider when it wrote that answer.
TRAVEL_S = 0.25
# Safety margin on a level from a header, in seconds of the rate: a call may overtake the one that brought the reading.
MARGIN_S = 0.2


def pairs(observed: Observed) -> tuple[tuple[int | None, int | None], ...]:
    """(limit a minute, remaining) for tokens, input tokens, output tokens and requests."""
    return (
        (observed.limit_tokens, observed.remaining_tokens),
        (observed.limit_input_tokens, observed.remaining_input_tokens),
        (observed.limit_output_tokens, observed.remaining_output_tokens),
        (observed.limit_requests, observed.remaining_requests),
    )


class HeaderReading(NamedTuple):
    """One reading of a header: the ``limit`` a minute, its ``rate`` a second, what remains, and when it arrived."""

    limit: float
    rate: float
    remaining: float
    now: float


@dataclass(slots=True)
class ServerBucket:
    """The provider's bucket as call ``number`` saw it, less what has been granted since.

    Each later reading replaces it, so no error accumulates.
    """

    bucket: Bucket
    number: int

    @classmethod
    def of(cls, reading: HeaderReading, since_s: float, later: float, travelling: float, number: int) -> ServerBucket:
        """The level now, from a ``reading`` in the answer to a call granted ``since_s`` ago; ``later``: granted since
        then; ``travelling``: so recently that the provider had not received it.
        """
        # Some providers report the level at which the call was admitted: since then the bucket has refilled, and what
        # was granted later has been taken. Others report the level when they answer, which includes all calls but those
        # still travelling. Headers do not say which, so the lower of the two counts.
        change = min(reading.rate * since_s - later, -travelling)
        level = reading.remaining + change - MARGIN_S * reading.rate
        return cls(Bucket(reading.limit, reading.rate, reading.now, level), number)

    def dump(self) -> list[Any]:
        """The state, as plain lists and numbers."""
        return [self.bucket.dump(), self.number]

    @classmethod
    def load(cls, state: list[Any]) -> ServerBucket:
        """What ``dump`` described."""
        return cls(Bucket.load(state[0]), state[1])
