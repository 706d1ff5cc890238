"""Spans and metrics of a run for OpenTelemetry, by the semantic conventions for generative AI.

A job's span contains those of its rounds, a round's those of its chunks, a chunk's those of its calls. The host makes
the spans of a chunk when that has ended, with the times in the log. ``continued`` runs in the workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mrengine._version import __version__
from mrengine.errors import ConfigError
from mrengine.log.format.task_records import AttemptRecord, CallRecord, FailureRecord, ResultRecord
from mrengine.telemetry import attribute_names as names
from mrengine.telemetry.watcher import RunWatch

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["OpenTelemetry", "continued"]

REFUSED = "refused"  # the finish_reason of a CALL that settles a call without an answer
Key = tuple[int, int, int]


class OpenTelemetry:
    """A watcher for the setting ``telemetry`` that makes spans and metrics of runs.

    A provider of None is the one that the program has set up (``set_tracer_provider``, …).
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            message = "telemetry: OpenTelemetry is not installed: pip install 'mrengine[otel]'"
            raise ConfigError(message, setting="telemetry") from None
        self._tracer = trace.get_tracer("mrengine", __version__, tracer_provider)
        meter = metrics.get_meter("mrengine", __version__, meter_provider)
        self.tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="Tokens of prompts and answers.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BUCKETS,
        )
        self.durations = meter.create_histogram(
            names.DURATION,
            unit="s",
            description="How long calls to models take.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )
        self.cost = meter.create_counter(names.COST, unit="USD", description="What answered calls cost.")
        self.tasks = meter.create_counter(names.TASKS, unit="{task}", description="Tasks that ended, by outcome.")
        self.retries = meter.create_counter(names.RETRIES, unit="{retry}", description="Calls and chunks tried again.")
        self.waits = meter.create_histogram(names.WAIT, unit="s", description="Waits of calls for a rate limit.")
        self.crashes = meter.create_counter(names.CRASHES, unit="{crash}", description="Workers that died.")

    def watch(self, job_id: str, models: Mapping[str, str]) -> RunWatch:
        """Start the job's span, in the context of this thread."""
        return _Watch(self, self._tracer, job_id, models)


def _callers_context() -> Any:
    """The context of this thread or, without a span in it, that of ``TRACEPARENT``, which cron jobs and CI set."""
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    here = context.get_current()
    if trace.get_current_span(here).get_span_context().is_valid:
        return here
    carrier = {name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ}
    return TraceContextTextMapPropagator().extract(carrier, here)


class _Watch:
    """The watch of one run."""

    def __init__(self, owner: OpenTelemetry, tracer: Any, job_id: str, models: Mapping[str, str]) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._owner, self._tracer, self._models, self._trace = owner, tracer, models, trace
        attributes = {names.JOB: job_id}
        self._job: Span = tracer.start_span(f"mrengine job {job_id}", _callers_context(), attributes=attributes)
        self._round: Span | None = None
        # Calls wait here until their chunk has ended: its span, their parent, begins before them and is made then.
        self._calls: dict[Key, list[CallRecord]] = {}
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(self._job))
        self.traceparent = carrier.get("traceparent", "")

    def begin_round(self, number: int, total: int) -> None:
        """Start the round's span."""
        self._end_round()
        attributes = {names.ROUND: number, names.TASKS: total}
        name = f"round {number}" if number else "map round"
        self._round = self._tracer.start_span(name, self._within(self._job), attributes=attributes)

    def _within(self, span: Span) -> Any:
        return self._trace.set_span_in_context(span)

    def call(self, record: CallRecord) -> None:
        """Count a call's usage; the call's span waits for that of its chunk."""
        self._calls.setdefault((record.round, record.chunk_id, record.model_index), []).append(record)
        attributes = self._attributes(record)
        if record.finish_reason == REFUSED:  # it has a span and no usage
            return
        to = self._owner
        to.tokens.record(record.usage.input_tokens, {**attributes, names.TOKEN_TYPE: "input"})
        to.tokens.record(record.usage.output_tokens, {**attributes, names.TOKEN_TYPE: "output"})
        to.durations.record(max(0.0, record.latency_ms) / 1000, attributes)
        if record.cost_usd:
            to.cost.add(record.cost_usd, attributes)

    def _attributes(self, record: CallRecord) -> dict[str, Any]:
        kind = self._models.get(record.model, "")
        provider = names.PROVIDERS.get(kind, kind or "unknown")
        return {names.OPERATION: "chat", names.REQUEST_MODEL: record.model, names.PROVIDER: provider}

    def outcome(self, record: ResultRecord | FailureRecord) -> None:
        """Make the spans of a chunk and of its calls."""
        calls = self._calls.pop((record.round, record.chunk_id, record.model_index), [])
        attributes: dict[str, Any] = {names.CHUNK: record.chunk_id, names.WORKER: record.worker_id}
        if isinstance(record, ResultRecord):
            start, state, failed = record.at - record.duration_ms / 1000, "done", ""
            attributes[names.ATTEMPT] = record.attempt
        else:
            start = min([record.at, *(_began(call) for call in calls)])  # a failure's record has no duration
            state, failed = "failed", record.kind
            attributes[names.ATTEMPT] = record.attempts
        # A failure's kind, never its message: that may hold content.
        counted = {names.OUTCOME: state, **({names.ERROR_TYPE: failed} if failed else {})}
        self._owner.tasks.add(1, counted)
        span = self._tracer.start_span(
            "chunk", self._within(self._round or self._job), attributes={**attributes, **counted}, start_time=_ns(start)
        )
        if failed:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, failed))
        self._spans(calls, span)
        span.end(_ns(record.at))

    def _spans(self, calls: list[CallRecord], parent: Span) -> None:
        for call in calls:
            attributes = self._attributes(call)
            attributes |= {names.INPUT_TOKENS: call.usage.input_tokens, names.OUTPUT_TOKENS: call.usage.output_tokens}
            attributes |= {names.CACHED_TOKENS: call.usage.cached_tokens, names.FINISH_REASONS: (call.finish_reason,)}
            if call.finish_reason == REFUSED:
                attributes[names.ERROR_TYPE] = REFUSED
            span = self._tracer.start_span(
                f"chat {call.model}",
                self._within(parent),
                kind=self._trace.SpanKind.CLIENT,
                attributes=attributes,
                start_time=_ns(_began(call)),
            )
            span.end(_ns(call.at))

    def attempt(self, record: AttemptRecord) -> None:
        """Count a retry: another attempt follows."""
        self._owner.retries.add(1, {names.RETRY_OF: "chunk", names.ERROR_TYPE: record.kind})

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        """Count retries of calls, waits and crashes."""
        if name == "call:retry":
            status = fields.get("status")
            error = str(status) if status else "no answer"
            labels = {names.RETRY_OF: "call", names.REQUEST_MODEL: fields["model"], names.ERROR_TYPE: error}
            self._owner.retries.add(1, labels)
        elif name == "budget:waited":  # not "budget:wait", whose length is a forecast
            self._owner.waits.record(fields["wait_ms"] / 1000, {names.REQUEST_MODEL: fields["model"]})
        elif name == "worker:crashed":
            self._owner.crashes.add(1)

    def _end_round(self) -> None:
        if self._round is not None:
            for calls in self._calls.values():  # of tasks that have not ended, and so have no span
                self._spans(calls, self._round)
            self._round.end()
        self._calls, self._round = {}, None

    def end(self, state: str) -> None:
        """End the job's span; a failed job is an error."""
        self._end_round()
        self._job.set_attribute(names.STATE, state)
        if state in ("failed", "timeout", "budget", "refused"):
            self._job.set_status(self._trace.Status(self._trace.StatusCode.ERROR, state))
        self._job.end(time.time_ns())


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """Set the run's trace as the context of a map function: the spans of its own instrumentation become children."""
    if not traceparent:  # before the import, which a run without telemetry must not pay for
        yield
        return
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:  # without it, a map function makes no spans either
        yield
        return
    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)


def _began(call: CallRecord) -> float:
    return call.at - max(0.0, call.latency_ms) / 1000


def _ns(at: float) -> int:
    return max(0, int(at * 1e9))
