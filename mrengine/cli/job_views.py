"""Shows jobs to people: a table of all of them, a page for one, and a line whenever a running one has changed."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrengine.cli.terms import in_cli_terms
from mrengine.errors import MrengineError
from mrengine.log.format import codec
from mrengine.log.format.job_records import unpack_note
from mrengine.log.view.batch_ledger import UNDER_WAY
from mrengine.log.view.job_view import ResumeEngine
from mrengine.progress.meter import Meter, describe
from mrengine.records import JobStatus

__all__ = ["Following", "page", "size", "table"]

HEADER = ("JOB", "STATE", "CHUNKS", "SIZE", "CHANGED", "MODEL", "SOURCE", "PROMPT")
WIDTHS = {"MODEL": 24, "SOURCE": 32, "PROMPT": 48}  # of columns whose cells may be as long as they like


def table(statuses: Iterable[JobStatus]) -> list[str]:
    """A line for each job below a header; no lines where there are no jobs. Lines are cut to a terminal's width."""
    rows = [HEADER, *map(_row, statuses)]
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if not sys.stdout or not sys.stdout.isatty():
        return lines  # for grep and awk
    return [_cut(line, shutil.get_terminal_size().columns) for line in lines]


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
    """A job's status, a fact a line."""
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
    # Without an id the answer to its create call is missing: it is looked for in the provider's list.
    return f"{batch['batch_id'] or '(looked for)'}: {batch['requests']} requests to {batch['model']}, since {since}"


def _sources(status: JobStatus) -> str:
    return (status.source or "-") + (f" and {status.documents - 1} more" if status.documents > 1 else "")


def size(n_bytes: int) -> str:
    """A size for people: "1.2 MB"."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    value = float(n_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _plain(text: str) -> str:
    # Names and prompts come from anywhere: what a terminal would obey, or a line's end, must not get into a table.
    return "".join(char if char.isprintable() else "?" for char in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


EVENTS = {
    "worker:crashed": ("worker crashed", "workers crashed"),
    "call:retry": ("call refused", "calls refused"),
    "budget:wait": ("call waits for the rate limit", "calls wait for the rate limit"),
}


class Following:
    """Follows a running job from another process: a line for each status, with what happened since the last one."""

    def __init__(self, status: JobStatus) -> None:
        self._folder = Path(status.folder)
        self._meter = Meter()
        self._meter.begin(status.total, status.done + status.failed)
        self._began = status.usage.total_tokens  # those of earlier runs are not part of this one's pace
        self._read = 0  # bytes of the log that were looked through for events
        self._events()  # skips those before now

    def line(self, status: JobStatus) -> str:
        """Counts, pace, tokens, cost, time left, and what happened meanwhile, in one line."""
        meter, ended = self._meter, status.done + status.failed
        meter.total, meter.in_flight = status.total, status.in_flight
        meter.count(done=ended, failed=status.failed)
        meter.tokens = max(0, status.usage.total_tokens - self._began)
        words = [describe(meter), *self._cost(status, ended), *self._events()]
        return f"{time.strftime('%H:%M:%S')} {', '.join(words)}"

    def _cost(self, status: JobStatus, ended: int) -> list[str]:
        if not status.cost_usd:
            return []
        spent = f"${status.cost_usd:.4g}"
        return [f"{spent} of about ${status.cost_usd * status.total / ended:.3g}" if ended else spent]

    def _events(self) -> list[str]:
        """The notes in the log since the last look, counted by kind."""
        try:
            with ResumeEngine(self._folder) as stored:  # it only reads; the running supervisor is not disturbed
                since, self._read = self._read or stored.position, stored.position
                frames = stored.reader.frames(since, stored.position)
                notes = [unpack_note(frame.payload).name for frame in frames if frame.kind == codec.NOTE]
        except (MrengineError, OSError):
            return []  # the job was removed or begun anew meanwhile: the next status() says so
        counts = Counter(notes)
        return [f"{counts[name]} {words[counts[name] > 1]}" for name, words in EVENTS.items() if counts[name]]
