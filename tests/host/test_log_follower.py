"""A run that is followed in its log: what is durable becomes events, counts and results, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import events
from mrengine.errors import InvalidResult
from mrengine.host.log_follower import LogFollower
from mrengine.host.run_summary import SummaryBuilder
from mrengine.job.driver import Note, PrintedLine
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.view.job_view import ResumeEngine
from mrengine.progress import Silent
from mrengine.records import ChunkFailure, ChunkResult
from tests.log.sample import begin, call, failure, result


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[WriteAheadLog]:
    """The log of a job of five chunks, one of them done by an earlier run."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        begin(log, "abcde")
        log.append(codec.CALL, call("earlier"))
        log.append(codec.RESULT, result(0))
        log.commit()
        yield log


@pytest.fixture
def told() -> list[Any]:
    return []


def follower(folder: Path, told: list[Any], result_type: Any = None) -> LogFollower:
    dispatcher = events.Dispatcher()
    dispatcher.on("*", told.append)
    view = ResumeEngine(folder)
    found = LogFollower(view, "j", dispatcher, Silent(), SummaryBuilder("j"), None, result_type)
    found.begin(0)
    return found


def names(told: list[Any]) -> list[str]:
    return [event.name for event in told]


def test_what_earlier_runs_did_is_no_news(wal: WriteAheadLog, tmp_path: Path, told: list[Any]) -> None:
    """It is counted as resumed, and its calls are not this run's."""
    run = follower(tmp_path, told)
    assert list(run.follow(wal.durable, outcomes=True)) == []
    summary = run.counts.summary(1.0)
    assert (summary.total_chunks, summary.resumed_chunks, summary.processed_chunks, summary.usage) == (5, 1, 0, {})
    assert names(told) == ["job:start"]
    run.close()


def test_outcomes_are_reported_once_and_counted_once(wal: WriteAheadLog, tmp_path: Path, told: list[Any]) -> None:
    """A second result of a chunk is none; results say which run they are of."""
    run = follower(tmp_path, told)
    wal.append(codec.CALL, call("new"))
    wal.append(codec.RESULT, result(1))
    wal.append(codec.RESULT, result(1, value="late"))
    wal.append(codec.FAILURE, failure(2))
    durable = wal.commit()
    outcomes = [*run.follow(durable, outcomes=True), *run.follow(durable, outcomes=True)]
    assert [(type(outcome), outcome.chunk_id) for outcome in outcomes] == [(ChunkResult, 1), (ChunkFailure, 2)]
    assert names(told) == ["job:start", "chunk:processed", "chunk:failed"]
    assert (told[1].done, told[2].done, told[2].total) == (2, 3, 5)
    summary = run.counts.summary(1.0)
    assert (summary.processed_chunks, summary.failed_chunks, summary.cost_usd) == (1, 1, 0.5)
    assert [(r.chunk_id, r.result, r.resumed) for r in run.results()] == [(0, "fine", True), (1, "fine", False)]
    assert outcomes[1] == run.results().failures[0]
    run.close()


def test_a_callback_that_raises_loses_nothing(wal: WriteAheadLog, tmp_path: Path, told: list[Any]) -> None:
    """The loop that was left goes on behind the record that it was told of last."""
    run = follower(tmp_path, told)
    for chunk in (1, 2, 3):
        wal.append(codec.RESULT, result(chunk))
    durable = wal.commit()
    for _ in run.follow(durable, outcomes=True):
        break
    assert [outcome.chunk_id for outcome in run.follow(durable, outcomes=True)] == [2, 3]
    run.close()


def test_results_are_made_of_their_type(wal: WriteAheadLog, tmp_path: Path, told: list[Any]) -> None:
    """Those of the map round."""
    run = follower(tmp_path, told, result_type=int)
    with pytest.raises(InvalidResult, match="chunk 0"):
        list(run.results())
    run.close()


def test_what_is_not_in_the_log_is_reported_too(
    wal: WriteAheadLog, tmp_path: Path, told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Crashes and retries are counted, lines go to the logger that they were written to; a provider that is away is
    told of once.
    """
    run = follower(tmp_path, told)
    retry = {"chunk_id": 1, "model": "m", "status": 503, "attempt": 1, "wait_s": 0.5, "error": "HTTP 503"}
    for _ in range(2):
        run.report(Note("call:retry", {**retry, "limited": False, "unknown": 1}))
    run.report(PrintedLine("mine", 40, "from the map function"))
    assert run.counts.retries == 2
    assert [record.getMessage() for record in caplog.records] == [
        "job j: a call to m failed and is made again: HTTP 503",
        "from the map function",
    ]
    run.close()
