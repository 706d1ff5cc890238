"""An open job: one owner at a time, and a log that is as it should be after whatever came before."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrengine.errors import JobBusy, LogError
from mrengine.job.job_store import JobStore
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from tests.log.sample import begin, call, result


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
