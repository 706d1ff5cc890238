"""Owns what the provider's headers say of its buckets, and how far that holds by now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mrengine.budget.bucket import Bucket
from mrengine.records import Observed

__all__ = ["MARGIN_S", "TRAVEL_S", "HeaderReading", "ServerBucket", "pairs"]

# Calls granted this shortly before an answer may not have reached the provider when it wrote that answer.
TRAVEL_S = 0.25
# Of the rate, left in a level that the provider told: one call may travel faster than the one that brought the news.
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
    """A header: ``limit`` a minute, the ``rate`` that follows, what remains, and when that was heard."""

    limit: float
    rate: float
    remaining: float
    now: float


@dataclass(slots=True)
class ServerBucket:
    """The provider's bucket as call ``number`` saw it, carried on from there with what was granted since.

    It is replaced by the news of each later call, so that no mistake in one of them stays.
    """

    bucket: Bucket
    number: int

    @classmethod
    def of(cls, news: HeaderReading, since_s: float, later: float, travelling: float, number: int) -> ServerBucket:
        """The level now, when the answer to a call granted ``since_s`` ago brings ``news``.

        Some providers tell the level at which the call was admitted: since then it has refilled, and what was granted
        ``later`` was taken. Others tell the level of the moment in which they answer, and have seen all but the calls
        that are still ``travelling``. Nobody says which, so the lower of the two is taken.
        """
        change = min(news.rate * since_s - later, -travelling)
        level = news.remaining + change - MARGIN_S * news.rate
        return cls(Bucket(news.limit, news.rate, news.now, level), number)

    def dump(self) -> list[Any]:
        """The state, as plain lists and numbers."""
        return [self.bucket.dump(), self.number]

    @classmethod
    def load(cls, state: list[Any]) -> ServerBucket:
        """What ``dump`` described."""
        return cls(Bucket.load(state[0]), state[1])
