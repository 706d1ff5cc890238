"""Decides which workers must be replaced, and what a worker's death means for the tasks it held.

A worker's scoreboard says what it runs, ``Worker.flight`` what it was given. Each way in which the two may differ has a
clock of its own, because each is harmless for a moment: messages are on their way. Only the engine writes ``flight``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import AttemptCounter, CrashBisection
from mrengine.engine.group_commit import GroupCommit
from mrengine.engine.protocol import RoundSettings
from mrengine.engine.queues import PrefetchWindow

__all__ = [
    "HANG_GRACE_S",
    "SETTLED_S",
    "UNCLAIMED_S",
    "Aftermath",
    "Worker",
    "WorkerHealth",
    "WorkerMonitor",
    "aftermath",
    "rest_s",
]

REST_S = 2e-3  # a tenth of the work in a worker's window
REST_BYTES = 1 << 18  # with more results in a commit there is no rest: workers would wait for a full pipe
HANG_GRACE_S = 2.0  # how long a task has after its deadline to notice that by itself
SETTLED_S = 5.0  # how long a task with an outcome has to leave its slot
UNCLAIMED_S = 10.0  # how long a worker that runs nothing has to take what it was given
UNSEEN_S = 5.0  # after a longer pause of the supervisor itself the clocks begin anew


@dataclass(slots=True)
class Worker:
    """The engine's view of one worker, read by the monitor; ``flight`` maps a task's key to the model it was given."""

    flight: dict[int, int]
    cells: CrashBisection
    prefetch: PrefetchWindow
    began: float  # when it was last started
    ready: bool = False
    in_cell: bool = False
    died: bool = False

    @property
    def has_plenty(self) -> bool:
        """Whether the worker has tasks for a while."""
        return self.prefetch.is_deep and 2 * len(self.flight) >= self.prefetch.window


def rest_s(workers: Sequence[Worker], log: GroupCommit) -> float:
    """How long the supervisor may sleep; 0 where calls are made, tasks fail or a worker has little to do."""
    # Tasks of 20 µs would wake the supervisor for every few of them, and its commits the host: that costs more than the
    # tasks. In the other cases a message would wait for the end of the sleep.
    at_work = [worker for worker in workers if worker.flight]
    light = log.result_bytes is not None and log.result_bytes < REST_BYTES
    return REST_S if light and at_work and all(worker.has_plenty for worker in at_work) else 0.0


@dataclass(slots=True)
class WorkerHealth:
    """The monitor's view of one worker process."""

    retire_at: float | None = None  # set: takes nothing new, and is replaced when idle or at this time
    reason: str = ""  # why it is replaced
    overdue: frozenset[int] = frozenset()
    stopped: int = 0  # by which signal, when it was last looked at
    halted: bool = False  # it is replaced because it was stopped
    killed: bool = False  # the monitor has decided its end
    settled: dict[int, float] = field(default_factory=dict)  # keys that have an outcome and still run: since when
    unclaimed: dict[int, float] = field(default_factory=dict)  # keys that were given and do not run: since when
    lost: frozenset[int] = frozenset()  # unclaimed keys that it will not begin any more

    def explains(self, exitcode: int | None) -> bool:
        """Whether the monitor's kill explains this exit code. A worker that crashed before it died by itself."""
        return self.killed and exitcode in (None, -signal.SIGKILL)


class WorkerMonitor:
    """Looks at the workers twice a second. ``key(chunk, model)``: a task's key in ``flight``."""

    def __init__(self, backend: m.Backend, settings: RoundSettings, key: Callable[[int, int], int]) -> None:
        self._backend, self._settings, self._key = backend, settings, key
        self._health = [WorkerHealth() for _ in range(backend.workers)]
        self._looked = [float("-inf")] * backend.workers
        self._start_s = HANG_GRACE_S + getattr(backend, "start_s", 0.0)

    def starts_too_long(self, worker: Worker, now: float) -> bool:
        """Whether a worker's initializer and imports have taken longer than a task may."""
        return not worker.ready and worker.began < now - self._settings.chunk_timeout_s - self._start_s

    def retires(self, index: int) -> bool:
        """Whether a worker takes nothing new."""
        return self._health[index].retire_at is not None

    def running(self, model: int, key: int) -> bool:
        """Whether other tasks of a model are being run."""
        started = (s for index in range(self._backend.workers) for s in self._backend.started(index))
        return any(s.model == model and self._key(s.chunk, s.model) != key for s in started)

    def must_go(self, index: int, worker: Worker, now: float) -> bool:
        """Whether a worker is to be killed now. Marks one that is to be replaced later."""
        health, overdue = self._health[index], self._overdue(index, worker, now)
        self._compare(index, worker, now)
        if health.retire_at is None:
            self._judge(health, index, worker, now, overdue)
        health.stopped, before = self._backend.stopped(index), health.stopped
        if health.stopped and before:  # twice: whoever stopped the whole tree lets it go on one by one
            name = signal.Signals(health.stopped).name
            health.retire_at, health.reason, health.halted = now, f"it was stopped by {name}", True
        if health.retire_at is None:
            return False
        health.overdue |= overdue
        nothing_can_end = worker.flight.keys() <= health.overdue or len(overdue) >= self._backend.slots
        if now >= health.retire_at or nothing_can_end:
            health.killed = True
        return health.killed

    def _judge(self, health: WorkerHealth, index: int, worker: Worker, now: float, overdue: frozenset[int]) -> None:
        health.lost = self._lost(health, index, now)
        if overdue:
            # Not at once: other slots of this worker may be in calls that are paid for, and have drain_s to end.
            health.retire_at, health.reason = now + self._settings.drain_s, "a task ran too long in it"
        elif any(since + SETTLED_S <= now for since in health.settled.values()):
            at_work = worker.flight.keys() & self._running(index)
            health.retire_at = now + self._settings.drain_s if at_work else now
            health.reason = "a task that had its outcome did not end in it"
        elif health.lost:
            health.retire_at, health.reason = now, "it did not begin a task that it was given"
        elif worker.ready and self._too_large(index):
            # What it began last has its time before that, and counts as a hang if it hangs.
            health.retire_at = now + self._settings.chunk_timeout_s + 2 * HANG_GRACE_S
            health.reason = "it held more than max_worker_rss"

    def _compare(self, index: int, worker: Worker, now: float) -> None:
        """Note how long a worker's scoreboard and its flight have differed."""
        health = self._health[index]
        # A supervisor that was itself suspended saw no change because it did not look: that proves nothing.
        if now - self._looked[index] > UNSEEN_S:
            health.settled, health.unclaimed = {}, {}
        self._looked[index] = now
        running = self._running(index)
        idle = worker.ready and len(self._backend.started(index)) < self._backend.slots
        health.settled = {key: health.settled.get(key, now) for key in running - worker.flight.keys()}
        unclaimed = worker.flight.keys() - running if idle else ()
        health.unclaimed = {key: health.unclaimed.get(key, now) for key in unclaimed}

    def _running(self, index: int) -> set[int]:
        return {self._key(s.chunk, s.model) for s in self._backend.started(index)}

    def _lost(self, health: WorkerHealth, index: int, now: float) -> frozenset[int]:
        """The unclaimed keys that a worker will not begin any more."""
        # A task that runs may hold the interpreter's lock for as long as a task may take: no slot can take another.
        busy = bool(self._backend.started(index))
        within_s = self._settings.chunk_timeout_s + HANG_GRACE_S if busy else UNCLAIMED_S
        return frozenset(key for key, since in health.unclaimed.items() if since + within_s <= now)

    def died(self, index: int) -> WorkerHealth:
        """Return the health of a dead worker, and begin a new one for the worker that takes its place."""
        health, self._health[index] = self._health[index], WorkerHealth()
        return health

    def _overdue(self, index: int, worker: Worker, now: float) -> frozenset[int]:
        late = now - self._settings.chunk_timeout_s - HANG_GRACE_S
        running = self._backend.started(index)
        return frozenset(self._key(s.chunk, s.model) for s in running if s.since < late) & worker.flight.keys()

    def _too_large(self, index: int) -> bool:
        """Whether a worker holds too much memory."""
        # One that leaks is replaced when its tasks have ended, which costs them nothing.
        limit = self._settings.max_worker_rss
        return limit is not None and self._backend.resident(index) > limit


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The judgement of a worker's death: each task that it held is in one of four lists of keys."""

    cause: str  # why the worker is gone
    charged: Sequence[int]  # guilty of ``kind``, for the reason ``why``
    kind: str
    why: str
    suspects: Sequence[int]  # one of them is guilty
    begun: Sequence[int]  # they ran, and are not to blame
    waiting: Sequence[int]  # they were not begun
    blameless: bool  # whether the death does not count among those that end a run


def aftermath(
    flight: Sequence[int],
    death: m.Death,
    health: WorkerHealth,
    *,
    key: Callable[[int, int], int],
    attempts: AttemptCounter,
    chunk_timeout_s: float,
) -> Aftermath:
    """Judge the tasks that a dead worker held. ``health``: the monitor's view of it."""
    # If its last messages are garbled, any task may have run, or left its slot: all are suspect.
    ran = {key(started.chunk, started.model) for started in death.started} | health.lost
    running = [one for one in flight if death.garbled or one in ran]
    waiting = [one for one in flight if one not in set(running)]
    replaced = health.explains(death.exitcode)
    cause = f"the worker was replaced: {health.reason}" if replaced else death.cause
    again = health.halted and attempts.stopped(running)
    kind, why = "crash", cause
    charged: list[int] = []
    suspects: list[int] = []
    begun: list[int] = []
    if replaced and not health.lost and not again:
        kind, why = "hang", f"it ran longer than chunk_timeout_s={chunk_timeout_s:g}; its worker was replaced"
        charged = [one for one in running if one in health.overdue]
        begun = [one for one in running if one not in health.overdue]
    elif len(running) == 1:
        charged = running
    else:
        suspects = sorted(running)
    return Aftermath(cause, charged, kind, why, suspects, begun, waiting, health.halted and not again)
