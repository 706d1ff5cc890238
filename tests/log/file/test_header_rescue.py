"""A header that was struck is made of the frames behind it, exactly, or not at all."""

from __future__ import annotations

import random

import pytest

from mrengine.errors import LogError
from mrengine.log.file.header_rescue import rescued_header
from mrengine.log.file.wal import WriteAheadLog
from mrengine.log.format import codec
from mrengine.log.format.codec import HEADER_BYTES, Header, encode_frame, encode_header, new_salt
from tests.log.disk import Inode, MemoryDisk
from tests.log.test_damage import real_log


def rescue(data: bytes, job_id: str = "j") -> Header | None:
    return rescued_header(lambda count, at: data[at : at + count], len(data), job_id)


def test_two_frames_imply_the_header() -> None:
    """Whatever the salt: all eight bytes of it."""
    for _ in range(200):
        header = Header("j", new_salt())
        data = bytearray(HEADER_BYTES)
        for size in (30, 5):
            data += encode_frame(header.prefix, header.seed, len(data), HEADER_BYTES, codec.CALL, bytes(size))
        assert rescue(bytes(data)) == header


def test_a_header_is_implied_though_the_first_page_is_gone() -> None:
    """By any two commits that are left."""
    header = Header("j", new_salt())
    data = bytearray(HEADER_BYTES)
    for _ in range(9):
        data += encode_frame(header.prefix, header.seed, len(data), HEADER_BYTES, codec.CALL, b"answer")
        size = codec.padding(len(data))
        assert size is not None
        data += encode_frame(header.prefix, header.seed, len(data), HEADER_BYTES, codec.VOID, bytes(size))
    data[:4096] = bytes(4096)
    assert rescue(bytes(data)) == header


@pytest.mark.parametrize("seed", range(20))
def test_what_is_no_log_implies_nothing(seed: int) -> None:
    """Noise, zeros, text, and one frame that nothing confirms."""
    chance = random.Random(seed)
    header = Header("j", new_salt())
    alone = encode_frame(header.prefix, header.seed, HEADER_BYTES, HEADER_BYTES, codec.CALL, b"x")
    for data in (chance.randbytes(1 << 16), bytes(1 << 16), b"letter " * 5000, b"", bytes(HEADER_BYTES) + alone):
        assert rescue(data) is None


def test_every_byte_of_the_header_may_be_struck() -> None:
    """Opening the job's log writes it as it was, keeps the bytes that were there, and tells of them."""
    data = real_log()[0]
    for at in range(HEADER_BYTES):
        broken = bytearray(data)
        broken[at] ^= 0x55
        disk = MemoryDisk()
        disk.names["log"] = Inode(bytearray(broken), bytes(broken))
        wal = WriteAheadLog.open("log", job_id="j", files=disk)
        assert wal.recovery.damage == ((0, HEADER_BYTES),)
        wal.close()
        assert bytes(disk.names["log"].data[: len(data)]) == data
        assert bytes(disk.names["log.damaged-0-512"].data) == bytes(broken[:HEADER_BYTES])


def test_a_header_that_its_crc_vouches_for_is_never_written_over() -> None:
    """A newer format, and the log of another job, are what they say."""
    data = bytearray(real_log()[0])
    other = encode_header(Header("j", bytes(data[12:20]), version=9))
    for header, reason in ((other, "newer"), (encode_header(Header("k", bytes(data[12:20]))), "not_a_log")):
        data[:HEADER_BYTES] = header
        disk = MemoryDisk()
        disk.names["log"] = Inode(bytearray(data), bytes(data))
        with pytest.raises(LogError) as caught:
            WriteAheadLog.open("log", job_id="j", files=disk)
        assert caught.value.reason == reason
        assert bytes(disk.names["log"].data) == bytes(data)


def test_strict_refuses_a_damaged_header() -> None:
    """And changes nothing."""
    data = bytearray(real_log()[0])
    data[300] = 1
    disk = MemoryDisk()
    disk.names["log"] = Inode(bytearray(data), bytes(data))
    with pytest.raises(LogError, match="damaged in 1 range"):
        WriteAheadLog.open("log", job_id="j", strict=True, files=disk)
    assert bytes(disk.names["log"].data) == bytes(data)
