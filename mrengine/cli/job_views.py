"""Shows jobs to people: a table of all of them, a page for one."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrengine.cli.terms import in_cli_terms
from mrengine.log.view.batch_ledger import UNDER_WAY
from mrengine.records import JobStatus

__all__ = ["page", "size", "table"]

HEADER = ("JOB", "STATE", "CHUNKS", "SIZE", "CHANGED", "MODEL", "SOURCE", "PROMPT")
WIDTHS = {"MODEL": 24, "SOURCE": 32, "PROMPT": 48}


def table(statuses: Iterable[JobStatus]) -> list[str]:
    """A line for each job below a header; nothing where there is none. On a terminal no line is wider than it."""
    rows = [HEADER, *map(_row, statuses)]
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return (
        [_cut(line, shutil.get_terminal_size().columns) for line in lines]
        if sys.stdout and sys.stdout.isatty()
        else lines
    )


def _row(status: JobStatus) -> Sequence[str]:
    failed = f", {status.failed} failed" if status.failed else ""
    cells = (
        status.job_id,
        status.state,
        f"{status.done}/{status.total}{'…' * status.total_so_far}{failed}",
        size(status.size_bytes),
        time.strftime("%Y-%m-%d %H:%M %z", time.localtime(status.updated)),
        ", ".join(status.models) or "-",
        _sources(status),
        status.function or "-",
    )
    return [_cut(_plain(cell), WIDTHS.get(name, 1000)) for name, cell in zip(HEADER, cells, strict=True)]


def page(status: JobStatus) -> str:
    """All that is known of a job, a line each."""
    used = status.usage
    rows: list[tuple[str, Any]] = [
        ("job", status.job_id),
        ("state", status.state),
        ("chunks", f"{status.done} done, {status.failed} failed, of {status.total}{' so far' * status.total_so_far}"),
        ("in flight", status.in_flight),
        ("model", ", ".join(status.models) or "-"),
        ("source", _sources(status)),
        ("prompt", status.function or "-"),
        ("tokens", f"{used.total_tokens:,}: {used.input_tokens:,} of prompts, {used.output_tokens:,} of answers"),
        ("cost", "unknown" if status.cost_usd is None else f"${status.cost_usd:.4f}"),
        ("size", size(status.size_bytes)),
        ("folder", status.folder),
    ]
    rows += [("batch", _batch(one)) for one in status.batches if one["state"] in UNDER_WAY]
    if over := [one for one in status.batches if one["state"] not in UNDER_WAY]:
        rows.append(("batches", f"{len(over)} over: {sum(one.get('answered', 0) for one in over)} requests answered"))
    if status.reason:
        rows.append(("why", in_cli_terms(status.reason)))
    if status.eta_s is not None:
        rows.append(("left", f"about {status.eta_s:.0f} s"))
    return "\n".join(f"{name + ':':<11}{_plain(str(value))}" for name, value in rows)


def _batch(batch: Mapping[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M %z", time.localtime(batch["began"]))
    return f"{batch['batch_id'] or '(looked for)'}: {batch['requests']} requests to {batch['model']}, since {since}"


def _sources(status: JobStatus) -> str:
    return (status.source or "-") + (f" and {status.documents - 1} more" if status.documents > 1 else "")


def size(n_bytes: int) -> str:
    """As "1.2 MB"."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    value = float(n_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _plain(text: str) -> str:
    """Without what a terminal would obey: names and prompts come from anywhere."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
