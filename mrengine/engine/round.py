"""Owns what the engine is told of a round, and whom it tells its news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Announcer", "RoundSettings"]


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """What the engine is told of a round; times in seconds. ``max_failed`` None: any number may fail."""

    round: int
    models: Sequence[str | None]
    all_models: bool = False
    balance: str = "round_robin"
    steal: bool = False
    max_attempts: int = 3
    max_failed: int | None = None
    chunk_timeout_s: float = 600.0
    drain_s: float = 10.0
    backoff_s: float = 1.0
    max_worker_rss: int | None = None  # bytes
    weights: Sequence[float] = ()  # of the models, for balance="budget"


class Announcer(Protocol):
    """Where the engine's news go: the host."""

    def durable(self, offset: int) -> None:
        """All records of the log below this offset are on disk."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Something that is not in the log: an event's name and its fields."""

    def line(self, packed: bytes) -> None:
        """A line that map_fn printed or logged: msgpack [logger, level, text]."""
