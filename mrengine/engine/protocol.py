"""The contract between the engine and a backend: tasks in, messages out, and nothing about what they mean.

A message is the tuple ``(worker, kind, chunk, model, payload)``. Kinds below 64 are records of the log
(:mod:`mrengine.log.format.codec`), whose payload goes into the log as it is; the others are defined here. All payloads
are bytes but that of DIED, which the backend's own half makes, so that any transport can carry what workers say.

What a round is stands in values, by whom they are for: ``RoundSettings`` for the engine, ``WorkerConfig`` for every
worker wherever it is, ``JobFiles`` for workers that see the job's folder; ``RoundSetup`` is all that a backend gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mrengine.log.format.codec import FAILURE, RESULT

if TYPE_CHECKING:
    from mrengine.budget.server import BudgetConfig
    from mrengine.log.file.call_index import CallIndex

__all__ = [
    "BROKEN",
    "BUDGET_SPENT",
    "DIED",
    "DROPPED",
    "FAILED_START",
    "LINE",
    "MODEL_DOUBT",
    "MODEL_DOWN",
    "MODEL_RESTS",
    "NEED_ENDPOINT",
    "NOTE",
    "OUTCOMES",
    "PARKED",
    "PROFILED",
    "READY",
    "RESUMED",
    "RETRY",
    "WAITING",
    "Announcer",
    "Backend",
    "Death",
    "JobFiles",
    "LocalFunctions",
    "Message",
    "RoundSettings",
    "RoundSetup",
    "Start",
    "Started",
    "WorkerConfig",
]

READY = 64  # the worker has loaded map_fn; payload: empty
FAILED_START = 65  # it cannot; payload: the cause, UTF-8
RETRY = 66  # map_fn asked for another attempt; payload: msgpack [cause, after_s | nil]
DROPPED = 67  # a task that was given back unfinished while draining
MODEL_DOWN = 68  # a model that no call can use any more; payload: cause, UTF-8
BUDGET_SPENT = 69  # the job's Budget; payload: msgpack [message, spent, limit, unit]
NOTE = 70  # an event, for the host and for reports: msgpack [name, fields]
PROFILED = 76  # durations, for the host alone: msgpack [[name, ms]…]
LINE = 71  # a line that map_fn printed or logged: msgpack [logger, level, text]
# A server that the job runs itself is asked for; payload: msgpack [model's name, context window]. It is for the
# backend, which answers by ``TaskRunner.endpoint_came``, and goes no further.
NEED_ENDPOINT = 72
WAITING = 73  # a task waits for its budget; for ``Backend.started``, it goes no further
RESUMED = 74  # it does not wait any more
BROKEN = 75  # the backend itself cannot go on; payload: the cause, UTF-8
MODEL_DOUBT = 80  # a refusal that may be about the model, or about this task alone; payload: cause, UTF-8
MODEL_RESTS = 81  # a model that does not answer just now; payload: msgpack [cause, seconds of silence]
PARKED = 82  # a task whose calls wait for a batch; its REQUEST records came before it
# Each ends a task's stay in a worker, and is the last that is said of it there.
OUTCOMES = frozenset({RESULT, FAILURE, RETRY, DROPPED, MODEL_DOWN, MODEL_DOUBT, MODEL_RESTS, BUDGET_SPENT, PARKED})
DIED = 100  # the worker process is gone; payload: a Death

Message = tuple[int, int, int, int, Any]


class Start(NamedTuple):
    """What a worker is given: ids only."""

    chunk: int
    model: int
    attempt: int


class Started(NamedTuple):
    """What a worker's board says of one slot; ``since`` is ``time.monotonic()``."""

    chunk: int
    model: int
    since: float


class Death(NamedTuple):
    """A worker that is gone: what it had started, and how it ended (negative exit code: the signal). ``garbled``: what
    it said last could not be read, and may have been outcomes.
    """

    started: Sequence[Started]
    exitcode: int | None
    cause: str
    garbled: bool = False


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """What the engine needs to know of a round; times in seconds. ``max_failed`` None: any number may fail."""

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
    only: Sequence[int] | None = None  # of the round's chunks; None: all
    profile: bool = False  # also report how long commits take
    open: bool = False  # more tasks may come, by Engine.extend()


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What any worker must know of a round. Blobs are cloudpickle, made by the host and opened by workers alone."""

    job_id: str
    round: int
    priority: str
    all_models: bool
    map_blob: bytes = field(repr=False)
    models_blob: bytes = field(repr=False)
    initializer_blob: bytes = field(repr=False)
    chunk_timeout_s: float
    backoff_s: float
    log_level: int
    answers: Sequence[str] | None = None  # [path, name of the run]: the file of answers that jobs share
    single_flight: bool = False
    result_blob: bytes = field(default=b"", repr=False)  # the type of results; empty: any
    batch: dict[str, Any] | None = None  # how batches stand, see worker.batched_call.BatchMode; None: there are none
    profile: bool = False  # what functions under @profile take goes to the host
    traceparent: str = ""  # W3C's, of the run's trace; empty: there is none


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where the texts of a round and the answers of earlier calls stand, for whoever sees the job's folder."""

    folder: str
    spool: str  # its name in the folder
    table: Sequence[Sequence[int]]  # the round's segments of the chunk table: [round, first, count, offset]
    documents: Sequence[Sequence[int]]  # [first document index, count, offset of the DOCUMENTS record]
    run_began: int  # the log's end when the round began
    check_texts: bool  # the spool was there before this run


class LocalFunctions(NamedTuple):
    """What user code comes as where it does not travel: in the host itself.

    ``ends_run``: whether an exception is not map_fn's own, though it came out of it. None, in threads that no signal
    strikes: whatever comes out of map_fn is its own, SystemExit too.
    """

    initializer: tuple[Callable[..., None] | None, Sequence[Any]]
    map_fn: Callable[[Any, Any], Any]
    ends_run: Callable[[Exception], bool] | None
    result_type: Any = None


@dataclass(frozen=True, slots=True)
class RoundSetup:
    """What a backend is given for a round; how it reaches the workers is the backend's own affair.

    ``answers`` finds stored calls in the log by their digest. ``budget()`` is what a budget starts from, as the log has
    it at that moment: it may be called again, for a budget that takes the place of another. ``record`` takes the record
    of a call at once, from any thread, where a worker shares the engine's process. ``functions``: user code as it is,
    there alone. ``path``: the host's ``sys.path``, for interpreters that are not the host's.
    """

    worker: WorkerConfig
    files: JobFiles
    answers: CallIndex
    budget: Callable[[], BudgetConfig]
    record: Callable[[Message], None]
    functions: LocalFunctions | None = None
    path: Sequence[str] | None = None


class Backend(Protocol):
    """Transport between the engine and ``workers`` workers of ``slots`` slots each.

    One thread calls it. It sends every task that it is given to its worker, once, and passes on what the worker says,
    in order. A worker's end is reported by one DIED message, after all else that it sent, and another takes its place:
    it says READY, or FAILED_START, as each does after ``set_up``. An attribute ``horizon_s`` tells of a longer way to
    the workers than that of a pipe: for so long they should have work before more can come; ``start_s``,
    of how long a worker may take to be there, before its own imports.
    """

    workers: int
    slots: int

    def set_up(self, setup: RoundSetup) -> Sequence[Message]:
        """Make workers ready for a round, and those that will replace them; whatever still runs of an earlier one is
        ended. Does not wait for them. What cannot be started is a FAILED_START or BROKEN message.
        """

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        """Give tasks to a worker; never blocks."""

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """Wait for messages; an empty list when the time is over."""

    def started(self, worker: int) -> Sequence[Started]:
        """What runs in a worker now, as far as is known; time spent waiting for the budget is not counted."""

    def resident(self, worker: int) -> int:
        """Bytes of memory that a worker holds; 0 where that is unknown."""

    def stopped(self, worker: int) -> int:
        """The signal that has stopped a worker, which would hold its tasks for ever; 0: none has."""

    def drain(self) -> None:
        """Tell all workers to start nothing, and to end what only waits: such tasks come back as DROPPED."""

    def kill(self, worker: int) -> None:
        """End a worker now; its DIED message follows, and a new one takes its place."""

    def close(self) -> None:
        """End all workers, and whatever serves them; idempotent."""


class Announcer(Protocol):
    """Where the engine reports to: the host."""

    def durable(self, offset: int) -> None:
        """All records of the log below this offset are on disk."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Something that is not in the log: an event's name and its fields."""

    def line(self, packed: bytes) -> None:
        """A line that map_fn printed or logged: msgpack [logger, level, text]."""
