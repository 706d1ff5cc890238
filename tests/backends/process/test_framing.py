"""Frames come out whole, however their bytes arrive."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_tasks_are_sixteen_bytes() -> None:
    """And come back as they were."""
    tasks = [Start(2**40, 3, 1), Start(0, -1, 7)]
    packed = framing.pack_tasks(tasks)
    assert len(packed) == 32
    assert list(framing.unpack_tasks(packed)) == tasks
