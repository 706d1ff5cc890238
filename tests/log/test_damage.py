"""A damaged log: cut anywhere, any bit flipped, bytes destroyed. Two readers agree, and neither invents a record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from mrengine.errors import LogError
from mrengine.log.file.recovery import Recovery
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.packing import HEAD_BYTES, pack, unpack
from mrengine.log.view.chunk_facts import cut_short_of, unread_of
from mrengine.log.view.replay import Replay
from tests.log import second_reader
from tests.log.disk import Inode, MemoryDisk
from tests.log.sample import begin, every_kind, result


def real_log(build=every_kind) -> tuple[bytes, list[int], list[codec.Frame]]:  # type: ignore[no-untyped-def]
    """(bytes, durable offset after each commit, frames)."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    ends = build(wal)
    data = bytes(disk.names["log"].data)
    return data, ends, frames_of(data)[0]


def frames_of(data: bytes) -> tuple[list[codec.Frame], Recovery]:
    """What the first reader finds, without changing a byte."""
    from mrengine.log.file.recovery import Source, walk

    disk = MemoryDisk()
    disk.names["log"] = Inode(bytearray(data))
    frames: list[codec.Frame] = []
    recovery = walk(Source.over(disk.open("log", 0), disk), frames.extend)
    return frames, recovery


def assert_agree(data: bytes, written: set[tuple[int, int, bytes]]) -> Recovery | None:
    """Both readers see the same; what they see was written. None: both refuse."""
    try:
        second = second_reader.read(data)
    except second_reader.Refused as refused:
        with pytest.raises(LogError) as caught:
            frames_of(data)
        assert caught.value.reason == str(refused)  # noqa: PT017  (the first must refuse as the second did)
        return None
    frames, recovery = frames_of(data)
    found = [(frame.offset, frame.kind, frame.payload) for frame in frames]
    assert found == second.frames
    assert (list(recovery.damage), recovery.end) == (second.damage, second.end)
    assert set(found) <= written
    state = Replay()
    for frame in frames:
        state.add(frame)
    return recovery


def test_a_log_cut_at_every_byte_keeps_all_before_the_cut() -> None:
    """Never a wrong record, never another exception than LogError, every frame before the cut is there."""
    data, ends, frames = real_log()
    written = {(frame.offset, frame.kind, frame.payload) for frame in frames}
    for size in range(len(data)):
        recovery = assert_agree(data[:size], written)
        if recovery is None:
            assert size < codec.HEADER_BYTES
            continue
        assert not recovery.damage
        assert recovery.end == max([codec.HEADER_BYTES, *(f.end for f in frames if f.end <= size)])
    assert len(ends) == 5


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.system), 11], ids=["every bit", "one of eleven"])
def test_a_flipped_bit_loses_at_most_the_frame_it_is_in(step: int) -> None:
    """All other acknowledged frames are there; damage is told from a torn tail by the watermark."""
    data, ends, frames = real_log()
    written = {(frame.offset, frame.kind, frame.payload) for frame in frames}
    flipped = bytearray(data)
    for bit in range(0, len(data) * 8, step):
        flipped[bit >> 3] ^= 1 << (bit & 7)
        recovery = assert_agree(bytes(flipped), written)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        hit = next((frame for frame in frames if frame.offset <= bit >> 3 < frame.end), None)
        if hit is None:
            assert recovery is None, "a bit of the header"
        elif hit.offset < ends[-2]:
            assert recovery is not None
            assert recovery.damage == ((hit.offset, hit.end),)
            assert recovery.end == len(data)
        else:
            assert recovery is not None
            assert not recovery.damage
            assert recovery.end == hit.offset


@pytest.mark.parametrize("seed", range(300))
def test_two_readers_agree_on_any_destruction(seed: int) -> None:
    """Ranges zeroed, garbled, moved, doubled, cut out."""
    data, _, frames = real_log()
    written = {(frame.offset, frame.kind, frame.payload) for frame in frames}
    rng = random.Random(seed)
    broken = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(codec.HEADER_BYTES, len(broken))
        end = min(len(broken), start + rng.choice([1, 8, 21, 100, 512, 700]))
        match rng.randrange(5):
            case 0:
                broken[start:end] = bytes(end - start)
            case 1:
                broken[start:end] = rng.randbytes(end - start)
            case 2:
                source = rng.randrange(codec.HEADER_BYTES, len(broken))
                broken[start:end] = broken[source : source + end - start]
            case 3:
                broken[start:start] = broken[start:end]
            case 4:
                del broken[start:end]
    assert_agree(bytes(broken), written)


def test_a_log_inside_a_log_is_never_taken_for_records() -> None:
    """A result may hold a copy of the very log: frames are bound to their place."""
    disk = MemoryDisk()
    wal = WriteAheadLog.create("log", "j", files=disk)
    begin(wal)
    wal.commit()
    copy = bytes(disk.names["log"].data)
    wal.append(codec.RESULT, result(0, value=copy))
    wal.append(codec.RESULT, result(1))
    wal.commit()
    wal.append(codec.RESULT, result(2))
    wal.commit()
    data = bytearray(disk.names["log"].data)
    frames, _ = frames_of(bytes(data))
    hit = next(frame for frame in frames if frame.kind == codec.RESULT)
    data[hit.offset + 6] ^= 1
    after, recovery = frames_of(bytes(data))
    assert recovery.damage == ((hit.offset, hit.end),)
    assert [frame for frame in frames if frame != hit] == after
    assert_agree(bytes(data), {(f.offset, f.kind, f.payload) for f in frames})


def test_damage_is_saved_aside_and_filled_and_the_log_goes_on() -> None:
    """The second opening finds a log without damage; the records around are where they were."""
    data, ends, frames = real_log()
    hit = next(frame for frame in frames if frame.kind == codec.RESULT)
    broken = bytearray(data)
    broken[hit.offset : hit.end] = b"\xff" * (hit.end - hit.offset)
    disk = MemoryDisk()
    disk.names["log"] = Inode(bytearray(broken), bytes(broken))
    wal = WriteAheadLog.open("log", job_id="j", files=disk)
    assert wal.recovery.damage == ((hit.offset, hit.end),)
    assert bytes(disk.names[f"log.damaged-{hit.offset}-{hit.end}"].data) == bytes(broken[hit.offset : hit.end])
    wal.append(codec.RESULT, result(0))
    wal.commit()
    seen: list[codec.Frame] = []
    again = WriteAheadLog.open("log", files=disk, take=seen.extend)
    assert not again.recovery.damage
    kept = [frame for frame in frames if frame != hit]
    assert [f for f in seen if f.kind != codec.VOID][:-1] == [f for f in kept if f.kind != codec.VOID]
    assert len(ends) == 5


def test_a_strict_opening_refuses_damage_and_changes_nothing() -> None:
    """LogError names the ranges."""
    data, _, frames = real_log()
    broken = bytearray(data)
    broken[frames[1].offset + 30] ^= 1
    disk = MemoryDisk()
    disk.names["log"] = Inode(bytearray(broken), bytes(broken))
    with pytest.raises(LogError) as caught:
        WriteAheadLog.open("log", files=disk, strict=True)
    assert caught.value.reason == "damaged"
    assert caught.value.ranges == ((frames[1].offset, frames[1].end),)
    assert bytes(disk.names["log"].data) == bytes(broken)
    assert set(disk.names) == {"log"}


@pytest.mark.parametrize(("reason", "at", "byte"), [("not_a_log", 0, 0), ("newer", 8, 9), ("damaged", 30, 0xFF)])
def test_a_log_that_cannot_be_used_is_left_as_it_is(reason: str, at: int, byte: int) -> None:
    """Wrong magic, a newer version, a damaged header."""
    data = bytearray(real_log()[0])
    data[at] = byte
    disk = MemoryDisk()
    disk.names["log"] = Inode(bytearray(data), bytes(data))
    with pytest.raises(LogError) as caught:
        WriteAheadLog.open("log", files=disk)
    assert caught.value.reason == reason
    assert bytes(disk.names["log"].data) == bytes(data)


def test_the_second_reader_decodes_every_record_as_the_first_does() -> None:
    """The page says enough to read the payloads, too."""
    from mrengine.log.format.packing import unpack

    for frame in real_log()[2]:
        if frame.kind != codec.VOID:
            assert second_reader.unpack(frame.payload) == unpack(frame.payload)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value has values, itself among them."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from places(item, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with another one at a place."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def repacked(payload: bytes, value: Any) -> bytes:
    """A payload with another value; a task's record keeps the form of its head."""
    has_head = payload[:1] == b"\xdc" and isinstance(value, list) and value[:3] == unpack(payload)[:3]
    return payload[:HEAD_BYTES] + b"".join(map(pack, value[3:])) if has_head else pack(value)


@pytest.mark.parametrize("other", [None, "x", 7, -1.5, float("inf"), [], {}, [[]]])
def test_a_record_of_another_shape_is_a_problem_and_ends_no_replay(other: Any) -> None:
    """Its CRC may be right: then whatever stands in it reaches those who calculate with it."""
    frames = [frame for frame in real_log()[2] if frame.kind not in (codec.VOID, codec.CHUNKS)]
    for damaged in frames:
        value = unpack(damaged.payload)
        for place in places(value):
            payload = repacked(damaged.payload, replaced(value, place, other))
            state = Replay()
            for frame in frames:
                state.add(frame._replace(payload=payload) if frame is damaged else frame)
            unread_of(state.epoch)
            cut_short_of(state.epoch)
            assert state.epoch is not None or damaged.kind == codec.JOB
            assert state.closed is not None or damaged.kind == codec.CLOSE
