"""Header and frames: round trips, and any bytes at all."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.errors import LogError
from mrengine.log.format import codec, task_records
from mrengine.log.format.codec import Frame, Header
from mrengine.log.format.job_records import pack_job
from mrengine.log.format.packing import unpack
from mrengine.log.view.verify import UNPACKERS
from tests.log.sample import call, failure, intent, job, result

SALT = b"\x01\x02\x03\x04\x05\x06\x07\x08"
HEADER = Header("j", SALT)


@settings(deadline=None)
@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", fullmatch=True))
def test_a_header_is_read_back(job_id: str) -> None:
    """512 bytes, whatever the job id."""
    header = Header(job_id, codec.new_salt())
    data = codec.encode_header(header)
    assert len(data) == codec.HEADER_BYTES
    assert codec.decode_header(data) == header


@settings(deadline=None)
@given(st.integers(512, 2**48), st.integers(0, 255), st.binary(max_size=300))
def test_a_frame_is_read_back_and_only_at_its_place(offset: int, kind: int, payload: bytes) -> None:
    """The same bytes one further, or in another log, are no frame."""
    data = codec.encode_frame(HEADER.prefix, HEADER.seed, offset, 512, kind, payload)
    assert len(data) == codec.OVERHEAD_BYTES + len(payload)
    assert codec.decode_frame(data, 0, offset, HEADER.prefix, HEADER.seed) == Frame(offset, kind, payload, 512)
    assert codec.decode_frame(data, 0, offset + 1, HEADER.prefix, HEADER.seed) == 0
    other = Header("j", SALT[:4] + b"else")
    assert codec.decode_frame(data, 0, offset, other.prefix, other.seed) == 0


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_part_of_a_frame_says_how_much_is_missing(payload: bytes) -> None:
    """So that a reader can read on."""
    data = codec.encode_frame(HEADER.prefix, HEADER.seed, 512, 512, codec.RESULT, payload)
    for size in range(len(data)):
        expected = codec.OVERHEAD_BYTES if size < codec.OVERHEAD_BYTES else len(data)
        assert codec.decode_frame(data[:size], 0, 512, HEADER.prefix, HEADER.seed) == expected


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 400), st.integers(0, 400), st.integers(1, 255))
def test_the_frames_of_a_block_are_those_that_are_found_one_by_one(
    payloads: list[bytes], size: int, at: int, flip: int
) -> None:
    """Wherever the block ends, and whichever byte of it is damaged."""
    block, offset = b"", 5000
    for kind, payload in enumerate(payloads):
        here = offset + len(block)
        block += codec.encode_frame(HEADER.prefix, HEADER.seed, here, 512 + kind, kind, payload)
    changed = bytearray(block[:size])
    if at < len(changed):
        changed[at] ^= flip
    block = bytes(changed)
    expected, position = [], 0
    while isinstance(
        found := codec.decode_frame(block, position, offset + position, HEADER.prefix, HEADER.seed), Frame
    ):
        expected.append(found)
        position += codec.OVERHEAD_BYTES + len(found.payload)
    end: list[Any] = []

    def frames() -> Iterator[Frame]:
        end.extend((yield from codec.decode_frames(block, offset, HEADER.prefix, HEADER.seed)))

    assert list(frames()) == expected
    assert end == [position, found, max((one.watermark for one in expected), default=0)]


def test_a_length_above_the_cap_is_not_believed() -> None:
    """Before anything is read or decoded."""
    for length, needed in ((codec.MAX_PAYLOAD_BYTES, codec.MAX_PAYLOAD_BYTES + 21), (codec.MAX_PAYLOAD_BYTES + 1, 0)):
        begin = HEADER.prefix + bytes(4) + length.to_bytes(4, "little") + (512).to_bytes(8, "little") + b"\x07"
        assert codec.decode_frame(begin, 0, 512, HEADER.prefix, HEADER.seed) == needed


@pytest.mark.parametrize("size", [*range(1, 30), 490, 491, 492, 511, 512, 513])
def test_padding_ends_with_the_sector(size: int) -> None:
    """A filler is at least a whole frame."""
    filler = codec.padding(size)
    assert filler is None if size == 512 else filler is not None and filler >= 0
    assert (size + (0 if filler is None else filler + codec.OVERHEAD_BYTES)) % 512 == 0


def fuzz(seed: int, count: int) -> None:
    """Random and nearly right bytes into every decoder: a value or LogError."""
    rng = random.Random(seed)
    carry = task_records.pack_carry(task_records.CarryRecord(0, 1, 2, 600))
    samples = [
        pack_job(job()),
        call("q"),
        intent("q"),
        result(0, value={"a": [1.5, "x"]}),
        failure(1),
        carry,
    ]
    decoders = list(UNPACKERS.values())
    for _ in range(count):
        data = bytearray(rng.choice(samples) if rng.random() < 0.8 else rng.randbytes(rng.randint(0, 80)))
        for _ in range(rng.randint(0, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), 0xDD, 0xDF, 0xDB, 0xC6, 0xC9, 0xD4])
        if rng.random() < 0.1:
            del data[rng.randint(0, len(data)) :]
        payload = bytes(data)
        for decode in rng.choices(decoders, k=2):
            try:
                decode(payload)
            except LogError as error:
                assert error.reason == "damaged"  # noqa: PT017  (a value is as good)
        framed = rng.randrange(512, 2**40)
        codec.decode_frame(HEADER.prefix + payload, 0, framed, HEADER.prefix, HEADER.seed)
        try:
            codec.decode_header(codec.MAGIC + payload.ljust(504, b"\0"))
        except LogError:
            pass


def test_fuzzed_payloads_give_a_value_or_a_log_error() -> None:
    """A short form; the system suite goes to a million."""
    fuzz(1, 10_000)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_million_fuzzed_inputs_in_bounded_memory() -> None:
    """No crash; the peak of memory hardly moves."""
    fuzz(2, 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(3, 500_000)  # each goes into two decoders of payloads, the frame's and the header's
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000


@pytest.mark.parametrize(
    "bomb", [b"\xdd\xff\xff\xff\xff", b"\xdf\x00\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xdd\x00\xff\xff\xff" * 900]
)
def test_a_length_that_lies_allocates_nothing(bomb: bytes) -> None:
    """A few bytes that claim gigabytes."""
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        try:
            unpack(bomb)
        except LogError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
