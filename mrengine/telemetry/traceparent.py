"""Continues the caller's trace in a worker: what map functions do under instrumentation of their own belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["continued"]


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """While a map function runs: its spans are children of the run's. Nothing where OpenTelemetry is not installed."""
    if not traceparent:
        yield
        return
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        yield
        return
    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
