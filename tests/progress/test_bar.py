"""The meter's arithmetic, and the bar on a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine import MapReduceRunner, map_prompt
from mrengine.events import (
    BatchEnded,
    BatchProgress,
    BatchSubmitted,
    BudgetWait,
    ChunkFailed,
    ChunkProcessed,
    JobComplete,
    JobDraining,
    JobStart,
)
from mrengine.progress import Bar, Meter, Silent, describe, open_progress
from mrengine.progress import meter as meter_module
from mrengine.progress.watching import Lines
from mrengine.records import RunSummary, Usage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, *, width: int = 80) -> Iterator[tuple[TextIO, list[bytes]]]:
    """The user's end of a pseudo-terminal, and what was written to it (complete after the block)."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    master, slave = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(width))  # rich asks the standard streams, which are no terminal here
    written: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(master, 4096):
                written.append(data)
        except OSError:  # Linux says EIO when the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(slave, "w") as stream:
            yield stream, written
    finally:
        reader.join(10)
        os.close(master)


def processed(done: int, total: int) -> ChunkProcessed:
    return ChunkProcessed(
        job_id="j", at=0.0, chunk_id=done - 1, document_id="d", model="m", worker_id=0, attempt=1, duration_ms=1.0,
        usage=Usage(), cost_usd=None, done=done, total=total, progress=done / total,
    )  # fmt: skip


def failed(done: int, total: int) -> ChunkFailed:
    return ChunkFailed(
        job_id="j", at=0.0, chunk_id=done - 1, document_id="d", model="m", kind="error", error="ValueError", attempts=1,
        done=done, total=total, progress=done / total,
    )  # fmt: skip


def test_meter_leaves_resumed_chunks_out_of_the_pace() -> None:
    """100 resumed, 10 done in 5 s: 2 a second, and 45 s for the other 90."""
    clock = Clock()
    meter = Meter(clock=clock)
    meter.begin(200, 100)
    assert meter.eta_s is None
    clock.now += 5
    meter.count(done=110, failed=0)
    assert meter.per_second == pytest.approx(2)
    assert meter.eta_s == pytest.approx(45)


def test_meter_forgets_an_old_pace() -> None:
    """After a minute at another pace the window holds that pace only."""
    clock = Clock()
    meter = Meter(clock=clock)
    meter.begin(10_000, 0)
    for second in range(1, 121):
        clock.now += 1
        meter.count(done=second * 100 if second <= 60 else 6000 + (second - 60), failed=0)
    assert meter.per_second == pytest.approx(1, rel=0.1)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50))))
def test_meter_never_goes_out_of_range(steps: list[tuple[float, int]]) -> None:
    """Whatever the times: no division by zero, no negative time, few samples."""
    clock = Clock()
    meter = Meter(clock=clock)
    total = sum(n for _, n in steps)
    meter.begin(total, 0)
    done = 0
    for wait_s, n in steps:
        clock.now += wait_s
        done += n
        meter.count(done=done, failed=0)
        assert meter.eta_s is None or meter.eta_s >= 0
        assert describe(meter)
    assert len(meter._samples) <= meter_module.WINDOW_S / meter_module.SAMPLE_S + 2


def test_line_says_what_matters() -> None:
    """Counts, failures, pace, time left and state, in words."""
    clock = Clock()
    meter = Meter(clock=clock)
    meter.begin(40, 0)
    clock.now += 4
    meter.count(done=12, failed=1)
    assert describe(meter, "draining") == "12/40 chunks, draining, 1 failed, 3.0/s, 0:09 left"


def test_the_bar_gives_way_before_the_time_left_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the pace, then what is being done; no line is longer than the terminal."""
    for width, bar_seen, parts in (
        (80, True, ["draining, 2 in flight", "1.0/s"]),
        (66, True, ["draining, 2 in flight", "1.0/s"]),
        (52, False, ["draining, 2 in flight"]),
        (30, False, []),
    ):
        clock = Clock()
        with terminal(monkeypatch, width=width) as (stream, written):
            bar = open_progress(True, stream=stream, clock=clock)
            bar(JobStart(job_id="j", at=0.0, total=400, resumed=0))
            clock.now += 1
            bar(processed(2, 400))
            clock.now += 1
            written.clear()
            bar(JobDraining(job_id="j", at=0.0, in_flight=2))
            bar.close()
        last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(written).decode()).strip().splitlines()[-1]
        assert ("━" in last) is bar_seen, width
        assert "2/400 chunks" in last
        assert re.search(r"\d:\d\d left", last)
        assert all(part in last for part in parts), width
        assert len(last) < width


def test_an_error_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
    """The bar is off the screen when run() raises, whatever it raises."""
    with terminal(monkeypatch) as (stream, written):
        monkeypatch.setattr(sys, "stderr", stream)
        runner = MapReduceRunner(models="fake", progress=True, workers=1)

        def strike(_event: Any) -> None:
            raise KeyboardInterrupt

        runner.on("chunk:processed", strike)
        with pytest.raises(KeyboardInterrupt):
            runner.run("The fever fell.", map_prompt("x"))
        stream.write("Traceback")
        stream.flush()
    shown = b"".join(written)
    assert b"chunk" in shown
    assert re.search(rb"\x1b\[2KTraceback$", shown)


def test_no_bar_where_nobody_sees_it() -> None:
    """None means only on a terminal; False means never."""
    assert isinstance(open_progress(None, stream=io.StringIO()), Silent)
    assert isinstance(open_progress(False), Silent)
    closed = io.StringIO()
    closed.close()
    assert isinstance(open_progress(None, stream=closed), Silent)


def test_bar_draws_on_a_terminal_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts and the draining are seen; stdout and stderr stay whose they were; no thread is left."""
    out, err, threads = sys.stdout, sys.stderr, threading.active_count()
    clock = Clock()
    with terminal(monkeypatch) as (stream, written):
        bar = open_progress(None, stream=stream, clock=clock)
        assert isinstance(bar, Bar)
        bar(JobStart(job_id="j", at=0.0, total=4, resumed=1))
        for done in (2, 3):
            clock.now += 1
            bar(processed(done, 4))
        assert threading.active_count() == threads + 1  # the terminal's reader
        assert (sys.stdout, sys.stderr) == (out, err)
        bar(BudgetWait(job_id="j", at=0.0, model="m", wait_ms=5000.0))
        clock.now += 1
        bar.tick()
        bar(JobDraining(job_id="j", at=0.0, in_flight=2))
        clock.now += 1
        bar(failed(4, 4))
        bar(JobComplete(job_id="j", at=0.0, summary=RunSummary("j")))
        bar.close()
        bar.state("after the end nothing is drawn")
    text = b"".join(written).decode()
    for part in ("1/4 chunks", "3/4 chunks", "waiting for the rate limit", "draining, 2 in flight", "1 failed"):
        assert part in text
    assert "after the end" not in text
    assert text.endswith("\x1b[2K") or "\x1b[2K" in text[-40:]  # the line is wiped


def test_bar_is_drawn_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand events in no time cost one drawing."""
    clock = Clock()
    with terminal(monkeypatch) as (stream, written):
        bar = open_progress(True, stream=stream, clock=clock)
        bar(JobStart(job_id="j", at=0.0, total=1000, resumed=0))
        for done in range(1, 1000):
            bar(processed(done, 1000))
        bar.close()
    assert b"".join(written).count(b"chunks") <= 3


def test_batches_that_a_run_waits_for_are_counted_together() -> None:
    said = Lines(clock=Clock())
    at = {"job_id": "j", "at": 0.0, "model": "m"}
    said(JobStart(job_id="j", at=0.0, total=8, resumed=0))
    said(BatchSubmitted(**at, batch_id="b1", requests=5))
    said(BatchSubmitted(**at, batch_id="b2", requests=3))
    said(BatchProgress(**at, batch_id="b1", state="in_progress", requests=5, done=3, failed=1))
    assert said.doing() == "waiting for batches (4 of 8 requests done)"
    said(BatchEnded(**at, batch_id="b1", state="completed", requests=5, answered=4, refused=1))
    assert said.doing() == "waiting for batches (0 of 3 requests done)"
    said(BatchEnded(**at, batch_id="b2", state="expired", requests=3, answered=0, refused=0))
    assert said.doing() == ""
