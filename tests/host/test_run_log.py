"""What a run says at INFO: on a clock of the test's own."""

from __future__ import annotations

import logging

import pytest

from mrengine.host.run_log import RunLog
from mrengine.host.run_summary import SummaryBuilder
from mrengine.records import Usage


def test_progress_is_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """And before the start nothing; the time left is that of this run's own pace."""
    caplog.set_level(logging.INFO, "mrengine")
    now = 1000.0
    counts = SummaryBuilder("visits")
    told = RunLog(counts, "visits", clock=lambda: now)
    told.tick()
    assert caplog.messages == []
    counts.total, counts.resumed = 40, 10
    told.start(workers=5, models=["gpt-4o"])
    for now in (1030.0, 1059.9, 1060.0, 1100.0):  # noqa: B007  # the clock's
        told.tick()
    assert len(caplog.messages) == 2
    counts.processed, counts.failed = 9, 1
    counts.call("gpt-4o", Usage(100, 20), 0.5)
    now = 1120.0
    told.tick()
    told.end("done", counts.summary(120_500))
    assert caplog.messages == [
        "job visits starts: 40 chunks, 10 of them done by earlier runs; 5 workers, model gpt-4o",
        "job visits: 10 of 40 chunks done, 0 failed",
        "job visits: 19 of 40 chunks done, 1 failed, 120 tokens, $0.5000, about 4 min left",
        "job visits ended (done) after 2 min: 19 of 40 chunks done, 1 failed, 120 tokens, $0.5000",
    ]
