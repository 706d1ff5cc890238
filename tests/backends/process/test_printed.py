"""What workers print: lines in the supervisor's pipe, and streams that one task closes and the next needs."""

from __future__ import annotations

import os
import subprocess
import sys

import msgpack
import pytest

from mrengine.backends.process.printed import LONGEST, OutputPipe


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


def printed(program: str) -> str:
    """What a process prints that has opened its streams as a worker does."""
    start = "import os, sys\nfrom mrengine.backends.process import printed as streams\nstreams.open_streams()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize("closes", ["os.close(1)", "sys.stdout.close()", "sys.stdout.close(); os.close(1)"])
def test_what_was_closed_is_open_for_the_next_task(closes: str) -> None:
    """The descriptor, the stream, or both."""
    assert printed(f"print('one')\nstreams.flush()\n{closes}\nstreams.flush()\nstreams.restore()\nprint('two')\n") == (
        "one\ntwo\n"
    )


def test_a_descriptor_of_user_code_is_left_alone() -> None:
    """It may be a socket by now, whose number is 1."""
    program = "read, write = os.pipe()\nos.dup2(write, 1)\nstreams.restore()\nos.write(1, b'mine')\n"
    assert printed(program + "print(os.read(read, 9).decode(), file=sys.stderr)\nsys.exit(0)\n") == ""


def test_a_line_without_an_end_is_written() -> None:
    """Before the outcome, though the process is then killed."""
    assert printed("import signal\nprint('begun', end='')\nstreams.flush()\nos._exit(0)\n") == "begun"
