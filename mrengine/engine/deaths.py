"""What a worker's death means for the tasks it held: charged, suspected, or free to run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mrengine.engine import protocol as m
from mrengine.engine.crash_attribution import AttemptCounter
from mrengine.engine.worker_monitor import WorkerHealth

__all__ = ["Aftermath", "aftermath"]


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Keys of tasks, by what becomes of them. Each is in one of the four."""

    cause: str  # why the worker is gone
    charged: Sequence[int]  # with what ``kind`` and ``why`` say
    kind: str
    why: str
    suspects: Sequence[int]  # one of them is guilty
    begun: Sequence[int]  # they ran, and are not to blame
    waiting: Sequence[int]  # they were not begun
    blameless: bool  # it does not count among the deaths that end a run


def aftermath(
    flight: Sequence[int],
    death: m.Death,
    mark: WorkerHealth,
    *,
    key: Callable[[int, int], int],
    docket: AttemptCounter,
    chunk_timeout_s: float,
) -> Aftermath:
    """Judge the tasks that a dead worker held. ``mark``: what the watch knew of it."""
    ran = {key(started.chunk, started.model) for started in death.started} | mark.lost
    running = [one for one in flight if death.garbled or one in ran]
    waiting = [one for one in flight if one not in set(running)]
    replaced = mark.explains(death.exitcode)
    cause = f"the worker was replaced: {mark.reason}" if replaced else death.cause
    again = mark.halted and docket.stopped(running)
    kind, why = "crash", cause
    charged: list[int] = []
    suspects: list[int] = []
    begun: list[int] = []
    if replaced and not mark.lost and not again:
        kind, why = "hang", f"it ran longer than chunk_timeout_s={chunk_timeout_s:g}; its worker was replaced"
        charged = [one for one in running if one in mark.overdue]
        begun = [one for one in running if one not in mark.overdue]
    elif len(running) == 1:
        charged = running
    else:
        suspects = sorted(running)
    return Aftermath(cause, charged, kind, why, suspects, begun, waiting, mark.halted and not again)
