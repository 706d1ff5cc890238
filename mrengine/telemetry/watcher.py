"""What watches a run: the protocol, and how several are notified without any of them harming the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from mrengine.errors import ConfigError
from mrengine.log.format.records import AttemptRecord, CallRecord, FailureRecord, ResultRecord

__all__ = ["Quiet", "RunWatch", "Watcher", "Watchers", "open_watchers"]

log = logging.getLogger("mrengine")


class RunWatch(Protocol):
    """Is notified of one run, in the thread that called ``run()``. ``traceparent``: W3C's, for the workers; or ""."""

    traceparent: str

    def begin_round(self, number: int, total: int) -> None:
        """A round starts: 0 is the map round, later ones are reduce rounds."""

    def call(self, record: CallRecord) -> None:
        """A call was settled; ``finish_reason`` "refused": without an answer."""

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """A task ended."""

    def attempt(self, record: AttemptRecord) -> None:
        """An attempt ended without an outcome."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Something that is no outcome: "call:retry", "budget:waited", "worker:crashed", …"""

    def end(self, state: str) -> None:
        """The run is over; ``state`` as in JobEnd."""


@runtime_checkable
class Watcher(Protocol):
    """Watches runs: what the setting ``telemetry`` takes."""

    def watch(self, job_id: str, models: Mapping[str, str]) -> RunWatch:
        """A run begins, in the thread that called ``run()``. ``models``: name → kind of endpoint."""


class Quiet:
    """A watch that ignores everything: to derive from."""

    traceparent = ""

    def begin_round(self, number: int, total: int) -> None:
        """Ignored."""

    def call(self, record: CallRecord) -> None:
        """Ignored."""

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """Ignored."""

    def attempt(self, record: AttemptRecord) -> None:
        """Ignored."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Ignored."""

    def end(self, state: str) -> None:
        """Ignored."""


class Watchers:
    """All watches of a run. One that raises is logged once, and notified of nothing more but the end."""

    def __init__(self, watches: Sequence[RunWatch]) -> None:
        self._watches = list(watches)
        self._broken: list[RunWatch] = []
        self.traceparent = next((watch.traceparent for watch in watches if watch.traceparent), "")

    def __bool__(self) -> bool:
        return bool(self._watches)

    def begin_round(self, number: int, total: int) -> None:
        """Tell all."""
        self._tell(lambda watch: watch.begin_round(number, total))

    def call(self, record: CallRecord) -> None:
        """Tell all."""
        self._tell(lambda watch: watch.call(record))

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """Tell all."""
        self._tell(lambda watch: watch.outcome(record))

    def attempt(self, record: AttemptRecord) -> None:
        """Tell all."""
        self._tell(lambda watch: watch.attempt(record))

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Tell all."""
        self._tell(lambda watch: watch.note(name, fields))

    def end(self, state: str) -> None:
        """Tell all, the broken ones too."""
        self._watches += self._broken
        self._tell(lambda watch: watch.end(state))
        self._watches = []

    def _tell(self, tell: Callable[[RunWatch], None]) -> None:
        for watch in tuple(self._watches):
            try:
                tell(watch)
            except Exception:
                log.exception("telemetry: %s failed; the job goes on without it", type(watch).__qualname__)
                self._watches.remove(watch)
                self._broken.append(watch)


def open_watchers(setting: Any, job_id: str, models: Mapping[str, str]) -> Watchers:
    """Begin to watch a run. ``setting``: that of the name ``telemetry``. ConfigError: an extra is not installed."""
    if not setting:
        return Watchers(())
    if setting is True:
        from mrengine.telemetry.open_telemetry import OpenTelemetry

        setting = OpenTelemetry()
    every = setting if isinstance(setting, (list, tuple)) else (setting,)
    for one in every:
        if not isinstance(one, Watcher):
            message = f"telemetry: a {type(one).__name__} watches no runs; give True, OpenTelemetry() or Prometheus()"
            raise ConfigError(message, setting="telemetry")
    return Watchers([one.watch(job_id, models) for one in every])
