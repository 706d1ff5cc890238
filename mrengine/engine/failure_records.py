"""What the engine itself reports: attempts without an outcome, tasks that it gives up, events for host and log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from mrengine.engine.group_commit import GroupCommit
from mrengine.engine.protocol import Announcer
from mrengine.log.format import job_records, task_records
from mrengine.log.format.values import Plain

__all__ = ["FailureRecords", "Notes", "RestartLimiter", "allowed_deaths"]

_WHAT = {
    "crash": "its worker died each time",
    "hang": "it hung each time",
    "retries": "it asked for a retry each time",
}


# The events that reports show. No others go into the log: pieces of unfinished answers pass here as well.
LOGGED = frozenset(
    {
        *("worker:crashed", "worker:respawned", "chunk:retry", "call:retry", "budget:wait", "job:draining"),
        *("budget:waited", "manager:replaced"),
    }
)


class FailureRecords:
    """Packs ATTEMPT, FAILURE and NOTE records of one round. ``document_of(chunk)``: a document's id."""

    def __init__(
        self,
        round_: int,
        models: Sequence[str | None],
        document_of: Callable[[int], str],
        wall: Callable[[], float],
    ) -> None:
        self._round, self._models, self._document_of, self._wall = round_, models, document_of, wall

    def attempt(self, chunk: int, model: int, attempt: int, kind: str, cause: str) -> bytes:
        """Pack an attempt that ended without an outcome."""
        record = task_records.AttemptRecord(
            round=self._round,
            chunk_id=chunk,
            model_index=model,
            at=self._wall(),
            attempt=attempt,
            kind=kind,
            cause=cause,
        )
        return task_records.pack_attempt(record)

    def note(self, name: str, fields: Mapping[str, Plain], worker: int, chunk: int) -> bytes:
        """Pack an event, for reports."""
        return job_records.pack_note(job_records.NoteRecord(self._round, self._wall(), name, worker, chunk, fields))

    def refused(self, chunk: int, model: int, worker: int, attempts: int, cause: str) -> bytes:
        """Pack the failure of a task that its model did not answer, as the task itself reported."""
        return self._failure(chunk, model, worker, attempts, "model", cause)

    def given_up(self, chunk: int, model: int, worker: int, attempts: int, kind: str, cause: str) -> bytes:
        """Pack the failure of a task that has used up its attempts."""
        message = f"given up after {attempts} attempts, {_WHAT[kind]}: {cause}"
        return self._failure(chunk, model, worker, attempts, kind, message)

    def _failure(self, chunk: int, model: int, worker: int, attempts: int, kind: str, message: str) -> bytes:
        record = task_records.FailureRecord(
            round=self._round,
            chunk_id=chunk,
            model_index=model,
            document_id=self._document_of(chunk),
            model=self._models[model] if self._models else None,
            worker_id=worker,
            attempts=attempts,
            at=self._wall(),
            kind=kind,
            message=message,
        )
        return task_records.pack_failure(record)


def allowed_deaths(workers: int, slots: int, max_attempts: int) -> int:
    """How many deaths in a row a pool survives: enough to find one bad task in each worker, and to give it up."""
    # 3 for each worker at one slot, and as many more as halving the slots takes. A pool of one worker has room for two
    # bad tasks in a row: a job that begins with two would never get beyond them.
    return max(workers, 2) * (max(3, max_attempts) + (slots - 1).bit_length())


class RestartLimiter:
    """Bounds the restarts: a pool is broken by too many deaths within a minute with no task finished in between."""

    WINDOW_S = 60.0

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._deaths: deque[float] = deque()

    def died(self, now: float) -> int:
        """Count a death; 0 while the pool may go on, else the number of deaths."""
        self._deaths.append(now)
        while self._deaths[0] < now - self.WINDOW_S:
            self._deaths.popleft()
        return len(self._deaths) if len(self._deaths) > self._allowed else 0

    def finished(self) -> None:
        """Forget the deaths, as a finished task shows that the pool works."""
        self._deaths.clear()


class Notes:
    """Sends events to the host, and keeps those for reports in the log. ``profile``: report how long commits take."""

    def __init__(self, announcer: Announcer, log: GroupCommit, failures: FailureRecords, *, profile: bool) -> None:
        self._announcer, self._log, self._failures = announcer, log, failures
        self._log.taken = [] if profile else None

    def record(self, name: str, fields: Mapping[str, Any], *, worker: int = -1, chunk: int = -1) -> None:
        """Send an event to the host; the log keeps those that reports show."""
        self._announcer.note(name, fields)
        if name in LOGGED:
            self._log.note(self._failures.note(name, fields, worker, chunk))

    def line(self, _worker: int, _chunk: int, _model: int, payload: bytes) -> None:
        """Pass on a line that map_fn printed or logged."""
        self._announcer.line(payload)

    def profiled(self, _worker: int, _chunk: int, _model: int, payload: bytes) -> None:
        """Pass on a worker's durations: msgpack [[name, ms]…]."""
        self._announcer.note("profile", {"records": payload})

    def commits(self) -> None:
        """Report how long the commits since the last time took."""
        if self._log.taken:
            taken, self._log.taken = self._log.taken, []
            self.profiled(-1, -1, -1, msgpack.packb([("commit", ms) for ms in taken]))
