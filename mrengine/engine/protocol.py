"""What a backend is to the engine: tasks in, messages out, and nothing about what they mean.

A message is the tuple ``(worker, kind, chunk, model, payload)``. Kinds below 64 are records of the log
(:mod:`mrengine.log.format.codec`), whose payload goes into the log as it is; the others are defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from mrengine.log.format.codec import FAILURE, RESULT

__all__ = [
    "AT_WORK",
    "BUDGET_SPENT",
    "DIED",
    "DROPPED",
    "FAILED_START",
    "IN_LINE",
    "LINE",
    "MODEL_DOUBT",
    "MODEL_DOWN",
    "MODEL_RESTS",
    "NEED_ENDPOINT",
    "NOTE",
    "OUTCOMES",
    "PARKED",
    "READY",
    "RETRY",
    "Backend",
    "Death",
    "Message",
    "Start",
    "Started",
]

READY = 64  # the worker has loaded map_fn; payload: empty
FAILED_START = 65  # it cannot; payload: the cause, UTF-8
RETRY = 66  # map_fn asked for another attempt; payload: msgpack [cause, after_s | nil]
DROPPED = 67  # a task that was given back unfinished while draining
MODEL_DOWN = 68  # a model that no call can use any more; payload: cause, UTF-8
BUDGET_SPENT = 69  # the job's Budget; payload: msgpack [message, spent, limit, unit]
NOTE = 70  # for the host alone: msgpack [name, fields]
LINE = 71  # a line that map_fn printed or logged: msgpack [logger, level, text]
NEED_ENDPOINT = 72  # a server that the job runs itself is asked for; payload: msgpack [model's name, context window]
IN_LINE = 73  # a task waits for its budget; for the board, it goes no further
AT_WORK = 74  # it does not wait any more
PARKED = 82  # a task whose calls wait for a batch; its REQUEST records came before it
OUTCOMES = frozenset(
    {RESULT, FAILURE, RETRY, DROPPED, MODEL_DOWN, BUDGET_SPENT, PARKED}
)  # each ends a task's stay in a worker
MODEL_DOUBT = 80  # a refusal that may be about the model, or about this task alone; payload: cause, UTF-8
MODEL_RESTS = (
    81  # a model that does not answer just now; its task holds no slot meanwhile; payload: [cause, seconds of silence]
)
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


class Backend(Protocol):
    """Transport between the engine and ``workers`` workers of ``slots`` slots each."""

    workers: int
    slots: int

    def send(self, worker: int, tasks: Sequence[Start]) -> None:
        """Give tasks to a worker; never blocks."""

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """Wait for messages; an empty list when the time is over."""

    def started(self, worker: int) -> Sequence[Started]:
        """What runs in a worker now."""

    def resident(self, worker: int) -> int:
        """Bytes of memory that a worker holds; 0 where that cannot be told."""

    def stopped(self, worker: int) -> int:
        """The signal that has stopped a worker, which would hold its tasks for ever; 0: none has."""

    def drain(self) -> None:
        """Tell all workers to start nothing, and to end what only waits."""

    def kill(self, worker: int) -> None:
        """End a worker's process now; its DIED message follows, and a new one takes its place."""
