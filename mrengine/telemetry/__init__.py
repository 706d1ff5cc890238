"""Reports a run to OpenTelemetry and Prometheus, from the records that the host reads in the log anyway.

No content leaves the run this way: no prompt, answer, result, document name or message of an exception, only numbers,
names of models and kinds of failures. All of it runs in the host, except ``continued``, in the workers.
"""

from mrengine.telemetry.open_telemetry import OpenTelemetry
from mrengine.telemetry.prometheus import Prometheus
from mrengine.telemetry.watcher import RunWatch, Watcher

__all__ = ["OpenTelemetry", "Prometheus", "RunWatch", "Watcher"]
