"""The host's view of whatever runs a job: what it is asked for, and what it tells.

Requests travel to wherever the engine runs. ``pack`` and ``unpack`` name each value that does: msgpack has no classes,
and nothing here is pickled but what workers alone open.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import msgpack

from mrengine.engine.protocol import LocalFunctions, RoundSettings, WorkerConfig
from mrengine.job.budget_config import BudgetTerms

__all__ = ["Driver", "Durable", "Ended", "Note", "OpenRequest", "PrintedLine", "RoundRequest", "Update"]


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Open a job: take its lock, open its log or make one. ``kinds`` and ``modules``: what to import meanwhile, for
    models of these kinds and for the map function.
    """

    folder: str
    job_id: str
    durability: str
    strict: bool
    workers: int
    slots: int
    kinds: Sequence[str] = ()
    modules: Sequence[str] = ()

    def pack(self) -> bytes:
        """All of it."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> OpenRequest:
        """The reverse of ``pack``."""
        return cls(**msgpack.unpackb(data))


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """Play a round over the chunks of the job that lack a result.

    ``expected_calls``: how many answers may come. ``path``: the host's ``sys.path``, for other interpreters.
    ``functions``: user code as it is, which does not travel. ``held``: keys of tasks that are not to be run now.
    """

    settings: RoundSettings
    worker: WorkerConfig
    budget: BudgetTerms
    expected_calls: int
    path: Sequence[str] | None = None
    functions: LocalFunctions | None = None
    held: Sequence[int] = ()

    def pack(self) -> bytes:
        """All that travels."""
        parts = [asdict(self.settings), asdict(self.worker), asdict(self.budget), self.expected_calls, self.path]
        parts.append(array("Q", self.held).tobytes())
        packed: bytes = msgpack.packb(parts)
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> RoundRequest:
        """The reverse of ``pack``, but for ``functions``."""
        settings, worker, budget, expected_calls, path, held = msgpack.unpackb(data, max_bin_len=len(data))
        parts = RoundSettings(**settings), WorkerConfig(**worker), BudgetTerms.of(budget), expected_calls, path
        return cls(*parts, held=tuple(array("Q", held)))


@dataclass(frozen=True, slots=True)
class Durable:
    """All records of the log below ``offset`` are on disk."""

    offset: int


@dataclass(frozen=True, slots=True)
class Note:
    """An event that is not in the log."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """A line that map_fn printed or logged."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A round has ended; ``state`` as the engine has it, "log" for a log that takes no more, "died" for a lost
    supervisor.
    """

    state: str
    facts: Mapping[str, Any]


Update = Durable | Note | PrintedLine | Ended


class Driver(Protocol):
    """Runs one job at a time for the host: ``begin`` and ``opened``, rounds, ``finish``; then perhaps the next one.

    A driver is used by one run at a time; a ``with`` block keeps it, and its warm workers, for several. One thread
    calls it, but for ``stop``.
    """

    def begin(self, request: OpenRequest) -> None:
        """Ask for the job's lock, and for its log to be opened or made. JobBusy, where that can be told at once."""

    def opened(self) -> int:
        """Wait for it; the offset below which the log is durable. Raises JobBusy, LogError."""

    def restart(self) -> None:
        """Set the log aside and begin another."""

    def append(self, kind: int, payload: bytes) -> None:
        """Append a record that the host has packed."""

    def sync(self) -> int:
        """Make what was appended durable; the offset up to which it is. SupervisorDied."""

    def play(self, request: RoundRequest) -> None:
        """Start a round."""

    def extend(self, *, last: bool) -> None:
        """Rows of the chunk table were appended to the round that is played, which was started as open: make them
        durable and give them out. ``last``: no more come, and the round can end. Nothing where it has ended already.
        """

    def receive(self, timeout_s: float) -> list[Update]:
        """What has happened, after waiting at most ``timeout_s``."""

    def stop(self, reason: str) -> None:
        """Start nothing new, end when what is in flight has. From any thread, and from signal handlers."""

    def finish(self, close: bytes) -> None:
        """Write the run's CLOSE record, where it is not empty, and free the job."""

    def kill(self) -> None:
        """End everything now."""

    def close(self) -> None:
        """End the workers; nothing is left running."""
