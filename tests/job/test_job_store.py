"""An open job: one owner at a time, and a log that is as it should be after whatever came before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mrengine.engine.protocol import RoundSettings
from mrengine.errors import JobBusy, LogError
from mrengine.job.job_store import JobStore
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.chunk_rows import pack_chunks
from mrengine.log.format.job_records import (
    READING,
    DocumentRow,
    DocumentsRecord,
    RoundRecord,
    pack_documents,
    pack_round,
)
from mrengine.log.view.replay import Replay
from tests.log import sample
from tests.log.sample import begin, call, digest, result, row

settings = RoundSettings(round=0, models=(None,))


def other(number: int) -> DocumentRow:
    return DocumentRow(f"doc {number}", digest("x"), 10, 10, 10)


def opened(folder: Path) -> JobStore:
    return JobStore.open(folder, "j", durability="power")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job of three chunks, the second of them done."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        begin(log, "abc")
        log.append(codec.RESULT, result(1))
        log.commit()
    return tmp_path


def test_a_job_has_one_owner_at_a_time(folder: Path) -> None:
    """The second one is refused by the job's name, and may have it when the first has closed it."""
    first = opened(folder)
    with pytest.raises(JobBusy, match="job j is run by"):
        opened(folder)
    first.close()
    opened(folder).close()


def test_a_log_that_cannot_be_opened_leaves_the_job_free(folder: Path) -> None:
    """Else no repair could take the lock in this process."""
    log = folder / "log"
    whole = log.read_bytes()
    log.write_bytes(b"no log at all" * 10)
    for _ in range(2):
        with pytest.raises(LogError):
            opened(folder)
    log.write_bytes(whole)
    opened(folder).close()


def test_records_of_the_job_itself_are_part_of_its_state_at_once(folder: Path) -> None:
    """They are not replayed again."""
    job = opened(folder)
    before = job.used().spent()
    job.append(codec.CALL, call("new", 2))
    assert job.used().spent() != before
    assert job.used().spent() == job.used().spent()
    job.close()


def test_what_tasks_write_past_the_state_is_counted_once(folder: Path) -> None:
    """``used()`` reads on from where it was."""
    job = opened(folder)
    job.task_log().append(codec.CALL, call("one", 0))
    job.log.commit()
    [spent] = job.used().spent().values()
    [again] = job.used().spent().values()
    assert spent.usage == again.usage
    job.close()


def test_a_restart_keeps_the_old_log_beside_the_new_one(folder: Path) -> None:
    """Until the job is purged: it may hold what was paid for."""
    job = opened(folder)
    old = (folder / "log").read_bytes()
    job.restart()
    assert job.state.epoch is None
    job.close()
    assert (folder / "log.1").read_bytes() == old


def test_a_table_that_grows_does_not_read_the_outcomes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is still being read appends for each of its pieces. The state is the same, once it is asked for."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        begin(log, "abc", record=replace(sample.job(), settings={READING: True}), round_=False)
        log.commit()
    job = opened(tmp_path)
    job.append(codec.ROUND, pack_round(RoundRecord(0, 1.5, 3, "v1", {"open": True})))
    job.begin_round()
    assert list(job.pending(settings)) == [0, 1, 2]
    taken: list[int] = []
    outcome = job.state.add
    monkeypatch.setattr(job.state, "add", lambda frame: taken.append(frame.kind) or outcome(frame))
    for first in (3, 4):
        job.task_log().append(codec.RESULT, result(first - 3))
        job.log.commit()
        job.append(codec.DOCUMENTS, pack_documents(DocumentsRecord(first - 2, (other(first),))))
        job.append(codec.CHUNKS, pack_chunks(0, first, row(first - 2, "x", 10, 11)))
        job.log.commit()
        assert list(job.added(settings)) == [first]
    job.task_log().append(codec.RESULT, result(4))  # of a chunk that was added
    assert codec.RESULT not in taken
    job.used()
    assert taken.count(codec.RESULT) == 3
    fresh = Replay()
    with LogReader(tmp_path / "log") as reader:
        for frame in reader.frames():
            fresh.add(frame)
    for state in (job.state, fresh):
        assert state.epoch is not None
        assert (state.problems, state.end, state._lost) == ([], job.log.size, [])
        assert state.epoch.index(0).result_slots().tolist() == [0, 1, 4]
    assert job.state.epoch == replace(fresh.epoch, indexes=job.state.epoch.indexes)  # type: ignore[arg-type,union-attr]
    job.close()


def test_rows_of_a_later_round_come_after_the_outcomes_before_them(folder: Path) -> None:
    """It may begin again with other inputs: what came before is another's."""
    job = opened(folder)
    job.append(codec.CHUNKS, pack_chunks(1, 0, row()))
    job.append(codec.ROUND, pack_round(RoundRecord(1, 1.5, 1, "v1")))
    job.task_log().append(codec.RESULT, result(0, round_=1))
    job.append(codec.CHUNKS, pack_chunks(1, 0, row(text="other")))
    job.append(codec.ROUND, pack_round(RoundRecord(1, 1.5, 1, "v1")))
    job.used()
    assert job.state.epoch is not None
    assert job.state.epoch.index(1).done == 0
    job.close()
