"""The events of a run: frozen objects, and the dispatcher that passes them to callbacks.

Callbacks run in the host, in the thread that called ``run()``, one after another. An exception of a callback is logged
and stops nothing. What is not the callback's own passes: a ``BaseException`` such as KeyboardInterrupt, or whatever a
signal handler raised while the callback ran (Celery's SoftTimeLimitExceeded is a plain ``Exception``).
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, TracebackType
from typing import Any, TypeVar

from mrengine.errors import ConfigError
from mrengine.records import RunSummary, Usage

__all__ = [
    "EVENTS",
    "BatchEnded",
    "BatchProgress",
    "BatchSubmitted",
    "BudgetWait",
    "CallRetry",
    "ChunkFailed",
    "ChunkProcessed",
    "ChunkRetry",
    "Dispatcher",
    "Event",
    "JobComplete",
    "JobDraining",
    "JobEnd",
    "JobStart",
    "ReduceStart",
    "WorkerCrashed",
    "WorkerRespawned",
    "make",
]

log = logging.getLogger("mrengine")

Callback = TypeVar("Callback", bound=Callable[[Any], Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The fields of every event. ``at``: seconds since the epoch."""

    name: str = field(default="", init=False)
    job_id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStart(Event):
    """A run starts: ``total`` chunks, of which ``resumed`` were done by an earlier run. ``total_so_far``: documents are
    still being cut, and ``total`` grows.
    """

    name: str = field(default="job:start", init=False)
    total: int
    resumed: int
    total_so_far: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkProcessed(Event):
    """A result is durable. ``done`` counts results and failures, resumed ones included; ``progress`` is done / total.
    ``total_so_far``: more chunks are to come; ``total`` and ``progress`` count those so far. ``cost_usd``: of the
    chunk's calls; None: a price is unknown.
    """

    name: str = field(default="chunk:processed", init=False)
    chunk_id: int
    document_id: str
    model: str | None
    worker_id: int
    attempt: int
    duration_ms: float
    usage: Usage
    cost_usd: float | None
    done: int
    total: int
    progress: float
    total_so_far: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed(Event):
    """A failure is durable. ``kind`` and ``error`` are those of the ``ChunkFailure``; counts as in ChunkProcessed."""

    name: str = field(default="chunk:failed", init=False)
    chunk_id: int
    document_id: str
    model: str | None
    kind: str
    error: str
    attempts: int
    done: int
    total: int
    progress: float
    total_so_far: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRetry(Event):
    """A chunk will be tried again in ``wait_s``. ``attempt``: the number of the one that ended."""

    name: str = field(default="chunk:retry", init=False)
    chunk_id: int
    attempt: int
    error: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetry(Event):
    """A call to a model failed and is repeated in ``wait_s``. ``status``: the HTTP status, if there was a response."""

    name: str = field(default="call:retry", init=False)
    chunk_id: int
    model: str
    status: int | None
    attempt: int
    error: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWait(Event):
    """A call waits for the model's token bucket."""

    name: str = field(default="budget:wait", init=False)
    model: str
    wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCrashed(Event):
    """A worker died. ``exitcode`` as in ``multiprocessing``: negative for a signal; None: unknown."""

    name: str = field(default="worker:crashed", init=False)
    worker_id: int
    exitcode: int | None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRespawned(Event):
    """A new process has replaced a worker that died."""

    name: str = field(default="worker:respawned", init=False)
    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraining(Event):
    """No task is started any more; the ``in_flight`` ones are given time to finish."""

    name: str = field(default="job:draining", init=False)
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceStart(Event):
    """The reduce function starts, with ``results`` results."""

    name: str = field(default="reduce:start", init=False)
    results: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmitted(Event):
    """A batch of ``requests`` is at the provider, under its own id ``batch_id``."""

    name: str = field(default="batch:submitted", init=False)
    batch_id: str
    model: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(Event):
    """A batch was polled. ``state``: the provider's word; ``done`` and ``failed``: requests, by its count."""

    name: str = field(default="batch:progress", init=False)
    batch_id: str
    model: str
    state: str
    requests: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnded(Event):
    """A batch is over, and its results are in the log: ``answered`` requests, and ``refused`` ones."""

    name: str = field(default="batch:ended", init=False)
    batch_id: str
    model: str
    state: str
    requests: int
    answered: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobComplete(Event):
    """The run ended with a result."""

    name: str = field(default="job:complete", init=False)
    summary: RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd(Event):
    """The run is over, however it ended: the last event of every run, exactly once.

    ``state``: "done", "failed" (JobFailed, PoolBroken, or ``reduce_fn`` raised), "timeout", "budget", "cancelled",
    "waiting" (for batches), "stopped" (``stop()``, Ctrl-C, a stream that was left, a supervisor that died), or
    "refused": it never began.
    """

    name: str = field(default="job:end", init=False)
    state: str
    summary: RunSummary


EVENTS: Mapping[str, type[Event]] = {
    str(kind.__dataclass_fields__["name"].default): kind
    for kind in (
        JobStart,
        ChunkProcessed,
        ChunkFailed,
        ChunkRetry,
        CallRetry,
        BudgetWait,
        WorkerCrashed,
        WorkerRespawned,
        JobDraining,
        ReduceStart,
        BatchSubmitted,
        BatchProgress,
        BatchEnded,
        JobComplete,
        JobEnd,
    )
}


def make(name: str, *, job_id: str, at: float, **fields: Any) -> Event:
    """Create an event by name; ``fields`` are those of its class."""
    return EVENTS[name](job_id=job_id, at=at, **fields)


class Dispatcher:
    """The registered callbacks, by event name."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[Any], Any]]] = {}
        self._blamed: set[tuple[Callable[[Any], Any], str]] = set()  # callbacks whose failure was logged, by event
        self._handlers = _handler_codes()

    def on(self, name: str, callback: Callback) -> Callback:
        """Call ``callback(event)`` for every event of this name, or for all events ("*"). Returns the callback.

        Raises ConfigError for a name that no event has.
        """
        if name != "*" and name not in EVENTS:
            raise ConfigError(f"there is no event {name!r}; there are: {', '.join(EVENTS)}, *", setting="event")
        if not callable(callback):  # now, and not at the first event
            raise ConfigError(f"on({name!r}, …): a {type(callback).__name__} cannot be called", setting="event")
        self._callbacks.setdefault(name, []).append(callback)
        return callback

    def off(self, name: str, callback: Callable[[Any], Any]) -> None:
        """Stop calling ``callback``; ignored if it is not registered."""
        listeners = self._callbacks.get(name, [])
        if callback in listeners:
            listeners.remove(callback)

    def wants(self, name: str) -> bool:
        """Whether there is a callback for this event: others need not be created."""
        return bool(self._callbacks.get(name) or self._callbacks.get("*"))

    def emit(self, event: Event) -> None:
        """Call the callbacks of an event."""
        # A copy of both lists: a callback may register or remove others.
        for callback in (*self._callbacks.get(event.name, ()), *self._callbacks.get("*", ())):
            try:
                callback(event)
            except Exception as error:
                if self.ends_run(error):
                    raise
                self._blame(callback, event, error)

    def ends_run(self, error: Exception) -> bool:
        """Whether an exception from user code must end the run: a debugger was quit, or a signal handler raised."""
        bdb = sys.modules.get("bdb")  # not imported: who debugs has it
        if bdb is not None and isinstance(error, bdb.BdbQuit):
            return True
        # Python runs a handler on top of the code that it interrupts, so that its frame is in the traceback. The
        # handlers at this object's creation count, too: one may restore another before it raises.
        codes = self._handlers | _handler_codes()
        return any(code in codes for code in _codes(error.__traceback__))

    def _blame(self, callback: Callable[[Any], Any], event: Event, error: Exception) -> None:
        """Log where an exception was raised, but not its message, which may contain text of a document."""
        # At error level once for each callback and event: it may fail for every chunk of a million.
        again = (callback, event.name) in self._blamed
        self._blamed.add((callback, event.name))
        where = error.__traceback__  # to its last frame, where it was raised
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "?"
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        log.log(
            logging.DEBUG if again else logging.ERROR,
            "the callback %s raised %s at %s (event %s); the job goes on",
            *(name, type(error).__qualname__, place, event.name),
        )


def _codes(traceback: TracebackType | None) -> list[CodeType]:
    codes = []
    while traceback is not None:
        codes.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    return codes


def _handler_codes() -> frozenset[CodeType]:
    """The code of all Python signal handlers of this process."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return frozenset(code for code in map(_code_of, handlers) if code is not None)


def _code_of(handler: Any) -> CodeType | None:
    """The code of a function, method, partial or callable object; None: SIG_DFL, SIG_IGN or a handler in C."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler) or isinstance(handler, signal.Handlers):
        return None
    code = getattr(handler, "__code__", None)  # a method passes on that of its function
    if code is None:
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
