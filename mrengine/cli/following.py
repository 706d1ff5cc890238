"""Follow a running job from another process: print a line whenever something has changed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from mrengine.errors import MrengineError
from mrengine.log.format import codec
from mrengine.log.format.records import unpack_note
from mrengine.log.view.job_view import ResumeEngine
from mrengine.progress.meter import Meter, describe
from mrengine.records import JobStatus

__all__ = ["Following"]

EVENTS = {
    "worker:crashed": ("worker crashed", "workers crashed"),
    "call:retry": ("call refused", "calls refused"),
    "budget:wait": ("call waits for the rate limit", "calls wait for the rate limit"),
}


class Following:
    """Turns one look after another into lines: counts, pace, tokens, cost, time left, and what happened meanwhile."""

    def __init__(self, status: JobStatus) -> None:
        self._folder = Path(status.folder)
        self._meter = Meter()
        self._meter.begin(status.total, status.done + status.failed)
        self._began = status.usage.total_tokens
        self._read = 0
        self._events()  # those before now are not reported

    def line(self, status: JobStatus) -> str:
        """A line for the job as it is now."""
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
        """How often what has happened since the last look."""
        try:
            with ResumeEngine(self._folder) as stored:
                since, self._read = self._read or stored.position, stored.position
                frames = stored.reader.frames(since, stored.position)
                notes = [unpack_note(frame.payload).name for frame in frames if frame.kind == codec.NOTE]
        except (MrengineError, OSError):  # removed meanwhile, or written anew: the status tells
            return []
        found = Counter(notes)
        return [f"{found[name]} {words[found[name] > 1]}" for name, words in EVENTS.items() if found[name]]
