"""Progress as log lines where stderr is no terminal."""

from __future__ import annotations

import io
import logging

import pytest

from mrengine.events import JobStart
from mrengine.progress import Silent, open_progress
from mrengine.progress.watching import Lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_every_half_minute_and_none_of_a_short_run(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO, logger="mrengine.progress"):
        lines = open_progress(None, stream=io.StringIO(), clock=clock)
        assert isinstance(lines, Lines)
        lines(JobStart(job_id="j", at=0.0, total=40, resumed=10))
        assert caplog.messages == []
        for _ in range(6):
            clock.now += 10
            lines.tick()
    assert [message.split(",")[0] for message in caplog.messages] == ["10/40 chunks"] * 2


def test_nothing_is_made_for_lines_that_nobody_takes() -> None:
    assert isinstance(open_progress(None, stream=io.StringIO()), Silent)
