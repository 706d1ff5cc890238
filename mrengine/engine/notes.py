"""What a round reports besides outcomes: events for the host and the log, printed lines, durations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from mrengine.engine.failure_records import FailureRecords
from mrengine.engine.group_commit import GroupCommit
from mrengine.engine.protocol import Announcer

__all__ = ["Notes"]


# The events that reports show. No others go into the log: pieces of unfinished answers pass here as well.
LOGGED = frozenset(
    {
        *("worker:crashed", "worker:respawned", "chunk:retry", "call:retry", "budget:wait", "job:draining"),
        *("budget:waited", "manager:replaced"),
    }
)


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
