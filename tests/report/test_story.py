"""What is read from a log, and the numbers that are derived from it."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner, RateLimit
from mrengine.errors import JobNotFound
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format import task_records as r
from mrengine.log.format.batch_records import BatchRecord, pack_batch
from mrengine.log.format.job_records import CloseRecord, NoteRecord, RoundRecord, pack_close, pack_note, pack_round
from mrengine.report import numbers
from mrengine.report.charts import Axis
from mrengine.report.gantt import batch_rows, lanes
from mrengine.report.page import render
from mrengine.report.story import LOST, read_story
from mrengine.report.trace import trace_events
from tests.log.sample import result
from tests.report.logs import HOUR, write


def test_a_run_is_read_with_its_tasks_calls_notes_and_money(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=60, failed=(3, 30))
    story = read_story(tmp_path / "j")
    assert (story.state, story.total, story.done, story.failed) == ("done", 60, 58, 2)
    assert len(story.tasks) == len(story.calls) == 60
    assert sum(story.granted) == story.spending["plain"].usage.total_tokens
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
    assert "went to calls to the model" in numbers.verdict(story)


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


def test_a_folder_without_a_job_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(JobNotFound):
        read_story(tmp_path)


def test_waits_and_lost_attempts_stand_on_the_rows_where_they_were(tmp_path: Path) -> None:
    """A chunk of worker 1 called, was lost with its worker, called again; another waited for 0.4 s."""
    write(tmp_path / "j", chunks=12, workers=2, slots=1)
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    at = read_story(tmp_path / "j").now + 1
    facts = {"workers": 2, "slots": 1, "limits": {}}
    wal.append(codec.ROUND, pack_round(RoundRecord(0, at, 12, "v1", facts)))
    wal.append(codec.INTENT, r.pack_intent(r.IntentRecord(0, 3, 0, b"d" * 16, at + 1, 10, 10, 10, "other")))
    waited = {"model": "other", "wait_ms": 400.0}
    wal.append(codec.NOTE, pack_note(NoteRecord(0, at + 1, "budget:waited", 1, 3, waited)))
    crash = {"cause": "signal 9", "exitcode": -9}
    wal.append(codec.NOTE, pack_note(NoteRecord(0, at + 3, "worker:crashed", 1, -1, crash)))
    wal.append(codec.ATTEMPT, r.pack_attempt(r.AttemptRecord(0, 3, 0, at + 3, 1, "crash", "signal 9")))
    wal.append(codec.INTENT, r.pack_intent(r.IntentRecord(0, 4, 0, b"e" * 16, at + 3, 10, 10, 10, "other")))
    wal.append(codec.CLOSE, pack_close(CloseRecord(at + 4, "stopped", {})))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j")
    lost = [index for index, ok in enumerate(story.tasks.ok) if ok == LOST]
    assert [(story.tasks.chunk[index], story.tasks.worker[index]) for index in lost] == [(3, 1), (4, -1)]
    assert story.tasks.end[lost[0]] - story.tasks.start[lost[0]] == pytest.approx(2)
    assert numbers.waited_s(story) == pytest.approx(0.4)
    page = render(story)
    assert "chunk 3: lost, 2 s" in page
    assert 'stroke="url(#dots)"' in page
    assert "Tokens granted: other" in page
    assert "it took 2 runs" in numbers.verdict(story)
    running = read_story(tmp_path / "j", state="running")
    assert len(running.in_flight) == 1


@pytest.mark.system
def test_a_wait_for_the_limit_is_in_the_log_with_its_length(tmp_path: Path) -> None:
    """As many requests as a minute allows: the last one waits, which is drawn on its task."""
    limits = {"fake": RateLimit(rpm=12)}
    settings: dict[str, Any] = {"models": "fake", "limits": limits, "target_tokens": None, "state_dir": tmp_path}
    runner = MapReduceRunner("j", strategy="sequential", **settings)
    runner.run([f"text {number}" for number in range(12)], lambda chunk, context: context.complete(chunk.text).text)
    story = read_story(tmp_path / "jobs" / "j")
    waits = [note for note in story.notes if note.name == "budget:waited"]
    assert waits[-1].chunk_id == 11
    assert numbers.waited_s(story) == pytest.approx(math.fsum(note.fields["wait_ms"] for note in waits) / 1000)
    assert 'class="wait-line" stroke="url(#dots)"' in render(story)


def test_a_limit_and_its_refusals_are_one_cause(tmp_path: Path) -> None:
    """Where most of the time goes to waits for it, nobody is told to add slots."""
    write(tmp_path / "j", chunks=60)
    story = read_story(tmp_path / "j")
    busy = sum(story.tasks.end) - sum(story.tasks.start)
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    waits = {"budget:waited": {"wait_ms": 400 * busy}, "call:retry": {"wait_s": 0.3 * busy, "status": 429}}
    for name, fields in waits.items():
        wal.append(codec.NOTE, pack_note(NoteRecord(0, story.now, name, 0, 3, fields)))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j")
    story.calls.latency_ms[:] = array("d", [value / 4 for value in story.calls.latency_ms])
    told = numbers.verdict(story)
    assert "waits for the provider’s limit, refused calls among them" in told
    assert "More slots" not in told


def test_records_of_kinds_to_come_and_notes_of_any_form_break_nothing(tmp_path: Path) -> None:
    """Whatever a later version writes beside what this one knows; a clock that was set back."""
    write(tmp_path / "j", chunks=12, close=False)
    known = {kind for name, kind in vars(codec).items() if name.isupper() and isinstance(kind, int)}
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    for kind in sorted(set(range(1, 40)) - known):
        wal.append(kind, b"\x93\x01\x02\x03")
    for name in ("budget:waited", "budget:wait", "call:retry", "worker:crashed", "batch:sent"):
        for value in ("x", None, -1.0, 1e300, {"a": 1}):
            fields = {"wait_ms": value, "wait_s": value, "chunk_id": value, "cause": value}
            wal.append(codec.NOTE, pack_note(NoteRecord(0, 5.0, name, -1, -1, fields)))
    wal.append(codec.CLOSE, pack_close(CloseRecord(1.0, "stopped", {"reason": 3})))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j")
    assert story.state == "stopped"
    assert all(run.ended >= run.began for run in story.runs)
    assert "Tasks over time" in render(story)


def test_time_at_a_batch_is_no_idle_time_and_batches_have_their_rows(tmp_path: Path) -> None:
    """Two overlap: they stand in two rows, and what they share counts once. A third is still open."""
    write(tmp_path / "j", chunks=4, workers=1, slots=1)
    before = numbers.shares(read_story(tmp_path / "j"))
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    at = read_story(tmp_path / "j").now + 100
    wal.append(
        codec.ROUND,
        pack_round(RoundRecord(0, at, 4, "v1", {"workers": 1, "slots": 1, "limits": {}})),
    )
    for number, begins, ends in ((1, 10, 50), (2, 20, 60), (3, 80, None)):
        record = BatchRecord(number, at + begins, "intent", "<any>", "token", digests=b"d" * 16 * number)
        wal.append(codec.BATCH, pack_batch(record))
        if ends is not None:
            wal.append(codec.BATCH, pack_batch(BatchRecord(number, at + ends, "ended", "<any>", "token", "name")))
    wal.append(codec.CLOSE, pack_close(CloseRecord(at + 100, "stopped", {})))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j")
    assert [(batch.requests, batch.state) for batch in story.batches] == [(1, "ended"), (2, "ended"), (3, "open")]
    assert [[batch.number for batch in row] for row in batch_rows(story)] == [[1, 3], [2]]
    parts = {part.name: part.seconds for part in numbers.shares(story)}
    assert parts["batches"] == pytest.approx(50 + 20)
    assert "batches" not in {part.name for part in before}
    assert math.fsum(parts.values()) == pytest.approx(numbers.wall_s(story))
    assert "waits for the provider’s batches" in numbers.verdict(story)
    page = render(story)
    assert "batch 2: ended, 40 s\n2 requests to &lt;any&gt;" in page
    events = [event for event in trace_events(story) if event.get("cat") == "batch"]
    assert [(event["tid"], event["dur"]) for event in events] == [(0, 40e6), (0, 20e6), (1, 40e6)]


def test_a_call_that_is_on_its_way_is_no_idle_slot(tmp_path: Path) -> None:
    write(tmp_path / "j", chunks=4, workers=1, slots=1, close=False)
    wal = WriteAheadLog.open(tmp_path / "j" / "log")
    at = read_story(tmp_path / "j").now
    wal.append(codec.INTENT, r.pack_intent(r.IntentRecord(0, 9, 0, b"d" * 16, at, 10, 10, 10, "other")))
    wal.append(codec.NOTE, pack_note(NoteRecord(0, at + 50, "budget:wait", 0, 9, {"model": "other"})))
    wal.commit()
    wal.close()
    story = read_story(tmp_path / "j", state="running")
    assert story.in_flight == (pytest.approx(at),)
    parts = {part.name: part.seconds for part in numbers.shares(story)}
    assert parts["model"] > 50
    assert parts["idle at the end"] == pytest.approx(0, abs=0.1)
    assert math.fsum(parts.values()) == pytest.approx(numbers.wall_s(story))
