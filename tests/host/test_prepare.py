"""What comes before the first round: the log is replayed once, the documents are read once."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner, tree_reduce
from mrengine.errors import SourceError
from mrengine.host.intake import UNNAMED
from mrengine.log.file.reader import LogReader
from mrengine.log.format import codec
from mrengine.log.format.codec import Frame
from mrengine.log.view.replay import Replay
from mrengine.testing import fake
from tests.system.processes import wait_for

DOCUMENTS = [f"text {i}" for i in range(10)]


def text_of(chunk: Any, _context: Any) -> str:
    return str(chunk.text)


def half(chunk: Any, _context: Any) -> str:
    if chunk.id % 2:
        raise ValueError("not this one")
    return str(chunk.text)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each frame, by its offset, was added to a replay in this process. Supervisors have their own."""
    offsets: Counter[int] = Counter()
    add: Callable[[Replay, Frame], bool] = Replay.add

    def counted(state: Replay, frame: Frame) -> bool:
        offsets[frame.offset] += 1
        return add(state, frame)

    monkeypatch.setattr(Replay, "add", counted)
    return offsets


def runner(job_id: str, **more: Any) -> MapReduceRunner:
    return MapReduceRunner(job_id, workers=1, models=fake("joined"), map_version="1", **more)


def resume_with_documents() -> Any:
    return runner("once").run(DOCUMENTS, half)


def resume_from_the_log() -> Any:
    return runner("once").resume("once", half)


def resume_by_id_alone() -> Any:
    return MapReduceRunner(workers=1, models="fake", map_version="1").resume("once")


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("resume", [resume_with_documents, resume_from_the_log, resume_by_id_alone])
def test_a_resume_replays_the_log_once(resume: Callable[[], Any], replayed: Counter[int]) -> None:
    """And what it adds once, too."""
    assert len(runner("once").run(DOCUMENTS, half).results) == 5
    assert set(replayed.values()) == {1}
    replayed.clear()
    done = resume()
    assert (done.summary.resumed_chunks, done.summary.failed_chunks) == (5, 5)
    assert len(replayed) > 20
    assert set(replayed.values()) == {1}


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("reduce_fn", [None, tree_reduce("Join: $text")])
def test_a_finished_job_is_replayed_once(reduce_fn: Any, replayed: Counter[int]) -> None:
    """By whoever looks whether it is; a reduce that it does not know goes on from there."""
    runner("done").run(DOCUMENTS, text_of)
    replayed.clear()
    done = runner("done").run(DOCUMENTS, text_of, reduce_fn)
    assert done.summary.resumed_chunks == len(DOCUMENTS)
    assert set(replayed.values()) == {1}


def kinds(job_id: str, state_dir: Path) -> list[int]:
    with LogReader(state_dir / "jobs" / job_id / "log") as reader:
        return [frame.kind for frame in reader.frames()]


def cut_before_close(folder: Path) -> None:
    """What a host leaves that is killed after its last result."""
    with LogReader(folder / "log") as reader:
        (at,) = [frame.offset for frame in reader.frames() if frame.kind == codec.CLOSE]
    os.truncate(folder / "log", at)


def test_a_run_that_finds_everything_done_writes_nothing(state_dir: Path) -> None:
    """Not even where no CLOSE says that the job is done: its outcomes do."""
    runner("quiet").run(DOCUMENTS, text_of)
    folder = state_dir / "jobs" / "quiet"
    cut_before_close(folder)
    before = (folder / "log").read_bytes()
    assert (Job("quiet").status().state, Job("quiet").status().reason) == ("done", "")
    assert len(runner("quiet").run(DOCUMENTS, text_of).results) == len(DOCUMENTS)
    assert (folder / "log").read_bytes() == before
    assert Job("quiet").status().state == "done"


def test_a_job_that_was_stopped_after_its_last_result_is_done_by_the_next_run(state_dir: Path) -> None:
    """Which has the log's writer say so, once."""
    runner_ = runner("stopped")

    def strike(event: Any) -> None:
        if event.done == event.total:
            raise KeyboardInterrupt

    runner_.on("chunk:processed", strike)
    with pytest.raises(KeyboardInterrupt):
        runner_.run(DOCUMENTS, text_of)
    assert (Job("stopped").status().state, Job("stopped").status().done) == ("stopped", len(DOCUMENTS))
    for _ in range(2):
        assert runner("stopped").run(DOCUMENTS, text_of).summary.resumed_chunks == len(DOCUMENTS)
        assert (Job("stopped").status().state, Job("stopped").status().reason) == ("done", "")
        assert kinds("stopped", state_dir).count(codec.CLOSE) == 2


def test_a_job_with_something_left_is_interrupted(state_dir: Path) -> None:
    """A failed chunk, and a later round that was not played to its end, are left to do."""
    runner("half").run(DOCUMENTS, half)
    cut_before_close(state_dir / "jobs" / "half")
    assert Job("half").status().state == "interrupted"


class Stream(io.StringIO):
    """A stream that can be read once, and counts its characters."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.given = 0

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("a pipe")

    def read(self, size: int | None = -1) -> str:
        data = super().read(size)
        self.given += len(data)
        return data


def auto(**more: Any) -> MapReduceRunner:
    return MapReduceRunner("auto", workers=1, map_version="1", **more)


def left_over(state_dir: Path) -> list[str]:
    return [path.name for path in (state_dir / "jobs" / UNNAMED).iterdir()]


def test_a_job_that_is_named_by_its_inputs_reads_them_once(state_dir: Path) -> None:
    """A stream, too, which can be read but once; the same inputs again meet the same job."""
    streams = [Stream("first text"), Stream("second text")]
    first = auto().run([Document(f"{n}", stream) for n, stream in enumerate(streams)], half)
    assert [stream.given for stream in streams] == [10, 11]
    again = auto().run([Document("0", "first text"), Document("1", io.BytesIO(b"second text"))], half)
    assert again.job_id == first.job_id
    assert again.summary.resumed_chunks == 1
    assert left_over(state_dir) == []
    assert len(list((state_dir / "jobs" / first.job_id).glob("spool*"))) == 1


def test_the_text_of_a_finished_job_leaves_nothing(state_dir: Path) -> None:
    """It is read for its digest alone."""
    first = auto().run("some text", text_of)
    again = auto().run("some text", text_of)
    assert (again.job_id, again.summary.resumed_chunks) == (first.job_id, 1)
    assert left_over(state_dir) == []
    assert len(list((state_dir / "jobs" / first.job_id).glob("spool*"))) == 1


@pytest.mark.parametrize("text", ["", b"\x89PNG\r\n\x1a\n\x00"])
def test_inputs_that_are_refused_leave_nothing(text: Any, state_dir: Path) -> None:
    """No spool, and no job."""
    with pytest.raises(SourceError):
        auto().run(text, text_of)
    assert [path.name for path in (state_dir / "jobs").iterdir()] == [UNNAMED]
    assert left_over(state_dir) == []


READS_FOR_EVER = """
import sys
from mrengine import MapReduceRunner
class Endless:
    def read(self, size=-1):
        print("reading", flush=True)
        sys.stdin.readline()
        return "x" * 10
MapReduceRunner("auto", workers=1).run(Endless(), lambda chunk, context: 1)
"""


def test_what_a_host_that_was_killed_has_read_is_swept(state_dir: Path) -> None:
    """By the next run; not while it lives."""
    host = subprocess.Popen([sys.executable, "-c", READS_FOR_EVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"reading\n"
    (half_read,) = left_over(state_dir)
    auto().run("another text", text_of)
    assert left_over(state_dir) == [half_read]
    os.kill(host.pid, signal.SIGKILL)
    host.communicate()
    auto().run("another text", text_of)
    assert left_over(state_dir) == []
    assert len([path for path in (state_dir / "jobs").iterdir() if path.name != UNNAMED]) == 1
    wait_for(lambda: host.poll() is not None)
