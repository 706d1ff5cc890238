"""The log's file: what a commit costs and promises, and what a failing disk does to it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mrengine.errors import LogError
from mrengine.log.file.reader import LogReader
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.codec import Frame
from tests.log.disk import MemoryDisk
from tests.log.sample import result

ROOT = Path(__file__).resolve().parents[2]


def records(path: str, disk: MemoryDisk | None = None) -> dict[int, bytes]:
    """Offset → payload of what an opening keeps, padding left out."""
    seen: list[Frame] = []
    WriteAheadLog.open(path, files=disk, take=seen.extend).close()
    return {frame.offset: frame.payload for frame in seen if frame.kind != codec.VOID}


def test_what_was_committed_is_read_back(tmp_path: Path) -> None:
    """By opening and by a reader; a record keeps its offset."""
    path = tmp_path / "log"
    with WriteAheadLog.create(path, "job-1") as wal:
        offsets = [wal.append(codec.RESULT, result(chunk)) for chunk in range(100)]
        assert wal.durable == codec.HEADER_BYTES
        assert wal.commit() == wal.durable == wal.size
    with LogReader(path) as reader:
        assert reader.header.job_id == "job-1"
        assert [reader.payload(offset) for offset in offsets] == [result(chunk) for chunk in range(100)]
    assert list(records(str(path))) == offsets


def test_a_group_is_one_write_and_one_sync() -> None:
    """However many records; a commit with nothing new touches nothing."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    disk.log.clear()
    for chunk in range(64):
        wal.append(codec.RESULT, result(chunk))
    wal.commit()
    wal.commit()
    assert disk.log == ["pwrite", "sync"]


def test_a_commit_ends_with_its_sector() -> None:
    """A sector that holds announced bytes is never written again."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    for size in range(600):
        wal.append(codec.RESULT, bytes(size))
        assert wal.commit() % codec.SECTOR_BYTES == 0


def test_write_reaches_the_kernel_and_is_not_announced(tmp_path: Path) -> None:
    """An intent survives the process, not the machine."""
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    wal.append(codec.INTENT, b"x")
    wal.write()
    assert wal.durable == codec.HEADER_BYTES
    assert os.path.getsize(tmp_path / "log") == wal.size
    wal.close()


def test_creation_syncs_the_file_and_its_folder_before_the_name_counts() -> None:
    """Header, sync, rename, sync of the folder."""
    disk = MemoryDisk()
    WriteAheadLog.create("log", "j", files=disk)
    assert disk.log == ["open", "pwrite", "sync", "rename", "sync_folder"]


def test_a_log_is_never_created_over_another(tmp_path: Path) -> None:
    """LogError, and the first is as it was."""
    WriteAheadLog.create(tmp_path / "log", "j").close()
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(LogError, match="exists"):
        WriteAheadLog.create(tmp_path / "log", "k")
    assert (tmp_path / "log").read_bytes() == before


def test_a_log_of_another_job_is_refused(tmp_path: Path) -> None:
    """It says whose it is."""
    WriteAheadLog.create(tmp_path / "log", "j").close()
    with pytest.raises(LogError, match="'j', not of 'k'"):
        WriteAheadLog.open(tmp_path / "log", job_id="k")


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """0600 under umask 000, and readable by their owner under 777; what is saved aside, too."""
    program = (
        "import os, sys; os.umask(int(sys.argv[2], 8))\n"
        "from mrengine.log.file.wal import WriteAheadLog\nfrom mrengine.log.file.lock import JobLock\n"
        "wal = WriteAheadLog.create(sys.argv[1] + '/log', 'j')\n"
        "first = wal.append(7, b'x' * 99); wal.commit(); wal.append(7, b'x'); wal.commit(); wal.close()\n"
        "fd = os.open(sys.argv[1] + '/log', os.O_WRONLY); os.pwrite(fd, b'y', first + 30); os.close(fd)\n"
        "WriteAheadLog.open(sys.argv[1] + '/log').close(); JobLock(sys.argv[1]).try_acquire()\n"
    )
    for mask in ("000", "777"):
        folder = tmp_path / mask
        folder.mkdir()
        command = [sys.executable, "-c", program, str(folder), mask]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
        names = sorted(os.listdir(folder))
        assert [name.partition("-")[0] for name in names] == ["lock", "log", "log.damaged"]
        assert {stat.S_IMODE(os.stat(folder / name).st_mode) for name in names} == {0o600}


def test_a_symlink_in_place_of_the_log_is_refused(tmp_path: Path) -> None:
    """Nobody can have another file written to."""
    WriteAheadLog.create(tmp_path / "real", "j").close()
    (tmp_path / "log").symlink_to(tmp_path / "real")
    with pytest.raises(LogError):
        WriteAheadLog.open(tmp_path / "log")
    with pytest.raises(LogError):
        LogReader(tmp_path / "log")


def test_no_child_inherits_the_descriptor(tmp_path: Path) -> None:
    """Close-on-exec from the start."""
    wal = WriteAheadLog.create(tmp_path / "log", "j")
    assert not os.get_inheritable(wal._fd)
    wal.close()


def write_until_it_fails(disk: MemoryDisk, acknowledged: dict[int, bytes]) -> LogError | None:
    """A log's life on a disk that fails once: what was announced goes into ``acknowledged``."""
    try:
        wal = WriteAheadLog.create("log", "j", files=disk)
        for group in range(3):
            new = {}
            for chunk in range(3):
                payload = result(group * 3 + chunk, value="v" * 300)
                new[wal.append(codec.RESULT, payload)] = payload
            wal.write()
            wal.append(codec.INTENT, b"")
            wal.commit()
            acknowledged.update(new)
    except LogError as error:
        if "wal" in locals():
            for again in (wal.commit, wal.write, lambda: wal.append(codec.RESULT, b"")):
                with pytest.raises(LogError) as caught:
                    again()
                assert caught.value.reason == error.reason  # noqa: PT017  (it may not fail at all)
        return error
    return None


@pytest.mark.parametrize(("error", "reason"), [(errno.EIO, "io"), (errno.ENOSPC, "full"), (errno.EDQUOT, "full")])
def test_a_failure_at_any_operation_poisons_for_good_and_loses_nothing_announced(error: int, reason: str) -> None:
    """The N-th operation fails, for all N; later syncs lie; the log opens again with all that was announced."""
    failing = 1
    while True:
        disk = MemoryDisk(fail_at=failing, error=error)
        acknowledged: dict[int, bytes] = {}
        failure = write_until_it_fails(disk, acknowledged)
        if failure is None:
            break
        assert failure.reason == reason
        assert failure.path in ("log.new", "log")  # a new log is made under another name
        if "log" in disk.names:
            for view in (disk.copy(), _after_power_cut(disk)):
                found = records("log", view)
                assert acknowledged.items() <= found.items()
        failing += 1
    assert failing > 12


def _after_power_cut(disk: MemoryDisk) -> MemoryDisk:
    """Only what was synced."""
    after = disk.copy()
    for inode in after.names.values():
        inode.data[:] = inode.durable
    return after


def test_records_of_a_failed_sync_do_not_come_back_as_if_they_were_on_disk() -> None:
    """After a failed fdatasync the pages are clean and not on disk: they must not be read and vouched for."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    kept = wal.append(codec.RESULT, b"kept")
    wal.commit()
    wal.append(codec.RESULT, b"lost")
    disk.fail_at = disk.operations + 2  # pwrite, then sync
    with pytest.raises(LogError):
        wal.commit()
    assert records("log", disk) == {kept: b"kept"}
    again = WriteAheadLog.open("log", files=disk)
    later = again.append(codec.RESULT, b"later")
    again.commit()
    after = _after_power_cut(disk)
    assert not WriteAheadLog.open("log", files=after).recovery.damage
    assert records("log", after) == {kept: b"kept", later: b"later"}


def test_failures_of_recovery_itself_can_be_repeated() -> None:
    """EIO at every operation of an opening that has to repair: the next opening succeeds."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    first = wal.append(codec.RESULT, b"a" * 700)
    second = wal.append(codec.RESULT, b"b" * 700)
    wal.commit()
    third = wal.append(codec.RESULT, b"c")
    wal.commit()
    disk.names["log"].data[first + 40] ^= 1
    disk.names["log"].data += b"torn"
    failing = 1
    while True:
        view = disk.copy()
        view.fail_at = failing
        try:
            WriteAheadLog.open("log", files=view)
        except LogError as error:
            assert error.reason == "io"  # noqa: PT017  (it may not fail at all)
        else:
            break
        assert records("log", view) == {second: b"b" * 700, third: b"c"}
        failing += 1
    assert failing > 6


def test_short_writes_are_completed() -> None:
    """A write may write less than it was given."""
    disk = MemoryDisk(short_writes=True)
    wal = WriteAheadLog.create("log", "j", files=disk)
    offset = wal.append(codec.RESULT, b"x" * 5000)
    wal.commit()
    assert records("log", disk) == {offset: b"x" * 5000}


def test_without_fsync_nothing_is_synced_and_nothing_vouched_for() -> None:
    """durability="flush": a power cut then looks like a torn tail, never like damage."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", durability="flush", files=disk)
    disk.log.clear()
    for _ in range(5):
        wal.append(codec.RESULT, b"x" * 900)
        assert wal.commit() == wal.size
    assert disk.log == ["pwrite"] * 5
    disk.names["log"].data[2000:2600] = bytes(600)
    assert not WriteAheadLog.open("log", files=disk).recovery.damage


def test_a_record_above_the_cap_is_refused_before_it_is_written() -> None:
    """64 MiB; the log stays usable."""
    wal = WriteAheadLog.create("log", "j", files=MemoryDisk())
    with pytest.raises(ValueError, match="cap"):
        wal.append(codec.RESULT, bytes(codec.MAX_PAYLOAD_BYTES + 1))
    wal.append(codec.RESULT, b"")
    wal.commit()


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A tmpfs of 256 KiB. Mounting needs root: skipped without it, but not where CI=true."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        reason = f"cannot mount a tmpfs: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_log_and_room_brings_it_back(small_disk: Path) -> None:
    """ENOSPC on a real file system: LogError "full", nothing announced lost, goes on when there is room."""
    path = small_disk / "log"
    (small_disk / "ballast").write_bytes(bytes(100_000))
    wal = WriteAheadLog.create(path, "j")
    acknowledged: dict[int, bytes] = {}

    def fill() -> None:
        for chunk in range(1000):
            payload = result(chunk, value="v" * 1000)
            offset = wal.append(codec.RESULT, payload)
            wal.commit()
            acknowledged[offset] = payload

    with pytest.raises(LogError) as caught:
        fill()
    assert caught.value.reason == "full"
    assert "room" in str(caught.value)
    assert len(acknowledged) > 50
    wal.close()
    with LogReader(path) as reader:
        assert [reader.payload(offset) for offset in acknowledged] == list(acknowledged.values())
    os.unlink(small_disk / "ballast")
    assert records(str(path)) == acknowledged
    again = WriteAheadLog.open(path)
    again.append(codec.RESULT, result(1000))
    again.commit()
    again.close()
