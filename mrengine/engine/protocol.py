"""What a backend is to the engine: tasks in, messages out, and nothing about what they mean.

A message is the tuple ``(worker, kind, chunk, model, payload)``. Kinds below 64 are records of the log
(:mod:`mrengine.log.format.codec`), whose payload goes into the log as it is; the others are defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

__all__ = [
    "AT_WORK",
    "BUDGET_SPENT",
    "DIED",
    "DROPPED",
    "FAILED_START",
    "IN_LINE",
    "LINE",
    "MODEL_DOWN",
    "NEED_ENDPOINT",
    "NOTE",
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
    """A worker that is gone: what it had started, and how it ended (negative exit code: the signal)."""

    started: Sequence[Started]
    exitcode: int | None
    cause: str


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

    def stopped(self, worker: int) -> bool:
        """Whether a worker was stopped by a signal: it would hold its tasks for ever."""

    def drain(self) -> None:
        """Tell all workers to start nothing, and to end what only waits."""

    def kill(self, worker: int) -> None:
        """End a worker's process now; its DIED message follows, and a new one takes its place."""
