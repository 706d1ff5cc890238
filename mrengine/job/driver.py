"""What runs a job, as the host sees it: the requests that it takes, and the updates that it returns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import msgpack

from mrengine.engine.protocol import LocalFunctions, RoundSettings, WorkerConfig
from mrengine.job.budget_config import BudgetTerms
from mrengine.log.file.wal import Durability

__all__ = ["Driver", "Durable", "Ended", "Note", "OpenRequest", "PrintedLine", "RoundRequest", "Update"]


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Open a job: take its lock, and open or create its log.

    ``kinds`` (of models) and ``modules`` (of the map function): what a new pool imports meanwhile.
    """

    folder: str
    job_id: str
    durability: Durability
    strict: bool
    workers: int
    slots: int
    kinds: Sequence[str] = ()
    modules: Sequence[str] = ()

    def pack(self) -> bytes:
        """The request as bytes, for an engine in another process."""
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
    ``functions``: user code for workers in the host's own process. ``held``: keys of tasks not to be run now.
    """

    settings: RoundSettings
    worker: WorkerConfig
    budget: BudgetTerms
    expected_calls: int
    path: Sequence[str] | None = None
    functions: LocalFunctions | None = None
    held: Sequence[int] = ()

    def pack(self) -> bytes:
        """The request as bytes, without ``functions``."""
        # No pickle: the process of the engine runs no user code. It hands the pickled blobs on to workers unopened.
        parts = [asdict(self.settings), asdict(self.worker), asdict(self.budget), self.expected_calls, self.path]
        parts.append(array("Q", self.held).tobytes())
        packed: bytes = msgpack.packb(parts)
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> RoundRequest:
        """The reverse of ``pack``; ``functions`` is None."""
        settings, worker, budget, expected_calls, path, held = msgpack.unpackb(data, max_bin_len=len(data))
        parts = RoundSettings(**settings), WorkerConfig(**worker), BudgetTerms.of(budget), expected_calls, path
        return cls(*parts, held=tuple(array("Q", held)))


@dataclass(frozen=True, slots=True)
class Durable:
    """Every record of the log below ``offset`` is on disk, and may be announced."""

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
    """A round has ended. ``state``: the engine's; "log": the log takes no more; "died": the supervisor is lost."""

    state: str
    facts: Mapping[str, Any]


Update = Durable | Note | PrintedLine | Ended


class Driver(Protocol):
    """Runs one job at a time for the host: ``begin``, ``opened``, rounds, ``finish``; then perhaps the next job.

    One run at a time uses it; a ``with`` block keeps it and its warm workers for several. All methods but ``stop`` are
    called from one thread.
    """

    def begin(self, request: OpenRequest) -> None:
        """Ask for the job's lock, and for its log to be opened or created. JobBusy, if that is known at once."""

    def opened(self) -> int:
        """Wait until the job is open; return the offset below which its log is durable. JobBusy, LogError."""

    def restart(self) -> None:
        """Set the log aside and begin another."""

    def append(self, kind: int, payload: bytes) -> None:
        """Append a record that the host has packed."""

    def sync(self) -> int:
        """Make what was appended durable; return the offset up to which it is. SupervisorDied."""

    def play(self, request: RoundRequest) -> None:
        """Start a round."""

    def extend(self, *, last: bool) -> None:
        """Make the rows that were appended to the chunk table of the open round durable, and give out their tasks.

        ``last``: no more rows come, and the round can end. Does nothing if it has ended already.
        """

    def receive(self, timeout_s: float) -> list[Update]:
        """The updates so far; waits at most ``timeout_s`` for the first."""

    def stop(self, reason: str) -> None:
        """Start nothing new, and end when what is in flight has. From any thread, and from signal handlers."""

    def finish(self, close: bytes) -> None:
        """Write the run's CLOSE record, unless it is empty, and free the job."""

    def kill(self) -> None:
        """End everything now."""

    def close(self) -> None:
        """End the workers; nothing is left running."""
