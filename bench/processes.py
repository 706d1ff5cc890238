"""Processes that a benchmark has started: found by a mark in their environment, ended by their pids, measured whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

__all__ = ["MARK", "PeakMemory", "end_all", "living", "new_mark"]

MARK = "BENCH_MARK"


def new_mark() -> str:
    """A mark for one program."""
    return f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"


def living(mark: str) -> list[int]:
    """Processes that were started with the mark, themselves or by a fork; not this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(entry.name)] if state not in "ZX" else []
        except OSError:
            continue
    return found


def end_all(mark: str) -> None:
    """SIGKILL to all of them, until none is left: one may fork while it is looked for."""
    until = time.monotonic() + 5
    while (pids := living(mark)) and time.monotonic() < until:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


class PeakMemory(threading.Thread):
    """The most memory that all processes of a mark had together, in MB: shared pages count for their part (PSS)."""

    def __init__(self, mark: str, every_s: float = 0.1) -> None:
        super().__init__(daemon=True)
        self._mark, self._every_s = mark, every_s
        self._over = threading.Event()
        self.peak_mb, self.processes = 0.0, 0

    def run(self) -> None:
        while not self._over.wait(self._every_s):
            pids = living(self._mark)
            self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, pids)))
            self.processes = max(self.processes, len(pids))

    def stop(self) -> float:
        """The peak."""
        self._over.set()
        self.join()
        return self.peak_mb


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:")), 0.0)
