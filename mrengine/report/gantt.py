"""The chart of tasks over time, a row for each worker and slot."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from mrengine.profiling import format_duration
from mrengine.report.charts import LEFT, Axis, box, clock_time, line, num, svg
from mrengine.report.story import DONE, FAILED, LOST, BatchSpan, Story

__all__ = ["ROWS_SHOWN", "batch_rows", "gantt", "lanes"]

SINGLE = 1_300  # tasks that are drawn one by one; of more, those closer than a pixel are joined
LANES = 64  # rows at most; with more slots than that, several share a row
ROW, BAR = 14.0, 10.0
MOST_MARKS = 400
BATCH_ROWS = 6
ROWS_SHOWN = 500  # failures that have a row in the page, to which their tasks are linked
SLACK_S = 0.002  # by which two tasks of one slot may overlap: a start is computed from a rounded duration


class Lane(NamedTuple):
    """A row of the Gantt chart: its name, and its tasks as (start, end, index), which do not overlap."""

    name: str
    tasks: list[tuple[float, float, int]]


def lanes(story: Story) -> list[Lane]:
    """The tasks of each worker in as many rows as ran at once: the log has workers, but no slots."""
    rows: dict[int, list[list[tuple[float, float, int]]]] = {}
    tasks = story.tasks
    for index in sorted(range(len(tasks)), key=tasks.start.__getitem__):
        if tasks.worker[index] < 0:
            continue  # a lost attempt of an unknown worker
        start, end = tasks.start[index], tasks.end[index]
        slots = rows.setdefault(tasks.worker[index], [])
        free = next((slot for slot in slots if slot[-1][1] <= start + SLACK_S), None)
        if free is None:
            slots.append(free := [])
        free.append((start, end, index))
    single = [
        Lane(f"worker {worker}" + (f".{number}" if len(slots) > 1 else ""), row)
        for worker, slots in sorted(rows.items())
        for number, row in enumerate(slots)
    ]
    if len(single) <= LANES:
        return single
    step = math.ceil(len(single) / LANES)
    joined = [single[at : at + step] for at in range(0, len(single), step)]
    return [Lane(f"{g[0].name} …", sorted(task for lane in g for task in lane.tasks)) for g in joined]


_LOOKS = {DONE: 'class="done"', FAILED: 'fill="url(#hatch)"', LOST: 'fill="url(#lost)"'}
_PAINTS = {DONE: "var(--done)", FAILED: "url(#hatch)", LOST: "url(#lost)"}
_NAMES = {DONE: "done", FAILED: "failed", LOST: "lost"}


class _Places:
    """Where the tasks of the chunks in notes were drawn. Others are not kept: there may be a million."""

    def __init__(self, story: Story, rows: Sequence[Lane], tops: Sequence[float]) -> None:
        self._noted = {note.chunk_id for note in story.notes if note.chunk_id >= 0}
        self._of: dict[int, list[tuple[float, float, float]]] = {}
        self._first: dict[str, float] = {}
        for lane, y in zip(rows, tops, strict=True):
            self._first.setdefault(lane.name.split(".")[0], y)
            for start, end, index in lane.tasks:
                chunk = story.tasks.chunk[index]
                if chunk in self._noted:
                    self._of.setdefault(chunk, []).append((start, end, y))

    def y(self, chunk: int, worker: int, at: float) -> float:
        """The row of the chunk's task at that time, else the worker's first row, else above all rows."""
        for start, end, y in self._of.get(chunk, ()):
            if start - 0.05 <= at <= end + 0.05:  # notes and records of one task are written a moment apart
                return y
        return self._first.get(f"worker {worker}", 2.0)


def gantt(story: Story) -> str:
    """Rows of tasks for each worker and slot, with waits and with marks for deaths, refusals and retries.

    Batches at providers have rows of their own above them.
    """
    axis, rows = Axis(story.runs), lanes(story)
    batches = batch_rows(story)
    first = 16 + ROW * len(batches)
    height = first + ROW * max(1, len(rows))
    tops = [first + number * ROW for number in range(len(rows))]
    places = _Places(story, rows, tops)
    single = len(story.tasks) <= SINGLE
    body = [axis.frame(height)]
    body += [_batches(axis, row, 16 + number * ROW) for number, row in enumerate(batches)]
    for lane, y in zip(rows, tops, strict=True):
        body.append(f'<text x="{LEFT - 6:.0f}" y="{num(y + 9)}" text-anchor="end">{escape(lane.name)}</text>')
        body.append(_single(story, axis, lane, y) if single else _joined(story, axis, lane, y))
    body.append(_waits(story, axis, places))
    if not single:
        body.append(_slices(story, axis, height))
    body.append(_marks(story, axis, places))
    label = f"Tasks over time: {len(story.tasks)} tasks in {len(rows)} rows."
    return svg(height + 18, "".join(body), label)


def batch_rows(story: Story) -> list[list[BatchSpan]]:
    """Batches in as few rows as keep apart those that were open at the same time; the last row takes the rest."""
    rows: list[list[BatchSpan]] = []
    for batch in sorted(story.batches, key=lambda batch: batch.began):
        free = next((row for row in rows if row[-1].ended <= batch.began), None)
        if free is None and len(rows) < BATCH_ROWS:
            rows.append([batch])
        else:
            (free or rows[-1]).append(batch)
    return rows


def _batches(axis: Axis, row: Sequence[BatchSpan], y: float) -> str:
    parts = [f'<text x="{LEFT - 6:.0f}" y="{num(y + 9)}" text-anchor="end">batches</text>']
    for batch in row[:MOST_MARKS]:
        x, right = axis.x(batch.began), axis.x(batch.ended)
        took = format_duration((batch.ended - batch.began) * 1000)
        tip = f"batch {batch.number}: {batch.state}, {took}\n{batch.requests:,} requests to {batch.model}"
        parts.append(box('fill="url(#bars)"', x, y, max(1.5, right - x), BAR, tip, first=len(parts) == 1))
    return f'<g class="tasks">{"".join(parts)}</g>'


def _single(story: Story, axis: Axis, lane: Lane, y: float) -> str:
    tasks, shown = story.tasks, {failure.chunk_id for failure in story.failures[:ROWS_SHOWN]}
    parts: list[str] = []
    for start, end, index in lane.tasks:
        x, right, outcome = axis.x(start), axis.x(end), tasks.ok[index]
        of_round = f", round {tasks.round[index]}" if tasks.round[index] else ""
        tip = f"chunk {tasks.chunk[index]}{of_round}: {_NAMES[outcome]}, {format_duration((end - start) * 1000)}"
        rect = box(_LOOKS[outcome], x, y, max(1.5, right - x), BAR, tip, first=not parts)
        linked = outcome == FAILED and tasks.chunk[index] in shown  # a link to a row that is not there leads nowhere
        parts.append(f'<a href="#chunk-{tasks.chunk[index]}" tabindex="-1">{rect}</a>' if linked else rect)
    return f'<g class="tasks">{"".join(parts)}</g>'


def _joined(story: Story, axis: Axis, lane: Lane, y: float) -> str:
    """A path for each outcome; bars closer than a pixel are one, or two pixels in rows that would be too long."""
    paths = []
    step = 1.0 if len(story.runs) * len(lane.tasks) < 50_000 else 2.0
    for outcome, paint in _PAINTS.items():
        times = [(start, end) for start, end, index in lane.tasks if story.tasks.ok[index] == outcome]
        if times:
            paths.append(f'<path class="row" stroke="{paint}" d="{line(_merged(axis, times, step), y + BAR / 2)}"/>')
    return "".join(paths)


def _merged(axis: Axis, times: Sequence[tuple[float, float]], step: float) -> list[list[int]]:
    """Sorted times as spans of whole pixels; those closer than ``step`` are joined."""
    spans: list[list[int]] = []
    for start, end in times:
        x = round(axis.x(start))
        right = max(x + 1, round(axis.x(end)))
        if spans and x - spans[-1][1] <= step:
            spans[-1][1] = max(spans[-1][1], right)
        else:
            spans.append([x, right])
    return spans


def _waits(story: Story, axis: Axis, places: _Places) -> str:
    """Waits for the rate limit, on the tasks that waited."""
    rows: dict[float, list[tuple[float, float]]] = {}
    for note in story.notes:
        waited = note.fields.get("wait_ms") if note.name == "budget:waited" else None
        if isinstance(waited, (int, float)) and 0 < waited < math.inf:  # a note holds whatever a log has
            y = places.y(note.chunk_id, note.worker_id, note.at)
            rows.setdefault(y, []).append((note.at - waited / 1000, note.at))
    drawn = "".join(line(_merged(axis, sorted(times), 1.0), y + BAR / 2) for y, times in rows.items())
    return f'<path class="wait-line" stroke="url(#dots)" d="{drawn}"/>' if drawn else ""


def _slices(story: Story, axis: Axis, height: float) -> str:
    """Transparent columns whose tips count what happened in that time: single bars are too many to point at."""
    tasks = story.tasks
    ends = sorted(zip(tasks.end, tasks.ok, strict=True))
    notes = {name: sorted(note.at for note in story.notes if note.name == name) for name in _COUNTED}
    parts: list[str] = []
    for since, until in axis.slices():
        # (time, 2) sorts behind every outcome of that time, so that no end counts in two slices.
        inside = [ok for _, ok in ends[bisect_right(ends, (since, 2)) : bisect_right(ends, (until, 2))]]
        lines = [f"{clock_time(since)} – {clock_time(until)}"]
        lines.append(", ".join(f"{inside.count(ok)} {name}" for ok, name in _NAMES.items() if ok >= 0 or ok in inside))
        for name, what in _COUNTED.items():
            count = bisect_right(notes[name], until) - bisect_right(notes[name], since)
            lines += [f"{count} {what}"] if count else []
        x = axis.x(since)
        width = max(1.0, axis.x(until) - x)
        parts.append(box('class="hit"', x, 0, width, height, "\n".join(lines), first=not parts))
    return "".join(parts)


_COUNTED = {"worker:crashed": "crashes", "budget:wait": "waits for the limit", "call:retry": "calls tried again"}
_SHAPES = {"worker:crashed": "crash", "chunk:retry": "again", "call:retry": "refusal"}  # in the order of their weight
_TITLES = {"worker:crashed": "worker crashed", "chunk:retry": "tried again", "call:retry": "call refused"}


def _marks(story: Story, axis: Axis, places: _Places) -> str:
    """Marks by weight, deaths first, as MOST_MARKS may leave out the rest. Marks at one place are one."""
    order = list(_SHAPES)
    notes = sorted((note for note in story.notes if note.name in order), key=lambda note: order.index(note.name))
    parts: list[str] = []
    taken: set[tuple[str, int, float]] = set()
    for note in notes:
        chunk = _chunk(note.chunk_id, note.fields)
        x, y = axis.x(note.at), places.y(chunk, note.worker_id, note.at) + BAR / 2
        cell = (note.name, round(x / 4), y)  # four pixels: marks closer than that cover each other
        if cell in taken:
            continue
        taken.add(cell)
        cause = note.fields.get("cause") or note.fields.get("error") or ""
        who = f", chunk {chunk}" if chunk >= 0 else f", worker {note.worker_id}"
        tip = f"{clock_time(note.at)} {_TITLES[note.name]}{who}\n{str(cause)[:120]}"
        parts.append(f'<use href="#{_SHAPES[note.name]}" x="{num(x)}" y="{num(y)}" data-tip="{escape(tip)}"/>')
        if len(parts) >= MOST_MARKS:
            break
    return "".join(parts)


def _chunk(chunk: int, fields: Mapping[str, Any]) -> int:
    """The chunk of a note; a retry has it in its fields alone."""
    named = fields.get("chunk_id", -1)
    return chunk if chunk >= 0 or not isinstance(named, int) else named
