"""Power cuts: every unsynced sector may be kept, old, zeroed or garbled; what was announced is there all the same."""

from __future__ import annotations

import random

import pytest

from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.codec import Frame
from tests.log import second_reader
from tests.log.disk import MemoryDisk

Written = dict[int, tuple[int, bytes]]


class Life:
    """A log written at random; at every operation of the disk the power may be cut, and the log opened again."""

    def __init__(self, seed: int, *, cuts: int, deep: int = 2) -> None:
        self.rng = random.Random(seed)
        self.cuts = cuts
        self.deep = deep
        self.states = 0
        self.exact = True
        self.wal: WriteAheadLog | None = None
        self.written: Written = {}

    def run(self) -> None:
        disk = MemoryDisk(short_writes=self.rng.random() < 0.3)
        disk.before = lambda: self.cut(disk)
        self.wal = WriteAheadLog.create("log", "j", files=disk)
        self.live(disk, self.rng.randint(1, 5))

    def live(self, disk: MemoryDisk, commits: int) -> None:
        """Append groups and commit; some records are written and not synced."""
        assert self.wal is not None
        for _ in range(commits):
            for _ in range(self.rng.randint(1, 6)):
                kind = self.rng.choice([codec.INTENT, codec.RESULT, codec.CALL])
                payload = self.rng.randbytes(self.rng.choice([0, 3, 40, 300, 900, 3000]))
                self.written[self.wal.append(kind, payload)] = kind, payload
                if self.rng.random() < 0.2:
                    self.wal.write()
            self.wal.commit()
        self.cut(disk)

    def cut(self, disk: MemoryDisk) -> None:
        announced = self.wal.durable if self.wal else 0
        for _ in range(self.cuts):
            self.states += 1
            self.reopen(disk.power_cut(self.rng), announced)

    def reopen(self, disk: MemoryDisk, announced: int) -> None:
        if "log" not in disk.names:
            assert not announced
            return
        seen: list[Frame] = []
        written = dict(self.written)
        if self.deep and self.rng.random() < 0.1:
            self.again(disk, written, announced)
            return
        second = second_reader.read(bytes(disk.names["log"].data))
        wal = WriteAheadLog.open("log", job_id="j", files=disk, take=seen.extend)
        assert second.frames == [(frame.offset, frame.kind, frame.payload) for frame in seen]
        assert (second.end, second.damage) == (wal.recovery.end, list(wal.recovery.damage))
        found = {frame.offset: (frame.kind, frame.payload) for frame in seen if frame.kind != codec.VOID}
        assert not wal.recovery.damage, "unannounced bytes were called damage"
        assert found.items() <= written.items()
        if self.exact:
            assert found.keys() == {o for o in written if o < wal.recovery.end}
        assert all(o in found for o in written if o < announced), "an announced record is lost"

    def again(self, disk: MemoryDisk, written: Written, announced: int) -> None:
        """The power is cut during recovery, or while the opened log is written on."""
        twin = Life(self.rng.randrange(2**32), cuts=1, deep=self.deep - 1)
        twin.written = written
        frames: list[Frame] = []
        first = _Announced(announced)
        twin.wal = first  # type: ignore[assignment]
        twin.exact = False  # padding may stand where a torn record stood
        disk.before = lambda: twin.cut(disk)
        wal = WriteAheadLog.open("log", job_id="j", files=disk, take=frames.extend)
        twin.written = {f.offset: (f.kind, f.payload) for f in frames if f.kind != codec.VOID}
        twin.wal, twin.exact = wal, True
        twin.live(disk, 2)
        self.states += twin.states


class _Announced:
    """What stands for the log until it is open again: the offset that was announced before the cut."""

    def __init__(self, durable: int) -> None:
        self.durable = durable


def cut_power(lives: range, cuts: int) -> int:
    """How many states were looked at."""
    states = 0
    for seed in lives:
        life = Life(seed, cuts=cuts)
        life.run()
        states += life.states
    return states


def test_no_announced_record_is_lost_and_nothing_is_called_damage_by_mistake() -> None:
    """A few thousand states; the system suite looks at many more."""
    assert cut_power(range(60), cuts=3) > 3000


@pytest.mark.system
@pytest.mark.timeout(900)
def test_tens_of_thousands_of_power_cuts() -> None:
    """The same, in breadth."""
    assert cut_power(range(1000, 2200), cuts=3) > 50_000


def test_the_simulator_can_tell() -> None:
    """Without the sync of a commit, announced records are lost: the test above would see it."""

    class Forgetful(MemoryDisk):
        def sync(self, fd: int) -> None:
            self._operation("sync")

    disk = Forgetful()
    wal = WriteAheadLog.create("log", "j", files=disk)
    wal.append(codec.RESULT, b"x" * 900)
    announced = wal.commit()
    rng = random.Random(1)
    for _ in range(200):
        after = disk.power_cut(rng)
        if "log" not in after.names or len(after.names["log"].data) < announced:
            return
    pytest.fail("the simulator loses nothing")
