"""What a round reports besides outcomes: events for the host and the log, printed lines, durations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from mrengine.engine.failure_records import FailureRecords
from mrengine.engine.group_commit import GroupCommit
from mrengine.engine.protocol import Announcer

__all__ = ["Notes"]


# What reports show. Nothing else goes into the log: pieces of an answer in the making pass here, too.
LOGGED = frozenset(
    {
        *("worker:crashed", "worker:respawned", "chunk:retry", "call:retry", "budget:wait", "job:draining"),
        *("budget:waited", "manager:replaced"),
    }
)


class Notes:
    """``profile``: whether durations are reported, those of commits among them."""

    def __init__(self, announcer: Announcer, log: GroupCommit, failures: FailureRecords, *, profile: bool) -> None:
        self._announcer, self._log, self._failures = announcer, log, failures
        self._log.taken = [] if profile else None

    def record(self, name: str, fields: Mapping[str, Any], *, worker: int = -1, chunk: int = -1) -> None:
        """Send an event to the host, and keep it in the log for reports."""
        self._announcer.note(name, fields)
        if name in LOGGED:
            self._log.note(self._failures.note(name, fields, worker, chunk))

    def line(self, _worker: int, _chunk: int, _model: int, payload: bytes) -> None:
        """A line that map_fn printed or logged."""
        self._announcer.line(payload)

    def profiled(self, _worker: int, _chunk: int, _model: int, payload: bytes) -> None:
        """Durations of a worker: msgpack [[name, ms]…]."""
        self._announcer.note("profile", {"records": payload})

    def commits(self) -> None:
        """How long the commits since the last time took."""
        if self._log.taken:
            taken, self._log.taken = self._log.taken, []
            self.profiled(-1, -1, -1, msgpack.packb([("commit", ms) for ms in taken]))
