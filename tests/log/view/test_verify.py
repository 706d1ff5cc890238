"""A check of a whole log names what is wrong with it, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrengine.errors import JobNotFound
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec, job_records
from mrengine.log.format.chunk_rows import pack_chunks
from mrengine.log.view.verify import verify
from tests.log.sample import begin, digest, every_kind, job, result, row

DOCUMENT = job_records.DocumentRow("doc", digest("doc"), 0, 10, 10)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with every kind of record, and one RESULT that makes no sense of its key."""
    with WriteAheadLog.create(tmp_path / "log", "j") as wal:
        every_kind(wal)
    return tmp_path / "log"


def test_a_sound_log_is_counted(log: Path) -> None:
    """Record by record; padding is none."""
    found = verify(log.parent)
    assert found.sound
    assert dict(found.records) == dict.fromkeys(codec.KIND_NAMES[1:], 1)
    assert (found.damage, found.repaired, found.torn, found.bytes) == ((), (), 0, log.stat().st_size)


def test_damage_is_named_and_what_was_repaired_is_reported_apart(log: Path) -> None:
    """The same range, before and after an opening that repairs."""
    with LogReader(log) as reader:
        hit = next(frame for frame in reader.frames() if frame.kind == codec.FAILURE)
    data = bytearray(log.read_bytes())
    data[hit.offset + 30] ^= 1
    log.write_bytes(data + b"torn")
    found = verify(log.parent)
    assert not found.sound
    assert (found.damage, found.torn) == (((hit.offset, hit.end),), 4)
    assert log.read_bytes() == bytes(data) + b"torn"
    WriteAheadLog.open(log).close()
    found = verify(log.parent)
    assert found.sound
    assert (found.damage, found.repaired) == ((), ((hit.offset, hit.end),))


def test_records_that_make_no_sense_are_named(log: Path) -> None:
    """Not msgpack; a chunk that the job has not."""
    with WriteAheadLog.open(log) as wal:
        first = wal.append(codec.RESULT, result(0)[:-3])
        second = wal.append(codec.RESULT, result(99))
        wal.commit()
    found = verify(log.parent)
    assert not found.sound
    assert [offset for offset, _ in found.problems] == [first, second]


def test_rows_that_could_not_be_read_are_replaced_by_those_that_were_cut_again(tmp_path: Path) -> None:
    """Until then the record is named."""
    with WriteAheadLog.create(tmp_path / "log", "j") as wal:
        wal.append(codec.JOB, job_records.pack_job(job()))
        wal.append(codec.DOCUMENTS, job_records.pack_documents(job_records.DocumentsRecord(0, (DOCUMENT,))))
        lost = wal.append(codec.CHUNKS, b"\xc1" * 90)
        wal.commit()
        assert [offset for offset, _ in verify(tmp_path).problems] == [lost]
        wal.append(codec.CHUNKS, pack_chunks(0, 0, row()))
        wal.append(codec.ROUND, job_records.pack_round(job_records.RoundRecord(0, 1.5, 1, "v1")))
        wal.commit()
        assert verify(tmp_path).sound
        further = wal.append(codec.CHUNKS, b"\xc1" * 90)  # nothing was cut again behind it
        wal.commit()
    assert [offset for offset, _ in verify(tmp_path).problems] == [further]


def test_what_names_no_task_is_replaced_when_all_have_their_result(tmp_path: Path) -> None:
    """Which of them it was about, nobody can tell."""
    with WriteAheadLog.create(tmp_path / "log", "j") as wal:
        begin(wal)
        wal.append(codec.RESULT, result(0))
        wrong = [wal.append(kind, b"\xc1" * 90) for kind in (codec.INTENT, codec.CALL, codec.RESULT)]
        wal.append(codec.RESULT, result(1))
        wal.commit()
        assert [offset for offset, _ in verify(tmp_path).problems] == wrong
        wal.append(codec.RESULT, result(2))
        wal.commit()
    assert verify(tmp_path).sound


def test_no_log_is_no_job(tmp_path: Path) -> None:
    """JobNotFound."""
    with pytest.raises(JobNotFound):
        verify(tmp_path)
