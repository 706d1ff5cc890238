"""The plots of the page, as SVG that is readable in dark and light; a picture loads nothing and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from bench.page.results import Results, show

__all__ = ["PLOTS", "bars", "lines"]

WIDTH, BAR, GAP, LEFT = 720, 20, 8, 250
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.bar{fill:#8c959f}.ours{fill:#0969da}"
    ".axis,.fit{stroke:#8c959f;fill:none}.fit{stroke-dasharray:5 4}.dot{fill:#0969da}.dot.b{fill:#bc4c00}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours,.dot{fill:#4493f8}.dot.b{fill:#f0883e}}"
)


def bars(title: str, values: Sequence[tuple[str, float]], unit: str, *, log: bool = False) -> str:
    """A bar for each value. ``log``: lengths are logarithms, and the title says so."""
    height = 40 + len(values) * (BAR + GAP)
    most = max(value for _, value in values)
    least = min((value for _, value in values if value > 0), default=1.0)
    parts = [f'<text x="8" y="20" font-weight="600">{escape(title)}{" (logarithmic)" if log else ""}</text>']
    for number, (name, value) in enumerate(values):
        share = _log_share(value, least, most) if log else value / most
        y, length = 36 + number * (BAR + GAP), max(1.0, share * (WIDTH - LEFT - 110))
        kind = "bar ours" if name.startswith("mrengine") else "bar"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 15}">{escape(f"{show(value)} {unit}".strip())}</text>')
    return _svg(title, height, parts)


def _log_share(value: float, least: float, most: float) -> float:
    """The least has a tenth of the longest bar."""
    if value <= 0 or most <= least:
        return 0.0 if value <= 0 else 1.0
    return 0.1 + 0.9 * math.log(value / least) / math.log(most / least)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """Points on logarithmic axes, with a line of slope 1 through the last of each series: linear growth."""
    every = [point for points in series.values() for point in points]
    low = [math.log(min(point[axis] for point in every)) for axis in (0, 1)]
    high = [math.log(max(point[axis] for point in every)) for axis in (0, 1)]
    height, left, top, bottom = 320, 70, 40, 270

    def at(point: tuple[float, float]) -> tuple[float, float]:
        share = [(math.log(point[axis]) - low[axis]) / ((high[axis] - low[axis]) or 1) for axis in (0, 1)]
        return left + share[0] * (WIDTH - left - 170), bottom - share[1] * (bottom - top)

    parts = [f'<text x="8" y="20" font-weight="600">{escape(title)}</text>']
    parts.append(f'<path class="axis" d="M{left} {top}V{bottom}H{WIDTH - 150}"/>')
    parts.append(f'<text x="{WIDTH - 150}" y="{bottom + 34}" text-anchor="end">{escape(x)}</text>')
    parts.append(f'<text x="{left}" y="{top - 4}">{escape(y)}</text>')
    for number, (name, points) in enumerate(series.items()):
        kind = "dot" if number == 0 else "dot b"
        end = points[-1]
        start = max(points[0][0], end[0] * math.exp(low[1]) / end[1])
        (x1, y1), (x2, y2) = at((start, end[1] * start / end[0])), at(end)
        parts.append(f'<path class="fit" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')
        for point in points:
            cx, cy = at(point)
            parts.append(f'<circle class="{kind}" cx="{cx:.1f}" cy="{cy:.1f}" r="4"/>')
            parts.append(
                f'<text x="{cx:.1f}" y="{bottom + 16}" text-anchor="middle">{show(point[0])}</text>'
                if number == 0
                else ""
            )
        parts.append(f'<text x="{x2 + 10:.1f}" y="{y2 + 4:.1f}">{escape(name)}</text>')
    return _svg(title, height, parts)


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *filter(None, parts), "</svg>", ""])


def _bars(
    bench: str, name: str, value: str, title: str, unit: str, *, log: bool = False, **wanted: Any
) -> Callable[[Results], str]:
    def plot(results: Results) -> str:
        rows = [row for row in results.rows(bench, **wanted) if row.get(value) is not None]
        return bars(title, [(str(row[name]), float(row[value])) for row in rows], unit, log=log)

    return plot


def _growth(results: Results) -> str:
    (row,) = results.rows("growth", of="chunks")
    above = [max(1e-4, cost - row["start_cpu_s"]) for cost in row["cpu_s"]]
    points = list(zip(map(float, row["sizes"]), above, strict=True))
    return lines(
        "CPU of a job less that of its start, by chunks; dashed: linear",
        {f"n^{row['exponent']:.2f}": points},
        "chunks",
        "CPU seconds",
    )


PLOTS: dict[str, Callable[[Results], str]] = {
    "pool": _bars("pool", "pool", "tasks_per_s", "No-op tasks a second", ""),
    "calls": _bars("calls", "client", "cpu_ms_a_call", "CPU of a call", "ms"),
    "chunking": _bars(
        "chunking",
        "tool",
        "ratio",
        "Prose, 6,000 tokens a chunk: CPU over one tokenizer pass",
        "×",
        text="prose",
        target=6000,
    ),
    "durable": _bars("durable", "tool", "steps_per_s", "Durable steps a second", "", log=True),
    "memory": _bars("memory", "tool", "peak_mb", "Peak memory of all processes", "MB"),
    "startup": _bars("startup", "tool", "first_request_s", "From the start of the program to the first request", "s"),
    "growth": _growth,
}
