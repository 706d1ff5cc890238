"""Owns the events of a run: frozen objects, and the dict of lists that hands them to callbacks.

Callbacks run in the host, in the thread that called ``run()``, one after another. A callback that raises is logged and
stops nothing. What is not the callback's own passes through: a ``BaseException`` such as KeyboardInterrupt, and
whatever a signal handler raised while the callback ran (Celery's SoftTimeLimitExceeded is a plain ``Exception``).
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
    """What every event has. ``at``: seconds since the epoch."""

    name: str = field(default="", init=False)
    job_id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStart(Event):
    """``total`` chunks, of which ``resumed`` were done by an earlier run."""

    name: str = field(default="job:start", init=False)
    total: int
    resumed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkProcessed(Event):
    """A result is durable. ``done`` counts results and failures, resumed ones too; ``progress`` is done / total.
    ``cost_usd`` is that of the chunk's calls, None where a price is unknown.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRetry(Event):
    """A chunk is tried again, ``wait_s`` from now; ``attempt`` is the one that ended."""

    name: str = field(default="chunk:retry", init=False)
    chunk_id: int
    attempt: int
    error: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetry(Event):
    """A call to a model failed and is made again, ``wait_s`` from now. ``status``: HTTP, where there was an answer."""

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
    """A worker died. ``exitcode`` as ``multiprocessing`` gives it: negative for a signal, None if nobody knows."""

    name: str = field(default="worker:crashed", init=False)
    worker_id: int
    exitcode: int | None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRespawned(Event):
    """Another process took the place of a worker that died."""

    name: str = field(default="worker:respawned", init=False)
    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraining(Event):
    """Nothing new is started; ``in_flight`` tasks are given time to end."""

    name: str = field(default="job:draining", init=False)
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceStart(Event):
    """``results`` successes go to the reduce function."""

    name: str = field(default="reduce:start", init=False)
    results: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobComplete(Event):
    """The run ended with its answer."""

    name: str = field(default="job:complete", init=False)
    summary: RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd(Event):
    """The run is over, one way or another: the last event of every run, once.

    ``state``: "done", "failed" (JobFailed, PoolBroken, or ``reduce_fn`` raised), "timeout", "budget", "cancelled",
    "stopped" (``stop()``, Ctrl-C, a stream that was left, a supervisor that died), or "refused": it never began.
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
        JobComplete,
        JobEnd,
    )
}


def make(name: str, *, job_id: str, at: float, **fields: Any) -> Event:
    """The event of this name; ``fields`` are the class's own."""
    return EVENTS[name](job_id=job_id, at=at, **fields)


class Dispatcher:
    """Who listens to what."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[Any], Any]]] = {}
        self._blamed: set[tuple[Callable[[Any], Any], str]] = set()
        self._handlers = _handler_codes()

    def on(self, name: str, callback: Callback) -> Callback:
        """Call ``callback(event)`` at each event of this name, or at all of them ("*"). Returns the callback.

        Raises ConfigError for a name that no event has.
        """
        if name != "*" and name not in EVENTS:
            raise ConfigError(f"there is no event {name!r}; there are: {', '.join(EVENTS)}, *", setting="event")
        if not callable(callback):
            raise ConfigError(f"on({name!r}, …): a {type(callback).__name__} cannot be called", setting="event")
        self._callbacks.setdefault(name, []).append(callback)
        return callback

    def off(self, name: str, callback: Callable[[Any], Any]) -> None:
        """Stop calling it. One that was not registered is ignored."""
        listeners = self._callbacks.get(name, [])
        if callback in listeners:
            listeners.remove(callback)

    def wants(self, name: str) -> bool:
        """Whether anybody listens: an event that nobody wants need not be made."""
        return bool(self._callbacks.get(name) or self._callbacks.get("*"))

    def emit(self, event: Event) -> None:
        """Call everybody who listens; a callback may add or remove callbacks meanwhile."""
        for callback in (*self._callbacks.get(event.name, ()), *self._callbacks.get("*", ())):
            try:
                callback(event)
            except Exception as error:
                if self.ends_run(error):
                    raise
                self._blame(callback, event, error)

    def ends_run(self, error: Exception) -> bool:
        """Whether it came out of user code and is not that code's own: a debugger was left, or a signal handler raised.

        Python runs a handler on top of whatever it interrupted, so the handler's frame is in the traceback. The
        handlers are those of now, and those of when this object was made: one may restore the old before it raises.
        """
        bdb = sys.modules.get("bdb")
        if bdb is not None and isinstance(error, bdb.BdbQuit):
            return True
        codes = self._handlers | _handler_codes()
        return any(code in codes for code in _codes(error.__traceback__))

    def _blame(self, callback: Callable[[Any], Any], event: Event, error: Exception) -> None:
        """Log where it was raised, once for a callback and event: the message may hold the text of a document."""
        again = (callback, event.name) in self._blamed
        self._blamed.add((callback, event.name))
        where = error.__traceback__
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
    found = []
    while traceback is not None:
        found.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    return found


def _handler_codes() -> frozenset[CodeType]:
    """The code of all Python signal handlers of this process."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return frozenset(code for code in map(_code_of, handlers) if code is not None)


def _code_of(handler: Any) -> CodeType | None:
    """Code of a function, method, partial or callable object; None for SIG_DFL, SIG_IGN and what is not Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler) or isinstance(handler, signal.Handlers):
        return None
    code = getattr(handler, "__code__", None)  # methods hand on their function's
    if code is None:
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
