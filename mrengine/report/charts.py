"""The charts of a report, as inline SVG. Coordinates are rounded to a tenth of a pixel; every text is escaped."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from html import escape
from itertools import accumulate

from mrengine.profiling import format_duration
from mrengine.report.numbers import Share
from mrengine.report.story import DONE, FAILED, PENDING, Run

__all__ = [
    "LEFT",
    "Axis",
    "box",
    "clock_time",
    "coverage_strip",
    "histogram",
    "line",
    "num",
    "stacked_bar",
    "svg",
    "swatch",
    "tokens_over_time",
]

WIDTH, LEFT = 1000.0, 90.0
GAP = 14.0  # between two runs
FAR = 5  # a limit more than so many times above what was used is named, not drawn
SLICES = 100  # of the time, each with a tip


class Axis:
    """Time → x. Runs lie side by side; the pauses between them are short gaps."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = [run for run in runs if run.ended >= run.began]
        lengths = [max(run.ended - run.began, 0.001) for run in self.runs]
        room = WIDTH - LEFT - GAP * (len(self.runs) - 1)
        # A run of a second beside one of a day stays visible.
        least = min(20.0, room / max(1, 2 * len(self.runs)))  # at most half of the room goes into visibility
        whole = sum(lengths)
        widths = [least + (room - least * len(lengths)) * length / whole for length in lengths]
        self.parts: list[tuple[float, float, float, float]] = []
        x = LEFT
        for run, width in zip(self.runs, widths, strict=True):
            self.parts.append((run.began, max(run.ended, run.began + 0.001), x, x + width))
            x += width + GAP

    def x(self, at: float) -> float:
        """The x of a time; a time in a pause lies at the end of the run before it."""
        number = max(0, bisect_right(self.parts, at, key=lambda part: part[0]) - 1)
        began, ended, left, right = self.parts[number]
        return left + (right - left) * min(1.0, max(0.0, (at - began) / (ended - began)))

    def frame(self, height: float) -> str:
        """Grid lines at the beginning and the end of each run, with labels as far as they fit."""
        parts = []
        for number, (began, ended, left, right) in enumerate(self.parts, 1):
            parts.append(f'<path class="grid" d="M{num(left)} 0V{num(height)}M{num(right)} 0V{num(height)}"/>')
            room, several = right - left, len(self.parts) > 1
            label = f"run {number}" if several and room > 32 else ""
            if room > (250 if several else 190):
                label += (": " if label else "") + _clock(began, ended)
            if label:
                parts.append(f'<text class="dim" x="{num(left)}" y="{num(height + 13)}">{label}</text>')
            if room > 100:
                length = f"+{format_duration((ended - began) * 1000)}"
                parts.append(
                    f'<text class="dim" x="{num(right)}" y="{num(height + 13)}" text-anchor="end">{length}</text>'
                )
        return "".join(parts)

    def slices(self) -> Iterable[tuple[float, float]]:
        """The time of all runs in about a hundred parts of equal width."""
        whole = sum(right - left for _, _, left, right in self.parts)
        for began, ended, left, right in self.parts:
            count = max(1, round(SLICES * (right - left) / whole))
            step = (ended - began) / count
            for number in range(count):
                yield began + number * step, began + (number + 1) * step


def tokens_over_time(axis: Axis, grants: Sequence[tuple[float, int]], limit: float | None) -> str:
    """Tokens in the minute before each instant, against the limit. ``grants``: (when, tokens), sorted."""
    height, top = 120.0, 16.0
    # Prefix sums: the level of a minute is a difference of two.
    times = [at for at, _ in grants]
    sums = list(accumulate((tokens for _, tokens in grants), initial=0))
    points = []
    for _, until in axis.slices():
        level = sums[bisect_right(times, until)] - sums[bisect_right(times, until - 60)]
        points.append((axis.x(until), level))
    used = max([1, *(level for _, level in points)])
    near = limit is not None and limit <= FAR * used  # against a far limit the curve would be a flat line
    most = limit if near and limit is not None and limit > used else used

    def y(level: float) -> float:
        return top + (height - top) * (1 - level / most)

    drawn = "".join(f"{'L' if number else 'M'}{num(x)} {num(y(level))}" for number, (x, level) in enumerate(points))
    body = [axis.frame(height), f'<path class="curve" d="{drawn or "M0 0"}"/>']
    if limit:
        line_y, label = (y(limit), "") if near else (top, "; far above what was used")
        body.append(f'<path class="limit" d="M{LEFT:.0f} {num(line_y)}H{WIDTH:.0f}"/>' if near else "")
        label = f"limit: {limit:,.0f} a minute{label}"
        body.append(f'<text x="{LEFT + 6:.0f}" y="{num(line_y - 4)}">{label}</text>')
    for share in (0, 0.5, 1):
        at, label = num(y(most * share) + 4), _short(most * share)
        body.append(f'<text class="dim" x="{LEFT - 6:.0f}" y="{at}" text-anchor="end">{label}</text>')
    for number, (x, level) in enumerate(points):
        tip = f"{level:,} tokens in the minute before" + (f", {level / limit:.0%} of the limit" if limit else "")
        body.append(box('class="hit"', x - 4, 0, 8, height, tip, first=not number))
    return svg(height + 18, "".join(body), f"Tokens a minute; at most {most:,.0f}.")


def histogram(values: Sequence[float]) -> str:
    """Sorted milliseconds in 40 bars over a logarithmic scale: latencies differ by orders of magnitude."""
    low, high = max(values[0], 0.01), max(values[-1], values[0] * 1.01, 0.02)  # a logarithm needs both, and apart
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
            f'<rect class="call" x="{num(x)}" y="{num(height - tall)}" width="{num(step - 1)}" height="{num(tall)}"/>'
        )
        body.append(box('class="hit"', x, 0, step, height, tip, first=not number))
        if number % 8 == 0:
            body.append(f'<text class="dim" x="{num(x)}" y="{height + 13:.0f}">{format_duration(a)}</text>')
    body.append(f'<text class="dim" x="{LEFT - 6:.0f}" y="12" text-anchor="end">{most:,} calls</text>')
    end = f'y="{height + 13:.0f}" text-anchor="end"'
    body.append(f'<text class="dim" x="{WIDTH:.0f}" {end}>{format_duration(values[-1])}</text>')
    body.append(f'<text class="dim" x="{LEFT - 6:.0f}" {end}>took</text>')
    return svg(height + 18, "".join(body), f"Latencies of {len(values):,} calls.")


# Patterns beside colours: a print in grey, or a reader who does not see them, can still tell the parts apart.
_LOOKS = {
    "model": 'class="call"',
    "token limit": 'fill="url(#dots)"',
    "refused calls": 'fill="url(#hatch)"',
    "batches": 'fill="url(#bars)"',
    "map function": 'class="own"',
    "lost work": 'fill="url(#lost)"',
    "starting": 'fill="url(#lines)"',
    "idle at the end": 'class="idle"',
    "idle between": 'fill="url(#grains)"',
}


def stacked_bar(parts: Sequence[Share]) -> str:
    """The shares side by side."""
    whole = sum(part.seconds for part in parts) or 1.0
    x = 0.0
    body: list[str] = []
    for part in parts:
        width = WIDTH * part.seconds / whole
        tip = f"{part.name}: {part.seconds / whole:.1%}, {format_duration(part.seconds * 1000)}\n{part.what}"
        body.append(box(_LOOKS[part.name], x, 0, width, 26, tip, first=not body))
        x += width
    return svg(26, "".join(body), "Where the time went.", wide=False)


def swatch(name: str) -> str:
    """The look of a share, for its row in the table."""
    return f'<svg viewBox="0 0 14 14" aria-hidden="true"><rect {_LOOKS[name]} width="14" height="14"/></svg>'


def coverage_strip(length: int, spans: Sequence[tuple[int, int, int]]) -> str:
    """A document from its first to its last character: done, failed, nothing yet."""
    paints = {DONE: "var(--done)", FAILED: "url(#hatch)", PENDING: "var(--idle)"}
    drawn: dict[int, list[list[int]]] = {state: [] for state in paints}
    for start, end, state in spans:
        x, right = round(start * WIDTH / max(1, length)), round(end * WIDTH / max(1, length))
        pixels = drawn[state]
        if pixels and x <= pixels[-1][1]:
            pixels[-1][1] = max(pixels[-1][1], right)
        else:
            pixels.append([x, max(x + 1, right)])  # a chunk of a large document stays visible
    body = [
        f'<path class="strip" stroke="{paint}" d="{line(drawn[state], 6)}"/>'
        for state, paint in paints.items()
        if drawn[state]
    ]
    return svg(12, "".join(body), "Coverage from the first to the last character.", wide=False)


def line(spans: Sequence[Sequence[int]], y: float) -> str:
    """Spans as a broken line in relative coordinates, a third of the bytes of boxes."""
    drawn, at = [f"M{spans[0][0]} {num(y)}"], spans[0][0]
    for x, right in spans:
        drawn.append(f"m{x - at} 0h{right - x}" if x != at else f"h{right - x}")
        at = right
    return "".join(drawn)


def box(look: str, x: float, y: float, width: float, height: float, tip: str, *, first: bool) -> str:
    """A rectangle with a tip. Only the first of a chart is a tab stop: arrow keys lead to the others."""
    place = f'x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}"'
    return f'<rect {look} {place} data-tip="{escape(tip)}" tabindex="{0 if first else -1}"/>'


def svg(height: float, body: str, label: str, *, wide: bool = True) -> str:
    """A drawing as an image with a label. ``wide``: it keeps its proportions; else it fills the width it is given."""
    look = ' class="wide"' if wide else ""
    ratio = "" if wide else ' preserveAspectRatio="none"'
    box = f'viewBox="0 0 {WIDTH:.0f} {num(height)}"{ratio}'
    return f'<svg{look} {box} role="img" aria-label="{escape(label)}">{body}</svg>'


def num(value: float) -> str:
    """A coordinate, rounded to a tenth."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def clock_time(at: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def _clock(began: float, ended: float) -> str:
    form = "%Y-%m-%d %H:%M:%S" if ended - began < 86_400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(began))
