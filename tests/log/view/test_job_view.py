"""One view of a log, which is continued: what it may keep, and when all is read anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrengine.errors import JobNotFound, LogError
from mrengine.job.job_store import set_aside
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.codec import Frame
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.replay import Replay
from tests.log.sample import begin, failure, result


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[WriteAheadLog]:
    """The log of a job of five chunks, one of them done."""
    with WriteAheadLog.create(tmp_path / "log", "j") as log:
        begin(log, "abcde")
        log.append(codec.RESULT, result(1))
        log.commit()
        yield log


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offsets of all frames that any replay was given."""
    offsets: list[int] = []
    add: Callable[[Replay, Frame], bool] = Replay.add

    def noted(state: Replay, frame: Frame) -> bool:
        offsets.append(frame.offset)
        return add(state, frame)

    monkeypatch.setattr(Replay, "add", noted)
    return offsets


def test_catching_up_reads_each_record_once(wal: WriteAheadLog, tmp_path: Path, seen: list[int]) -> None:
    """With a writer that opened the log after it was read, as without."""
    with ResumeEngine(tmp_path) as view:
        view.catch_up(wal.durable)
        wal.append(codec.RESULT, result(2))
        view.catch_up(wal.commit())
        wal.append(codec.RESULT, result(3))
        assert [frame.kind for frame, counts in view.follow(wal.commit()) if counts] == [codec.RESULT]
        assert view.index().done == 3
        assert (view.position, view.refresh().end) == (wal.durable, wal.durable)
        assert len(seen) == len(set(seen))


def test_nothing_beyond_what_is_durable_is_read(wal: WriteAheadLog, tmp_path: Path) -> None:
    """A record that the kernel has, and the disk not yet, is nobody's news."""
    with ResumeEngine(tmp_path) as view:
        durable = wal.durable
        wal.append(codec.RESULT, result(2))
        wal.write()
        view.catch_up(durable)
        assert (view.index().done, view.position) == (1, durable)


@pytest.mark.parametrize("padded", [False, True])
def test_a_log_that_was_cut_back_is_read_anew(tmp_path: Path, *, padded: bool) -> None:
    """Its writer could not sync what it had written; another one has written as much in that place."""
    with WriteAheadLog.create(tmp_path / "log", "j") as first:
        begin(first, "abcde")
        durable = first.commit()
        first.append(codec.RESULT, result(1))
        if padded:  # the padding of both is the same
            first.commit()
        else:
            first.write()
        view = ResumeEngine(tmp_path)
    assert view.get_pending_chunks() == [0, 2, 3, 4]
    os.truncate(tmp_path / "log", durable)
    with view, WriteAheadLog.open(tmp_path / "log") as second:
        second.append(codec.RESULT, result(3))
        end = second.commit()
        assert view.position <= end
        view.catch_up(end)
        assert view.get_pending_chunks() == [0, 1, 2, 4]


def test_a_log_that_was_cut_back_and_is_shorter_is_read_anew(tmp_path: Path) -> None:
    """What the view has of its end is no more."""
    with WriteAheadLog.create(tmp_path / "log", "j") as first:
        begin(first, "abcde")
        durable = first.commit()
        first.append(codec.RESULT, result(1))
        first.commit()
    with ResumeEngine(tmp_path) as view:
        os.truncate(tmp_path / "log", durable)
        view.catch_up(durable)
        assert view.get_pending_chunks() == [0, 1, 2, 3, 4]
        assert view.position == durable


def test_damage_that_was_repaired_is_read_anew(wal: WriteAheadLog, tmp_path: Path) -> None:
    """The writer has put VOIDs there: what they stand for is lost, and no hole is in the way of following the log."""
    struck = wal.append(codec.FAILURE, failure(2))
    wal.append(codec.RESULT, result(4))
    wal.append(codec.RESULT, result(3))
    wal.commit()
    wal.append(codec.RESULT, result(0))
    wal.commit()
    with open(tmp_path / "log", "r+b") as file:
        file.seek(struck + 20)
        file.write(b"\0\1\2\3")
    with ResumeEngine(tmp_path) as view:
        assert view.recovery.damage
        with WriteAheadLog.open(tmp_path / "log") as writer:
            view.catch_up(writer.durable)
        assert (view.index().done, view.index().failed) == (4, 0)
        assert view.recovery.damage == view.refresh().damage == ()


def test_another_log_of_the_same_name_is_read_instead(wal: WriteAheadLog, tmp_path: Path) -> None:
    """The job was started from nothing."""
    with ResumeEngine(tmp_path) as view:
        held = view.results()
        set_aside(tmp_path / "log")
        with WriteAheadLog.create(tmp_path / "log", "j") as anew:
            begin(anew, "ab")
            view.catch_up(anew.commit())
            assert view.get_pending_chunks() == [0, 1]
        assert len(list(held)) == 1  # by a descriptor of its own


def test_a_view_of_a_purged_job_says_so(wal: WriteAheadLog, tmp_path: Path) -> None:
    """And what it knows can still be asked for."""
    with ResumeEngine(tmp_path) as view:
        shutil.rmtree(tmp_path)
        with pytest.raises(JobNotFound):
            view.refresh()
        assert view.index().done == 1


def test_a_hole_in_what_is_durable_is_an_error(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Nothing is announced past it."""
    with ResumeEngine(tmp_path) as view:
        at = wal.append(codec.RESULT, result(2))
        wal.append(codec.RESULT, result(3))
        end = wal.commit()
        with open(tmp_path / "log", "r+b") as file:
            file.seek(at + 20)
            file.write(b"\0\1\2\3")
        with pytest.raises(LogError, match="is damaged after byte"):
            view.catch_up(end)


def test_a_job_is_complete_once_every_task_has_its_result(wal: WriteAheadLog, tmp_path: Path) -> None:
    """Failed ones run again; so does a later round that is not done."""
    with ResumeEngine(tmp_path) as view:
        for chunk in (0, 2, 3):
            wal.append(codec.RESULT, result(chunk))
        wal.append(codec.FAILURE, failure(4))
        wal.commit()
        view.refresh()
        assert not view.complete
        wal.append(codec.RESULT, result(4))
        wal.commit()
        view.refresh()
        assert view.complete
