"""The contract between the engine and a backend: tasks in, messages out, and nothing about what they mean.

A message is the tuple ``(worker, kind, chunk, model, payload)``. Kinds below 64 are records of the log
(:mod:`mrengine.log.format.codec`), whose payload goes into the log as it is; the others are defined here. All payloads
are bytes, so that any transport can carry them; only DIED, which no worker sends, has a Death.

A round is described by one value for each reader: ``RoundSettings`` for the engine, ``WorkerConfig`` for every worker,
``JobFiles`` for workers that see the job's folder. A backend gets a ``RoundSetup``, with the last two in it.
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
    "Emit",
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
FAILED_START = 65  # a worker cannot load map_fn; payload: the cause, UTF-8
RETRY = 66  # map_fn asked for another attempt; payload: msgpack [cause, after_s | nil]
DROPPED = 67  # a task is given back unfinished while the round drains
MODEL_DOWN = 68  # no call can use the task's model any more; payload: cause, UTF-8
BUDGET_SPENT = 69  # the job's Budget is used up; payload: msgpack [message, spent, limit, unit]
NOTE = 70  # an event, for the host and for reports: msgpack [name, fields]
PROFILED = 76  # durations, for the host alone: msgpack [[name, ms]…]
LINE = 71  # a line that map_fn printed or logged: msgpack [logger, level, text]
# A worker needs a server that the job runs itself; payload: msgpack [model's name, context window]. The backend answers
# by ``TaskRunner.endpoint_came``, and does not pass the message on.
NEED_ENDPOINT = 72
WAITING = 73  # a task waits for its budget; for ``Backend.started``, and not passed on
RESUMED = 74  # the wait of such a task is over
BROKEN = 75  # the backend itself cannot go on; payload: the cause, UTF-8
MODEL_DOUBT = 80  # a refusal that may be about the model, or about this task alone; payload: cause, UTF-8
MODEL_RESTS = 81  # the task's model does not answer just now; payload: msgpack [cause, seconds of silence]
PARKED = 82  # a task's calls wait for a batch; its REQUEST records came before
# A task's last message in a worker is one of these.
OUTCOMES = frozenset({RESULT, FAILURE, RETRY, DROPPED, MODEL_DOWN, MODEL_DOUBT, MODEL_RESTS, BUDGET_SPENT, PARKED})
DIED = 100  # the worker process is gone; payload: a Death

Message = tuple[int, int, int, int, Any]  # worker, kind, chunk, model, payload; -1 where one does not apply
Emit = Callable[[int, int, int, bytes], None]  # a worker's way to send a message: kind, chunk, model, payload


class Start(NamedTuple):
    """A task as it is given to a worker: ids only."""

    chunk: int
    model: int
    attempt: int


class Started(NamedTuple):
    """A task that runs in a slot, by the worker's scoreboard; ``since`` is ``time.monotonic()``."""

    chunk: int
    model: int
    since: float


class Death(NamedTuple):
    """The end of a worker: what it had started, and its exit code (negative: a signal). ``garbled``: its last messages
    could not be read, and may have been outcomes.
    """

    started: Sequence[Started]
    exitcode: int | None
    cause: str
    garbled: bool = False


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """The engine's part of a round's settings; times in seconds. ``max_failed`` None: any number may fail."""

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

    @property
    def per_chunk(self) -> int:
        """How many tasks each chunk has: one for each model, or one in all."""
        return len(self.models) if self.all_models else 1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The part of a round that every worker needs. The host makes the blobs by cloudpickle; only workers load them."""

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
    profile: bool = False  # send the durations of functions under @profile to the host
    traceparent: str = ""  # the W3C traceparent of the run's trace; empty: there is none


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The places of a round's texts and of earlier answers, for workers that see the job's folder."""

    folder: str
    spool: str  # its name in the folder
    table: Sequence[Sequence[int]]  # the round's segments of the chunk table: [round, first, count, offset]
    documents: Sequence[Sequence[int]]  # [first document index, count, offset of the DOCUMENTS record]
    run_began: int  # the log's end when the round began
    check_texts: bool  # the spool was there before this run


class LocalFunctions(NamedTuple):
    """User code where it runs in the host itself, and need not be pickled.

    ``ends_run`` is for a backend that calls map_fn in the host's own thread, and says whether an exception that came
    out of it ends the run. In any other thread no signal handler runs, and every exception is map_fn's own.
    """

    initializer: tuple[Callable[..., None] | None, Sequence[Any]]
    map_fn: Callable[[Any, Any], Any]
    ends_run: Callable[[Exception], bool]
    result_type: Any = None


@dataclass(frozen=True, slots=True)
class RoundSetup:
    """All that a backend is given for a round; it decides how its workers get their part.

    ``answers`` finds stored calls in the log by their digest. ``budget()`` reads in the log what a budget starts from,
    and may be called again for a budget that replaces another. Where workers share the engine's process, ``record``
    takes the record of a call at once, from any thread, and ``functions`` is user code as it is. ``path``: the host's
    ``sys.path``, for other interpreters than the host's.
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

    One thread calls it. It sends each task to its worker once, and passes the worker's messages on in order. A worker's
    end is one DIED message, after all its others, and a new worker takes its place. Each worker sends READY or
    FAILED_START after ``set_up``, and a new one when it has started.

    Two attributes are optional. ``horizon_s``: how much work, in seconds, a worker should hold, where its messages
    travel for longer than through a pipe. ``start_s``: how long a worker may take to start, without its own imports.
    """

    workers: int
    slots: int

    def set_up(self, setup: RoundSetup) -> Sequence[Message]:
        """Make the workers ready for a round, and end what still runs of an earlier one. Does not wait for them.

        Workers that replace others later get the same setup. If one cannot be started, FAILED_START or BROKEN is
        returned.
        """

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        """Give tasks to a worker; never blocks."""

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """Wait for messages; an empty list when the time is over."""

    def started(self, worker: int) -> Sequence[Started]:
        """The tasks that run in a worker, by the latest report; ``since`` leaves out waits for the budget."""

    def resident(self, worker: int) -> int:
        """The resident memory of a worker in bytes; 0: unknown."""

    def stopped(self, worker: int) -> int:
        """The signal that has stopped a worker; 0: none has. A stopped worker would hold its tasks for ever."""

    def drain(self) -> None:
        """Make all workers start nothing more, and give back tasks that only wait, as DROPPED."""

    def kill(self, worker: int) -> None:
        """End a worker now; its DIED message follows, and a new one takes its place."""

    def close(self) -> None:
        """End all workers and the processes that serve them; idempotent."""


class Announcer(Protocol):
    """Takes the engine's reports to the host."""

    def durable(self, offset: int) -> None:
        """Report that all records of the log below this offset are on disk."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Report an event that the host cannot read in the log."""

    def line(self, packed: bytes) -> None:
        """Report a line that map_fn printed or logged: msgpack [logger, level, text]."""
