"""Whatever tells of a run tells the same sums: those of the server that answered its calls."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, ModelSpec, Price
from mrengine.errors import ConfigError
from mrengine.profiling import PerformanceCollector
from mrengine.report import numbers
from mrengine.report.page import render
from mrengine.report.story import LOST, read_story
from mrengine.telemetry import OpenTelemetry, Prometheus
from mrengine.testing import LLMServer

CHUNKS = 40


def ask(chunk: Any, context: Any) -> str:
    """Two calls, one of them the same for all; one chunk takes its worker with it, one fails.

    With one slot: a call that another one has on its way when its worker dies was paid for, and nobody can know it.
    """
    if chunk.id == 11:
        raise LookupError("no table")
    answer = context.complete(f"say {chunk.id}: {chunk.text}", max_tokens=30).text
    context.complete("the same for all", max_tokens=30)
    if chunk.id == 7 and context.attempt == 1:
        os._exit(3)
    return f"{answer} {context.traceparent} {_trace()}"


def _trace() -> str:
    from opentelemetry import trace

    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def test_summary_events_report_and_metrics_tell_the_servers_sums(
    tmp_path: Path, require_packages: Callable[..., None]
) -> None:
    require_packages("opentelemetry.sdk", "prometheus_client")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from prometheus_client import CollectorRegistry

    spans, reader, registry = InMemorySpanExporter(), InMemoryMetricReader(), CollectorRegistry()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = [
        OpenTelemetry(tracer_provider=tracers, meter_provider=MeterProvider([reader])),
        Prometheus(registry=registry, textfile=tmp_path / "m.prom"),
    ]
    heard: list[Any] = []
    collector = PerformanceCollector()
    behaviour = {"faults": {"429": 0.1, "500": 0.05}, "retry_after_s": 0.1, "latency_s": 0.02, "seed": 3}
    with LLMServer(**behaviour, prices={"": {"input": 3, "output": 5}}) as server:
        runner = MapReduceRunner(
            models=ModelSpec(f"{server.url}#m", price=Price(input=3, output=5)),
            state_dir=tmp_path / "state", job_id="j", workers=4, slots=1, target_tokens=None, backoff_s=0.05,
            progress=False, collector=collector, telemetry=telemetry,
        )  # fmt: skip
        runner.on("*", heard.append)
        with tracers.get_tracer("caller").start_as_current_span("caller") as caller:
            result = runner.run([f"text {number}" for number in range(CHUNKS)], ask)
        stats = server.stats()
    tokens, cost = (stats.input_tokens, stats.output_tokens), pytest.approx(stats.billed_usd)
    assert stats.rate_limited
    assert stats.ok >= 2 * (CHUNKS - 1)

    used = result.summary.usage["m"]
    assert ((used.input_tokens, used.output_tokens), result.summary.cost_usd) == (tokens, cost)
    done = [event for event in heard if event.name == "chunk:processed"]
    assert sum(event.usage.total_tokens for event in done) == sum(tokens)
    assert sum(event.cost_usd for event in done) <= stats.billed_usd * (1 + 1e-9)
    assert result.summary.throughput.tokens_per_second == pytest.approx(
        sum(tokens) / result.summary.duration_ms * 1000, rel=0.05
    )

    story = read_story(tmp_path / "state" / "jobs" / "j")
    spent = story.spending["m"]
    assert (spent.calls, spent.usage.input_tokens, spent.usage.output_tokens) == (stats.ok, *tokens)
    assert numbers.cost(story)[0] == cost
    assert sum(note.name == "call:retry" for note in story.notes) == sum(e.name == "call:retry" for e in heard)
    assert LOST in story.tasks.ok
    assert "worker crashed" in render(story)
    assert len(collector.records("call")) >= stats.ok

    _check_metrics(reader, stats)
    value = registry.get_sample_value
    assert value("mrengine_calls_total", {"model": "m"}) == stats.ok
    assert value("mrengine_tokens_total", {"model": "m", "type": "input"}) == stats.input_tokens
    assert value("mrengine_tokens_total", {"model": "m", "type": "output"}) == stats.output_tokens
    assert value("mrengine_cost_usd_total", {"model": "m"}) == cost
    assert value("mrengine_tasks_total", {"outcome": "failed"}) == 1
    assert value("mrengine_running_jobs") == 0
    assert value("mrengine_runs_total", {"state": "done"}) == 1
    assert f'mrengine_calls_total{{model="m"}} {stats.ok}.0' in (tmp_path / "m.prom").read_text()

    _check_spans(spans.get_finished_spans(), caller.get_span_context(), stats)
    trace = f"{caller.get_span_context().trace_id:032x}"
    assert all(trace in one.result.split()[-2] and one.result.endswith(trace) for one in result.results)


def _check_metrics(reader: Any, stats: Any) -> None:
    metrics = {
        metric.name: metric.data.data_points
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": stats.input_tokens, "output": stats.output_tokens}
    assert sum(point.count for point in metrics["gen_ai.client.operation.duration"]) == stats.ok
    assert sum(point.value for point in metrics["mrengine.cost"]) == pytest.approx(stats.billed_usd)
    outcomes = {point.attributes["mrengine.outcome"]: point.value for point in metrics["mrengine.tasks"]}
    assert outcomes == {"done": CHUNKS - 1, "failed": 1}
    assert sum(p.value for p in metrics["mrengine.retries"] if p.attributes["mrengine.retry.of"] == "call")
    assert sum(point.value for point in metrics["mrengine.worker.crashes"]) == 1


def _check_spans(spans: Any, caller: Any, stats: Any) -> None:
    """Job, rounds, chunks, calls: a tree below the caller's span, and nothing of what was said."""
    by_id = {span.context.span_id: span for span in spans}
    kinds = Counter(span.name for span in spans)
    assert (kinds["mrengine job j"], kinds["map round"], kinds["chunk"]) == (1, 1, CHUNKS)
    answered = [
        s for s in spans if s.name == "chat m" and s.attributes["gen_ai.response.finish_reasons"] != ("refused",)
    ]
    assert len(answered) == stats.ok
    assert sum(span.attributes["gen_ai.usage.input_tokens"] for span in answered) == stats.input_tokens
    parents = {"chat m": {"chunk", "map round"}, "chunk": {"map round"}, "map round": {"mrengine job j"}}
    for span in spans:
        assert span.context.trace_id == caller.trace_id
        if span.name in parents:
            assert by_id[span.parent.span_id].name in parents[span.name]
        assert span.start_time <= span.end_time
        assert not any("text" in str(value) or "say" in str(value) for value in span.attributes.values())


@pytest.mark.parametrize("here", [True, False])
def test_the_trace_of_the_environment_is_continued_where_the_caller_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_packages: Callable[..., None], here: bool
) -> None:
    """TRACEPARENT, as cron and CI runners give it; a span of the caller goes before."""
    require_packages("opentelemetry.sdk")
    from contextlib import nullcontext

    from opentelemetry.sdk.trace import TracerProvider

    given = "0af7651916cd43dd8448eb211c80319c"
    monkeypatch.setenv("TRACEPARENT", f"00-{given}-b7ad6b7169203331-01")
    tracers = TracerProvider()
    telemetry = OpenTelemetry(tracer_provider=tracers)
    settings: dict[str, Any] = {"models": "fake", "strategy": "sequential", "state_dir": tmp_path}
    with tracers.get_tracer("caller").start_as_current_span("caller") if here else nullcontext():
        caller = _trace()
        run = MapReduceRunner(telemetry=telemetry, **settings).run("some text", lambda chunk, context: _trace())
    assert [result.result for result in run.results] == [caller if here else given]


def test_a_watcher_that_fails_stops_nothing(tmp_path: Path) -> None:
    class Broken:
        traceparent = ""

        def watch(self, job_id: str, models: Any) -> Any:
            return self

    watcher = Broken()  # each of its methods is missing
    runner = MapReduceRunner(
        models="fake", state_dir=tmp_path, strategy="sequential", progress=False, telemetry=watcher, target_tokens=None
    )
    assert runner.run(["a", "b"], lambda chunk, context: chunk.text).results[1].result == "b"


def test_what_watches_nothing_is_refused(tmp_path: Path) -> None:
    runner = MapReduceRunner(state_dir=tmp_path, strategy="sequential", progress=False, telemetry="otel")
    with pytest.raises(ConfigError, match="watches no runs"):
        runner.run(["a"], lambda chunk, context: chunk.text)


TRACED = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mrengine import MapReduceRunner

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
MapReduceRunner(models="fake", strategy="sequential").run(["a", "b"], lambda chunk, context: chunk.text)
print(len(spans.get_finished_spans()))
"""


@pytest.mark.parametrize(("value", "traced"), [("1", True), ("0", False), (None, False)])
def test_the_environment_turns_telemetry_on_for_a_program_that_says_nothing_of_it(
    state_dir: Path, require_packages: Callable[..., None], value: str | None, traced: bool
) -> None:
    require_packages("opentelemetry.sdk")
    env = dict(os.environ) if value is None else {**os.environ, "MRENGINE_TELEMETRY": value}
    said = subprocess.run([sys.executable, "-c", TRACED], env=env, capture_output=True, text=True, check=True)
    assert (int(said.stdout) > 0) is traced
    assert (state_dir / "jobs").is_dir()
