"""What workers print."""

from __future__ import annotations

import os

import msgpack

from mrengine.backends.process.output_pipe import LONGEST, OutputPipe


def test_long_lines_come_in_pieces_and_whole() -> None:
    """With their end in the pipe or not yet; nothing of them is lost."""
    pipe = OutputPipe("map_fn", 20)
    said: list[str] = []
    for part in (b"a" * (2 * LONGEST + 5) + b"\n", ("b" + "é" * LONGEST).encode(), b"c\nd\n\n"):
        os.write(pipe.write_fd, part)
        for *_, packed in pipe.read():
            name, level, text = msgpack.unpackb(packed)
            assert (name, level) == ("map_fn", 20)
            assert len(text) <= LONGEST
            said.append(text)
    pipe.close()
    assert "".join(said) == "a" * (2 * LONGEST + 5) + "b" + "é" * LONGEST + "cd"
    assert said[-1] == "d"


def test_what_was_printed_last_needs_no_end() -> None:
    """Nor does it matter how much is in the pipe."""
    pipe = OutputPipe("map_fn", 20)
    written = b"".join(b"%d\n" % n for n in range(8000)) + b"the end"
    assert os.write(pipe.write_fd, written) == len(written)
    assert [msgpack.unpackb(packed)[2] for *_, packed in pipe.last()][-2:] == ["7999", "the end"]
    assert pipe.last() == []
    pipe.close()
