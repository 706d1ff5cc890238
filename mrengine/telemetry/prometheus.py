"""Metrics of runs for Prometheus: in the registry of a long-lived host, or in a file for the node exporter."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mrengine.errors import ConfigError
from mrengine.log.format.task_records import AttemptRecord, CallRecord, FailureRecord, ResultRecord
from mrengine.telemetry.attribute_names import DURATION_BUCKETS
from mrengine.telemetry.watcher import RunWatch

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Prometheus"]

EVERY_S = 5.0  # between two versions of the text file


class _Metrics:
    """The metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"mrengine_{name}", help_text, labels, registry=registry)

        self.calls = counter("calls", "Calls that models answered.", "model")
        self.tokens = counter("tokens", "Tokens of answered calls.", "model", "type")
        self.cost = counter("cost_usd", "US dollars that answered calls cost, where a price is known.", "model")
        self.tasks = counter("tasks", "Tasks that ended.", "outcome")
        self.retries = counter("retries", "Calls and chunks tried again.", "of")
        self.waits = counter("limit_wait_seconds", "Seconds that calls waited for a rate limit.", "model")
        self.crashes = counter("worker_crashes", "Workers that died.")
        self.runs = counter("runs", "Runs that ended.", "state")
        self.running = Gauge("mrengine_running_jobs", "Runs that go on now.", registry=registry)
        self.seconds = Histogram(
            "mrengine_call_seconds", "How long calls take.", ["model"], buckets=DURATION_BUCKETS, registry=registry
        )


# A registry takes each name once, so its metrics are made once, and all runs that report to it share them.
_LOCK = threading.Lock()
_KNOWN: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()


class Prometheus:
    """A watcher for the setting ``telemetry`` that counts in a Prometheus registry, and may write it to a file.

    ``registry``: None is prometheus_client's own, which the host's endpoint serves. ``textfile``: a file that is
    replaced as a whole every 5 s and at the end of a run; the node exporter's textfile collector wants a name that ends
    with ".prom". Without ``registry`` the file holds the metrics of mrengine alone.
    """

    def __init__(
        self, *, textfile: str | os.PathLike[str] | None = None, registry: CollectorRegistry | None = None
    ) -> None:
        try:
            import prometheus_client
        except ImportError:
            message = "telemetry: prometheus-client is not installed: pip install 'mrengine[prometheus]'"
            raise ConfigError(message, setting="telemetry") from None
        self._textfile = None if textfile is None else os.fspath(textfile)
        if registry is None:  # the default one has metrics of the whole process, which a file would repeat
            registry = prometheus_client.REGISTRY if textfile is None else prometheus_client.CollectorRegistry()
        self.registry = registry
        with _LOCK:  # two runners may begin at once
            if registry not in _KNOWN:
                _KNOWN[registry] = _Metrics(registry)
            self._metrics = _KNOWN[registry]
        self._written = float("-inf")

    def watch(self, job_id: str, models: Mapping[str, str]) -> RunWatch:
        """Count a run as running, and watch it."""
        self._metrics.running.inc()
        return _Watch(self, self._metrics)

    def write(self, *, now: bool = False) -> None:
        """Replace the text file, if there is one; at most every 5 s, unless ``now``. OSError: it cannot be written."""
        if self._textfile is None or (not now and time.monotonic() - self._written < EVERY_S):
            return
        from prometheus_client import write_to_textfile

        self._written = time.monotonic()
        write_to_textfile(self._textfile, self.registry)


class _Watch(RunWatch):
    """The watch of one run."""

    def __init__(self, owner: Prometheus, metrics: _Metrics) -> None:
        self._owner, self._metrics = owner, metrics

    def begin_round(self, number: int, total: int) -> None:
        """Write the file: from the first round on it shows that a job runs."""
        self._owner.write()

    def call(self, record: CallRecord) -> None:
        """Count a call and its usage."""
        if record.finish_reason == "refused":  # it settles an intent: there was no answer, and nothing was used
            return
        metrics, model = self._metrics, record.model
        metrics.calls.labels(model).inc()
        metrics.tokens.labels(model, "input").inc(record.usage.input_tokens)
        metrics.tokens.labels(model, "output").inc(record.usage.output_tokens)
        metrics.cost.labels(model).inc(record.cost_usd or 0.0)  # None: no price is known
        metrics.seconds.labels(model).observe(max(0.0, record.latency_ms) / 1000)
        self._owner.write()

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """Count the task."""
        self._metrics.tasks.labels("done" if isinstance(record, ResultRecord) else "failed").inc()
        self._owner.write()

    def attempt(self, record: AttemptRecord) -> None:
        """Count a retry: another attempt follows."""
        self._metrics.retries.labels("chunk").inc()

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Count retries of calls, waits and crashes."""
        if name == "call:retry":
            self._metrics.retries.labels("call").inc()
        elif name == "budget:waited":  # not "budget:wait", whose length is a forecast
            self._metrics.waits.labels(fields["model"]).inc(fields["wait_ms"] / 1000)
        elif name == "worker:crashed":
            self._metrics.crashes.inc()

    def end(self, state: str) -> None:
        """Count the run, and write the file a last time."""
        self._metrics.running.dec()
        self._metrics.runs.labels(state).inc()
        self._owner.write(now=True)
