"""Frames come out whole, however their bytes arrive."""

from __future__ import annotations

import os
import select

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mrengine import posix
from mrengine.backends.process import framing
from mrengine.engine.protocol import Start

_frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=12)


@settings(max_examples=60)
@given(_frames, st.data())
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Bytes arrive in pieces of any size."""
    stream = b"".join(framing.frame(kind, payload) for kind, payload in frames)
    read_end, write_end = os.pipe()
    try:
        reader, got = framing.FrameReader(read_end), []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            os.write(write_end, stream[:size])
            stream = stream[size:]
            got += reader.read()
        assert got == frames
    finally:
        os.close(write_end)
        assert reader.read() == []
        assert reader.ended
        os.close(read_end)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(-1, 2**62), st.integers(-1, 2**15 - 1), st.binary())))
def test_a_worker_that_dies_in_the_middle_leaves_whole_frames(sent: list[tuple[int, int, int, bytes]]) -> None:
    """The last, torn one is dropped."""
    stream = b"".join(framing.tagged(kind, chunk, model, payload) for kind, chunk, model, payload in sent)
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, stream[:-1])
        os.close(write_end)
        reader = framing.TaggedReader(read_end)
        got = reader.read(3)
        assert got == [(3, kind, chunk, model, payload) for kind, chunk, model, payload in sent[:-1]]
    finally:
        os.close(read_end)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.binary(min_size=30, max_size=60), st.data())
def test_what_is_no_frame_is_never_taken_for_one(payload: bytes, junk: bytes, data: st.DataObject) -> None:
    """What was whole before it counts; what something else wrote ends the reading: before a frame, or in the middle of
    one that is larger than what a pipe takes at once.
    """
    good = framing.tagged(1, 7, 0, payload)
    at = data.draw(st.integers(0, len(good) - len(payload) - 1))
    spoilt = good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1 :]
    large = framing.tagged(1, 7, 0, payload + bytes(select.PIPE_BUF))
    at = data.draw(st.integers(1, len(large) - 1))
    torn = large[:at] + junk + large[at:]
    assume(not torn.startswith(large))
    for second in (junk + good, spoilt + good, torn):
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, good + second)
            reader = framing.TaggedReader(read_end)
            assert reader.read(3) == [(3, 1, 7, 0, payload)]
            assert reader.broken
            os.write(write_end, good)
            assert reader.read(3) == []
        finally:
            os.close(read_end)
            os.close(write_end)


def test_tasks_are_sixteen_bytes() -> None:
    """And come back as they were."""
    tasks = [Start(2**40, 3, 1), Start(0, -1, 7)]
    packed = framing.pack_tasks(tasks)
    assert len(packed) == 32
    assert list(framing.unpack_tasks(packed)) == tasks


def test_a_short_read_asks_for_little_and_a_long_one_for_more() -> None:
    """Memory for a megabyte costs more than a short frame; a frame of any size comes whole all the same."""
    read_end, write_end = os.pipe()
    reader = framing.FrameReader(read_end)
    os.set_blocking(read_end, False)
    try:
        os.write(write_end, framing.frame(1, b"short"))
        assert reader.read() == [(1, b"short")]
        assert reader.ask == framing.SHORT_BYTES
        payload, frames, left = b"x" * (3 * framing.SHORT_BYTES), [], framing.frame(2, b"x" * (3 * framing.SHORT_BYTES))
        while left or not frames:
            left = left[os.write(write_end, left[: framing.SHORT_BYTES]) :] if left else left
            frames += reader.read()
        assert frames == [(2, payload)]
        reader.read()
        assert reader.ask == framing.SHORT_BYTES
    finally:
        os.close(read_end)
        os.close(write_end)


def test_what_waits_is_read_at_once_in_short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for a megabyte is mapped anew for each read; and a worker that never stops leaves the others a turn."""
    asked: list[int] = []
    read = os.read
    monkeypatch.setattr(framing.os, "read", lambda fd, size: asked.append(size) or read(fd, size))
    sent = [framing.tagged(7, chunk, 0, bytes(10_000)) for chunk in range(20)]
    read_end, write_end = os.pipe()
    posix.enlarge_pipe(write_end)
    os.set_blocking(read_end, False)
    try:
        reader = framing.TaggedReader(read_end)
        os.write(write_end, b"".join(sent))
        assert [message[2] for message in reader.read(0)] == list(range(20))
        assert set(asked) == {framing.SHORT_BYTES}
        monkeypatch.setattr(framing.os, "read", lambda fd, size: (sent[0] * 10)[:size])
        endless = reader.read(0)
        assert 0 < len(endless) <= framing.READ_BYTES // 10_000
    finally:
        os.close(read_end)
        os.close(write_end)
