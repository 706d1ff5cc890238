"""The protocol of objects that watch a run; notifies several of them, and keeps their errors from the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from mrengine.errors import ConfigError
from mrengine.log.format.task_records import AttemptRecord, CallRecord, FailureRecord, ResultRecord

__all__ = ["RunWatch", "Watcher", "Watchers", "open_watchers"]

log = logging.getLogger("mrengine")


class RunWatch(Protocol):
    """Is notified of one run, in the thread that called ``run()``. A subclass may override only what it needs.

    ``traceparent``: a W3C traceparent for the workers; "" for none.
    """

    traceparent: str = ""

    def begin_round(self, number: int, total: int) -> None:
        """A round starts: 0 is the map round, later ones are reduce rounds."""

    def call(self, record: CallRecord) -> None:
        """A call was settled, without an answer if its ``finish_reason`` is "refused"."""

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """A task ended."""

    def attempt(self, record: AttemptRecord) -> None:
        """An attempt ended without an outcome."""

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """An event that is no outcome: "call:retry", "budget:waited", "worker:crashed", …"""

    def end(self, state: str) -> None:
        """The run is over; ``state`` as in JobEnd."""


@runtime_checkable
class Watcher(Protocol):
    """Watches runs: what the setting ``telemetry`` takes."""

    def watch(self, job_id: str, models: Mapping[str, str]) -> RunWatch:
        """Begin to watch a run, in the thread that called ``run()``. ``models``: name → kind of endpoint."""


class Watchers:
    """All watches of a run. One that raises is logged once, and from then on only notified of the end."""

    def __init__(self, watches: Sequence[RunWatch]) -> None:
        self._watches = list(watches)
        self._broken: list[RunWatch] = []
        # Workers can continue one trace: the first.
        self.traceparent = next((watch.traceparent for watch in watches if watch.traceparent), "")

    def __bool__(self) -> bool:
        return bool(self._watches)

    def begin_round(self, number: int, total: int) -> None:
        """Notify all."""
        self._notify(lambda watch: watch.begin_round(number, total))

    def call(self, record: CallRecord) -> None:
        """Notify all."""
        self._notify(lambda watch: watch.call(record))

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """Notify all."""
        self._notify(lambda watch: watch.outcome(record))

    def attempt(self, record: AttemptRecord) -> None:
        """Notify all."""
        self._notify(lambda watch: watch.attempt(record))

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Notify all."""
        self._notify(lambda watch: watch.note(name, fields))

    def end(self, state: str) -> None:
        """Notify all, the broken ones too: else their spans and gauges would never end."""
        self._watches += self._broken
        self._notify(lambda watch: watch.end(state))
        self._watches = []

    def _notify(self, notify: Callable[[RunWatch], None]) -> None:
        for watch in tuple(self._watches):  # a copy: one that raises is taken off the list
            try:
                notify(watch)
            except Exception:
                log.exception("telemetry: %s failed; the job goes on without it", type(watch).__qualname__)
                self._watches.remove(watch)
                self._broken.append(watch)


def open_watchers(setting: Any, job_id: str, models: Mapping[str, str]) -> Watchers:
    """Begin to watch a run. ``setting``: the setting ``telemetry``. ConfigError: an extra is not installed."""
    if not setting:
        return Watchers(())
    if setting is True:
        from mrengine.telemetry.open_telemetry import OpenTelemetry

        setting = OpenTelemetry()
    every = setting if isinstance(setting, (list, tuple)) else (setting,)
    for one in every:  # all are checked before any begins: the span of one that has begun would have no end
        if not isinstance(one, Watcher):
            message = f"telemetry: a {type(one).__name__} watches no runs; give True, OpenTelemetry() or Prometheus()"
            raise ConfigError(message, setting="telemetry")
    return Watchers([one.watch(job_id, models) for one in every])
