"""The charts of a report, as inline SVG. Coordinates are rounded to a tenth of a pixel; every text is escaped."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from mrengine.profiling import format_duration
from mrengine.report.numbers import Share
from mrengine.report.story import Run, Story

__all__ = ["Axis", "coverage_strip", "gantt", "histogram", "stacked_bar", "tokens_over_time"]

WIDTH, LEFT = 1000.0, 90.0
GAP = 14.0  # between two runs
SINGLE = 1_000  # tasks that are drawn one by one; more are joined where they lie closer than a pixel
SLICES = 100  # of the time, each with a tip
LANES = 64  # rows at most; beyond it a row is a worker, and beyond that several
ROW, BAR = 14.0, 10.0
MOST_MARKS = 400


class Lane(NamedTuple):
    """A row of the Gantt chart: its name, and its tasks as (start, end, index), which do not overlap."""

    name: str
    tasks: list[tuple[float, float, int]]


class Axis:
    """Time → x. Runs lie side by side; the pauses between them are short gaps."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = [run for run in runs if run.ended >= run.began]
        lengths = [max(run.ended - run.began, 0.001) for run in self.runs]
        room = WIDTH - LEFT - GAP * (len(self.runs) - 1)
        # A run of a second beside one of a day stays visible.
        least = min(20.0, room / max(1, 2 * len(self.runs)))
        whole = sum(lengths)
        widths = [least + (room - least * len(lengths)) * length / whole for length in lengths]
        self.parts: list[tuple[float, float, float, float]] = []
        x = LEFT
        for run, width in zip(self.runs, widths, strict=True):
            self.parts.append((run.began, max(run.ended, run.began + 0.001), x, x + width))
            x += width + GAP

    def x(self, at: float) -> float:
        """Where a time lies; one in a pause at the end of the run before it."""
        number = max(0, bisect_right(self.parts, at, key=lambda part: part[0]) - 1)
        began, ended, left, right = self.parts[number]
        return left + (right - left) * min(1.0, max(0.0, (at - began) / (ended - began)))

    def frame(self, height: float) -> str:
        """Lines and times: the beginning and the end of each run."""
        parts = []
        for number, (began, ended, left, right) in enumerate(self.parts, 1):
            parts.append(f'<path class="grid" d="M{_n(left)} 0V{_n(height)}M{_n(right)} 0V{_n(height)}"/>')
            if right - left > 120:
                told = _clock(began, ended)
                run = f"run {number}: " if len(self.parts) > 1 else ""
                parts.append(f'<text class="dim" x="{_n(left)}" y="{_n(height + 13)}">{run}{told}</text>')
                length = f"+{format_duration((ended - began) * 1000)}"
                parts.append(
                    f'<text class="dim" x="{_n(right)}" y="{_n(height + 13)}" text-anchor="end">{length}</text>'
                )
        return "".join(parts)

    def slices(self) -> Iterable[tuple[float, float]]:
        """The times of the runs in about a hundred parts."""
        whole = sum(right - left for _, _, left, right in self.parts)
        for began, ended, left, right in self.parts:
            count = max(1, round(SLICES * (right - left) / whole))
            step = (ended - began) / count
            for number in range(count):
                yield began + number * step, began + (number + 1) * step


def lanes(story: Story) -> list[Lane]:
    """The tasks of each worker in as many rows as ran at once: its slots, as far as they can be told."""
    rows: dict[int, list[list[tuple[float, float, int]]]] = {}
    tasks = story.tasks
    for index in sorted(range(len(tasks)), key=tasks.start.__getitem__):
        start, end = tasks.start[index], tasks.end[index]
        mine = rows.setdefault(tasks.worker[index], [])
        for row in mine:
            if row[-1][1] <= start + 0.002:
                row.append((start, end, index))
                break
        else:
            mine.append([(start, end, index)])
    found = [
        Lane(f"worker {worker}" + (f".{number}" if len(mine) > 1 else ""), row)
        for worker, mine in sorted(rows.items())
        for number, row in enumerate(mine)
    ]
    if len(found) <= LANES:
        return found
    step = math.ceil(len(found) / LANES)
    joined = [found[at : at + step] for at in range(0, len(found), step)]
    return [Lane(f"{g[0].name} …", sorted(task for lane in g for task in lane.tasks)) for g in joined]


def gantt(story: Story) -> str:
    """Rows of tasks for each worker and slot; deaths, refusals and retries marked above the row of their worker."""
    axis, rows = Axis(story.runs), lanes(story)
    height = ROW * max(1, len(rows)) + 16
    place = {lane.name: 16 + number * ROW for number, lane in enumerate(rows)}
    single = len(story.tasks) <= SINGLE
    body = [axis.frame(height)]
    for lane in rows:
        y = place[lane.name]
        body.append(f'<text x="{LEFT - 6:.0f}" y="{_n(y + 9)}" text-anchor="end">{escape(lane.name)}</text>')
        body.append(_single(story, axis, lane, y) if single else _joined(story, axis, lane, y))
    if not single:
        body.append(_slices(story, axis, height))
    body.append(_marks(story, axis, rows, place))
    label = f"Tasks over time: {len(story.tasks)} tasks in {len(rows)} rows."
    return _svg(height + 18, "".join(body), label)


def _single(story: Story, axis: Axis, lane: Lane, y: float) -> str:
    tasks = story.tasks
    parts: list[str] = []
    for start, end, index in lane.tasks:
        x, right = axis.x(start), axis.x(end)
        kind = 'class="task done"' if tasks.ok[index] else 'class="task" fill="url(#hatch)"'
        outcome = "done" if tasks.ok[index] else "failed"
        of_round = f", round {tasks.round[index]}" if tasks.round[index] else ""
        tip = f"chunk {tasks.chunk[index]}{of_round}: {outcome}, {format_duration((end - start) * 1000)}"
        parts.append(
            f'<rect {kind} x="{_n(x)}" y="{_n(y)}" width="{_n(max(1.5, right - x))}" height="{BAR:.0f}" '
            f'data-tip="{escape(tip)}" tabindex="{0 if not parts else -1}"/>'
        )
    return "".join(parts)


def _joined(story: Story, axis: Axis, lane: Lane, y: float) -> str:
    """Bars as two paths, done and failed; those closer than a pixel are one."""
    paths = []
    step = 1.0 if len(story.runs) * len(lane.tasks) < 50_000 else 2.0
    for ok, look in ((1, 'class="done"'), (0, 'fill="url(#hatch)"')):
        spans: list[list[float]] = []
        for start, end, index in lane.tasks:
            if story.tasks.ok[index] != ok:
                continue
            x, right = round(axis.x(start)), round(max(axis.x(end), axis.x(start) + 1))
            if spans and x - spans[-1][1] <= step:
                spans[-1][1] = max(spans[-1][1], right)
            else:
                spans.append([x, right])
        if spans:
            drawn = "".join(f"M{x:.0f} {y:.0f}h{right - x:.0f}v{BAR:.0f}h{x - right:.0f}z" for x, right in spans)
            paths.append(f'<path {look} d="{drawn}"/>')
    return "".join(paths)


def _slices(story: Story, axis: Axis, height: float) -> str:
    """Transparent columns whose tips tell what happened in that time."""
    tasks = story.tasks
    ends = sorted(zip(tasks.end, tasks.ok, strict=True))
    crashes = sorted(note.at for note in story.notes if note.name == "worker:crashed")
    waits = sorted(note.at for note in story.notes if note.name == "budget:wait")
    refusals = sorted(note.at for note in story.notes if note.name == "call:retry")
    parts: list[str] = []
    for since, until in axis.slices():
        first, last = bisect_right(ends, (since, -1)), bisect_right(ends, (until, 2))
        ok = sum(done for _, done in ends[first:last])
        lines = [f"{_time(since)} – {_time(until)}", f"{ok} done, {last - first - ok} failed"]
        for times, what in ((crashes, "crashes"), (waits, "waits for the limit"), (refusals, "calls tried again")):
            count = bisect_right(times, until) - bisect_right(times, since)
            lines += [f"{count} {what}"] if count else []
        x = axis.x(since)
        tip = escape("\n".join(lines))
        parts.append(
            f'<rect class="hit" x="{_n(x)}" y="0" width="{_n(max(1.0, axis.x(until) - x))}" height="{_n(height)}" '
            f'data-tip="{tip}" tabindex="{0 if not parts else -1}"/>'
        )
    return "".join(parts)


def _marks(story: Story, axis: Axis, rows: Sequence[Lane], place: dict[str, float]) -> str:
    """Deaths first: they must not be left out where there are too many marks."""
    first: dict[str, float] = {}
    for lane in rows:
        first.setdefault(lane.name.split(".")[0], place[lane.name])
    order = {"worker:crashed": 0, "chunk:retry": 1, "call:retry": 2}
    shapes = {"worker:crashed": "crash", "chunk:retry": "again", "call:retry": "refusal"}
    notes = sorted((note for note in story.notes if note.name in order), key=lambda note: order[note.name])
    parts, taken = [], set()
    for note in notes:
        x, y = axis.x(note.at), first.get(f"worker {note.worker_id}", 8.0) + 5
        cell = (note.name, round(x / 4), y)
        if cell in taken:
            continue
        taken.add(cell)
        cause = note.fields.get("cause") or note.fields.get("error") or ""
        tip = f"{_time(note.at)} {note.name}, worker {note.worker_id}\n{str(cause)[:120]}"
        parts.append(f'<use href="#{shapes[note.name]}" x="{_n(x)}" y="{_n(y)}" data-tip="{escape(tip)}"/>')
        if len(parts) >= MOST_MARKS:
            break
    return "".join(parts)


def tokens_over_time(story: Story, limit: float | None) -> str:
    """Tokens granted in the minute before each instant, against the limit."""
    axis = Axis(story.runs)
    height, top = 150.0, 8.0
    grants = sorted(zip(story.granted_at, story.granted, strict=True))
    times = [at for at, _ in grants]
    sums = [0]
    for _, tokens in grants:
        sums.append(sums[-1] + tokens)
    points = []
    for _, until in axis.slices():
        level = sums[bisect_right(times, until)] - sums[bisect_right(times, until - 60)]
        points.append((axis.x(until), level))
    most = max([level for _, level in points] + [limit or 0, 1])

    def y(level: float) -> float:
        return top + (height - top) * (1 - level / most)

    drawn = "".join(f"{'L' if number else 'M'}{_n(x)} {_n(y(level))}" for number, (x, level) in enumerate(points))
    body = [axis.frame(height), f'<path class="curve" d="{drawn or "M0 0"}"/>']
    if limit:
        body.append(f'<path class="limit" d="M{LEFT:.0f} {_n(y(limit))}H{WIDTH:.0f}"/>')
        body.append(
            f'<text x="{WIDTH:.0f}" y="{_n(y(limit) - 3)}" text-anchor="end">limit {limit:,.0f} a minute</text>'
        )
    for share in (0, 0.5, 1):
        at, told = _n(y(most * share) + 4), _short(most * share)
        body.append(f'<text class="dim" x="{LEFT - 6:.0f}" y="{at}" text-anchor="end">{told}</text>')
    for x, level in points:
        tip = f"{level:,} tokens granted in the minute before"
        body.append(
            f'<rect class="hit" x="{_n(x - 4)}" y="0" width="8" height="{height:.0f}" data-tip="{tip}" '
            f'tabindex="{0 if x == points[0][0] else -1}"/>'
        )
    return _svg(height + 18, "".join(body), f"Tokens granted a minute; at most {most:,.0f}.")


def histogram(values: Sequence[float]) -> str:
    """Sorted milliseconds in 40 bars over a logarithmic scale."""
    low, high = max(values[0], 0.01), max(values[-1], values[0] * 1.01, 0.02)
    bins = [0] * 40
    scale = math.log(high / low)
    for value in values:
        bins[min(39, int(40 * math.log(max(value, low) / low) / scale))] += 1
    most, step, height = max(bins), (WIDTH - LEFT) / 40, 120.0
    body = []
    for number, count in enumerate(bins):
        a, b = low * math.exp(scale * number / 40), low * math.exp(scale * (number + 1) / 40)
        tall = height * count / most
        x = LEFT + number * step
        tip = f"{format_duration(a)} – {format_duration(b)}: {count:,} calls"
        body.append(
            f'<rect class="call" x="{_n(x)}" y="{_n(height - tall)}" width="{_n(step - 1)}" height="{_n(tall)}"/>'
        )
        body.append(
            f'<rect class="hit" x="{_n(x)}" y="0" width="{_n(step)}" height="{height:.0f}" data-tip="{tip}" '
            f'tabindex="{-1 if number else 0}"/>'
        )
        if number % 8 == 0:
            body.append(f'<text class="dim" x="{_n(x)}" y="{height + 13:.0f}">{format_duration(a)}</text>')
    body.append(f'<text class="dim" x="{LEFT - 6:.0f}" y="12" text-anchor="end">{most:,} calls</text>')
    return _svg(height + 18, "".join(body), f"Latencies of {len(values):,} calls.")


_LOOKS = ('class="call"', 'fill="url(#dots)"', 'fill="url(#hatch)"', 'class="own"', 'class="idle"')


def stacked_bar(parts: Sequence[Share]) -> str:
    """The shares side by side."""
    whole = sum(part.seconds for part in parts) or 1.0
    x = 0.0
    body: list[str] = []
    for part, look in zip(parts, _LOOKS, strict=True):
        width = WIDTH * part.seconds / whole
        tip = escape(f"{part.name}: {part.seconds / whole:.1%}, {format_duration(part.seconds * 1000)}\n{part.what}")
        body.append(
            f'<rect {look} x="{_n(x)}" y="0" width="{_n(width)}" height="26" data-tip="{tip}" '
            f'tabindex="{-1 if body else 0}"/>'
        )
        x += width
    return _svg(26, "".join(body), "Where the time went.", wide=False)


def swatch(number: int) -> str:
    """The look of a share, for its row in the table."""
    return f'<svg viewBox="0 0 14 14" aria-hidden="true"><rect {_LOOKS[number]} width="14" height="14"/></svg>'


def coverage_strip(length: int, spans: Sequence[tuple[int, int, int]]) -> str:
    """A document from its first to its last character: done, failed, nothing yet."""
    body = []
    looks = {1: 'class="done"', 0: 'fill="url(#hatch)"', -1: 'class="idle"'}
    last = {1: -1, 0: -1, -1: -1}
    for start, end, state in spans:
        x, right = round(start * WIDTH / max(1, length)), round(end * WIDTH / max(1, length))
        if right <= last[state]:
            continue
        last[state] = right
        body.append(f'<rect {looks[state]} x="{x}" y="0" width="{max(1, right - x)}" height="12"/>')
    return _svg(12, "".join(body), "Coverage from the first to the last character.", wide=False)


def _svg(height: float, body: str, label: str, *, wide: bool = True) -> str:
    look = ' class="wide"' if wide else ""
    ratio = "" if wide else ' preserveAspectRatio="none"'
    return (
        f'<svg{look} viewBox="0 0 {WIDTH:.0f} {_n(height)}"{ratio} role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _clock(began: float, ended: float) -> str:
    form = "%Y-%m-%d %H:%M:%S" if ended - began < 86_400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(began))
