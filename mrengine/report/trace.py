"""A run for Perfetto and chrome://tracing, in the JSON array form of the Trace Event Format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from mrengine.report.gantt import batch_rows, lanes
from mrengine.report.story import DONE, FAILED, LOST, Story, read_story

__all__ = ["trace_events", "write_trace"]

Clock = Callable[[float], int]  # seconds since the epoch to µs since the first run began
OUTCOMES = {DONE: "result", FAILED: "failure", LOST: "lost"}


def write_trace(folder: Path, path: Path) -> None:
    """Write the trace of the job in ``folder``. JobNotFound, LogError; OSError where the file cannot be written."""
    story = read_story(folder)
    with path.open("w", encoding="utf-8") as file:
        _write(story, file)


def _write(story: Story, file: TextIO) -> None:
    file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
    for number, event in enumerate(trace_events(story)):
        # Event by event: a trace of a million tasks is never in memory as a whole.
        file.write(",\n" if number else "")
        json.dump(event, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n]}\n")


def trace_events(story: Story) -> Iterator[dict[str, Any]]:
    """Runs, tasks by worker and slot, batches, calls, notes, and the tokens granted; times in µs.

    Processes keep the kinds apart: 0 has runs, tasks and notes, 1 calls, 2 batches.
    """
    zero = story.runs[0].began

    def us(at: float) -> int:
        return round((at - zero) * 1e6)

    yield {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": f"job {story.job_id}"}}
    for run in story.runs:
        length = us(run.ended) - us(run.began)
        name = f"run {run.number}: {run.state}"
        yield {"ph": "X", "name": name, "cat": "run", "pid": 0, "tid": 0, "ts": us(run.began), "dur": length}
    yield from _tasks(story, us)
    yield from _batches(story, us)
    yield from _calls(story, us)
    yield from _notes(story, us)
    total = 0
    for at, tokens in sorted(zip(story.granted_at, story.granted, strict=True)):
        total += tokens
        yield {"ph": "C", "name": "tokens taken", "pid": 0, "ts": us(at), "args": {"tokens": total}}


def _tasks(story: Story, us: Clock) -> Iterator[dict[str, Any]]:
    for row, lane in enumerate(lanes(story), 1):
        yield {"ph": "M", "name": "thread_name", "pid": 0, "tid": row, "args": {"name": lane.name}}
        for start, end, index in lane.tasks:
            tasks = story.tasks
            yield {
                "ph": "X",
                "name": f"chunk {tasks.chunk[index]}",
                "cat": "task",
                "pid": 0,
                "tid": row,
                "ts": us(start),
                "dur": us(end) - us(start),
                "args": {"round": tasks.round[index], "outcome": OUTCOMES[tasks.ok[index]]},
            }


def _batches(story: Story, us: Clock) -> Iterator[dict[str, Any]]:
    for row, batches in enumerate(batch_rows(story)):
        yield {"ph": "M", "name": "thread_name", "pid": 2, "tid": row, "args": {"name": "batches"}}
        for batch in batches:
            yield {
                "ph": "X",
                "name": f"batch {batch.number}: {batch.state}",
                "cat": "batch",
                "pid": 2,
                "tid": row,
                "ts": us(batch.began),
                "dur": us(batch.ended) - us(batch.began),
                "args": {"model": batch.model, "requests": batch.requests},
            }


def _calls(story: Story, us: Clock) -> Iterator[dict[str, Any]]:
    calls = story.calls
    # Asynchronous events (b, e): calls of one thread would have to nest, and these overlap.
    for number, at in enumerate(calls.at):
        call = {"name": story.models[calls.model[number]], "cat": "call", "id": number, "pid": 1, "tid": 0}
        began = us(at - calls.latency_ms[number] / 1000)
        yield {"ph": "b", "ts": began, "args": {"chunk": calls.chunk[number]}, **call}
        yield {"ph": "e", "ts": us(at), "args": {"tokens": calls.tokens[number]}, **call}


def _notes(story: Story, us: Clock) -> Iterator[dict[str, Any]]:
    for note in story.notes:
        fields = {key: value for key, value in note.fields.items() if isinstance(value, (str, int, float, type(None)))}
        instant = {"ph": "i", "s": "p", "cat": "note", "pid": 0, "tid": 0}  # drawn over all rows of the process
        yield {**instant, "name": note.name, "ts": us(note.at), "args": fields}
