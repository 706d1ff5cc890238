"""What is read from a log, and the numbers that are derived from it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mrengine.errors import JobNotFound
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.report import numbers
from mrengine.report.charts import Axis, lanes
from mrengine.report.story import read_story
from tests.log.sample import result
from tests.report.logs import HOUR, write


def test_a_run_is_read_with_its_tasks_calls_notes_and_money(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=60, failed=(3, 30))
    story = read_story(tmp_path / "j")
    assert (story.state, story.total, story.done, story.failed) == ("done", 60, 58, 2)
    assert len(story.tasks) == len(story.calls) == len(story.granted) == 60
    assert {note.name for note in story.notes} == {"worker:crashed", "call:retry", "budget:wait"}
    assert [failure.chunk_id for failure in story.failures] == [3, 30]
    assert story.spending["plain"].usage.input_tokens == 6_000
    assert numbers.cost(story) == (pytest.approx(0.06), pytest.approx(0.06))


def test_the_shares_add_up_to_the_time_of_all_slots(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=60)
    story = read_story(tmp_path / "j")
    parts = {part.name: part.seconds for part in numbers.shares(story)}
    assert math.fsum(parts.values()) == pytest.approx(numbers.wall_s(story) * 6)
    assert max(parts, key=parts.__getitem__) == "model"
    assert "went to: model" in numbers.verdict(story)


def test_a_job_that_was_killed_ends_with_its_last_record(tmp_path: Path) -> None:
    write(tmp_path / "j", close=False)
    story = read_story(tmp_path / "j")
    assert story.state == "interrupted"
    assert story.runs[0].ended == max(story.tasks.end)


def test_five_runs_stand_side_by_side_without_their_pauses(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=100, runs=5)
    story = read_story(tmp_path / "j")
    assert [run.state for run in story.runs] == ["stopped"] * 4 + ["done"]
    assert numbers.wall_s(story) < HOUR
    axis = Axis(story.runs)
    places = [axis.x(at) for run in story.runs for at in (run.began, run.ended)]
    assert places == sorted(places)
    assert places[-1] == pytest.approx(1000)


def test_a_failure_that_a_later_run_mended_is_none(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=10, failed=(4,))
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    wal.append(codec.RESULT, result(4))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j")
    assert (story.failures, story.failed, story.done) == ([], 0, 10)


def test_tasks_of_one_row_do_not_overlap(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=80, workers=2, slots=3)
    rows = lanes(read_story(tmp_path / "j"))
    assert len(rows) == 6
    for row in rows:
        for (_, end, _), (start, _, _) in zip(row.tasks, row.tasks[1:], strict=False):
            assert end <= start + 0.002


def test_messages_that_differ_in_numbers_alone_are_one_cause(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=60, failed=range(0, 60, 4))
    (cause,) = numbers.causes(read_story(tmp_path / "j").failures)
    assert len(cause.failures) == 15


def test_a_folder_without_a_job_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(JobNotFound):
        read_story(tmp_path)
