"""A job whose first calls are made while its documents are still being read."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner
from mrengine.errors import ConfigError, JobCancelled, JobMismatch, JobNotFound, SourceError
from mrengine.host import document_stream, prepare, rounds, row_stream
from mrengine.host.document_stream import EarlyStart
from mrengine.host.intake import Intake, is_read_once
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.verify import verify

pytestmark = pytest.mark.usefixtures("state_dir")
PARAGRAPH = "# Visit {0}\n\nThe patient of bed {0} slept well – über Nacht. Nothing else was seen.\n\n\n\n"
SETTINGS: dict[str, Any] = {"target_tokens": 120, "overlap_tokens": 20, "map_version": "1", "workers": 2}
PAGES = "".join(PARAGRAPH.format(i) for i in range(8000))  # more than a block of text


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read before the first rows are given out, and few rows are ahead of the workers."""
    monkeypatch.setattr(prepare, "READ_S", 0.0)
    monkeypatch.setattr(prepare, "FIRST_S", 0.0)
    monkeypatch.setattr(row_stream, "SLICE_S", 0.001)
    monkeypatch.setattr(row_stream, "LONGEST_S", 0.002)
    monkeypatch.setattr(rounds, "AHEAD", 50)


def text_of(chunk: Any, _context: Any) -> list[Any]:
    return [chunk.document_id, chunk.start, chunk.end, chunk.text, dict(chunk.fields)]


def rows_of(job_id: str) -> list[Any]:
    with ResumeEngine(Job(job_id).folder) as stored:
        return [row._replace(context=0) for row in stored.chunk_table()]


def notes(number: int) -> Iterator[Document]:
    for row in range(number):
        yield Document(f"note {row}", f"Note {row} says what is known of it.", fields={"row": row})


class Source:
    """Documents that say how many of them were asked for."""

    def __init__(self, number: int) -> None:
        self.asked, self._number = 0, number

    def __iter__(self) -> Iterator[Document]:
        for document in notes(self._number):
            self.asked += 1
            yield document


def slow_later(chunk: Any, _context: Any) -> list[Any]:
    time.sleep(0.02 if chunk.id >= 60 else 0.0)
    return text_of(chunk, _context)


def stopped_at(name: str, given: Any, count: int, map_fn: Any = text_of, **settings: Any) -> None:
    """Run a job up to an outcome."""
    runner = MapReduceRunner(name, **SETTINGS, **settings)
    seen: list[Any] = []

    def stop(event: Any) -> None:
        seen.append(event)
        if len(seen) == count:
            runner.stop()

    runner.on("chunk:processed", stop)
    with pytest.raises(JobCancelled):
        runner.run(given, map_fn)
    assert seen[0].total_so_far


@pytest.mark.usefixtures("at_once")
def test_documents_are_read_as_far_as_workers_need_them() -> None:
    """And no farther, though they never end."""
    source = Source(1 << 40)
    runner, asked = MapReduceRunner("endless", **SETTINGS), []

    def stop(event: Any) -> None:
        asked.append((source.asked, event.total, event.total_so_far))
        if len(asked) == 300:
            runner.stop()

    runner.on("chunk:processed", stop)
    with pytest.raises(JobCancelled) as stopped:
        runner.run(source, text_of)
    assert asked[0][0] < 2000
    assert all(so_far for _, _, so_far in asked)
    assert asked[-1][0] - len(asked) < 2000
    assert stopped.value.results[0].fields == {"row": 0}
    status = Job("endless").status()
    assert status.total_so_far
    assert status.done >= 300
    with pytest.raises(
        JobNotFound,
        match=r"while its documents were read \(\d+ chunks of \d+ documents.*: run it with its documents again",
    ):
        MapReduceRunner("endless", **SETTINGS).resume("endless", text_of)


def test_streaming_hands_each_document_over_before_it_asks_for_the_next(tmp_path: Path) -> None:
    """A source that waits for the outcome of each document before it gives another: it comes to its end, and the job
    is the one that reads all of them first.
    """

    def came(chunk: Any, context: Any) -> Any:
        (tmp_path / chunk.document_id).touch()
        return text_of(chunk, context)

    def source() -> Iterator[Document]:
        for number, one in enumerate([*notes(5), Document("long", PARAGRAPH * 20), Document("blank", " ")]):
            yield one
            deadline = time.monotonic() + 30
            while one.id != "blank" and not (tmp_path / one.id).exists():
                assert time.monotonic() < deadline, f"document {number} waits for the next one"
                time.sleep(0.005)

    slow = MapReduceRunner("slow", **SETTINGS, strategy="streaming").run(source(), came)
    whole = MapReduceRunner("whole", **SETTINGS).run(list(source()), came)
    assert [one.result for one in slow.results] == [one.result for one in whole.results]
    assert rows_of("slow") == rows_of("whole")
    again = MapReduceRunner("whole", **SETTINGS, strategy="streaming").run(source(), came)
    assert again.summary.processed_chunks == 0
    assert verify(Job("slow").folder).problems == ()


@pytest.mark.parametrize("strategy", ["parallel", "streaming"])
@pytest.mark.parametrize("given", [[], [" ", ""], " ", [7], ["a", 7]])
def test_what_is_wrong_with_the_documents_is_told_in_both_strategies(given: Any, strategy: Any) -> None:
    with pytest.raises(SourceError if given in ([" ", ""], " ") else ConfigError):
        MapReduceRunner("wrong", **SETTINGS, strategy=strategy).run(given, text_of)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("backend", ["process", "sequential"])
def test_a_file_is_cut_while_it_is_read_and_goes_on_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    path = tmp_path / "long.md"
    path.write_text(PAGES)
    given = [Document("first", "One line."), Document("long", path), Document("last", "Another line.")]
    stopped_at("left", given, 40, backend=backend)
    known = rows_of("left")
    with ResumeEngine(Job("left").folder) as stored:
        assert stored.epoch is not None
        assert (stored.epoch.reading, stored.epoch.opened) == (True, 1)
    changed = tmp_path / "changed.md"
    changed.write_text(PAGES[:50] + "!" + PAGES[51:])
    with pytest.raises(JobMismatch, match="changed"):
        MapReduceRunner("left", **SETTINGS).run([given[0], Document("long", changed), given[2]], text_of)
    assert rows_of("left") == known
    done = MapReduceRunner("left", **SETTINGS, backend=backend).run(given, text_of)
    monkeypatch.setattr(prepare, "READ_S", 60.0)
    whole = MapReduceRunner("whole", **SETTINGS).run(given, text_of)
    assert rows_of("left") == rows_of("whole")
    assert [one.result for one in done.results] == [one.result for one in whole.results]
    assert done.summary.resumed_chunks >= 40
    assert verify(Job("left").folder).problems == ()
    assert Job("left").status().state == "done"
    again = MapReduceRunner("left", **SETTINGS).run(given, text_of)
    assert again.summary.processed_chunks == 0


@pytest.mark.usefixtures("at_once")
def test_what_is_known_of_documents_must_be_as_it_was() -> None:
    """What was not read yet may be anything."""
    stopped_at("left", notes(5000), 60)
    others = (
        Document(one.id, one.source if n != 3 else "other", fields=one.fields) for n, one in enumerate(notes(5000))
    )
    with pytest.raises(JobMismatch, match="1 document changed: 'note 3'"):
        MapReduceRunner("left", **SETTINGS).run(others, text_of)
    with pytest.raises(JobMismatch, match="map function"):
        MapReduceRunner("left", **{**SETTINGS, "map_version": "2"}).run(notes(5000), text_of)
    done = MapReduceRunner("left", **SETTINGS).run(notes(4000), text_of)
    assert len(done.results) == 4000
    others = (
        Document(one.id, one.source if n != 3 else "other", fields=one.fields) for n, one in enumerate(notes(4000))
    )
    changed = MapReduceRunner("left", on_mismatch="recompute", **SETTINGS).run(others, text_of)
    assert changed.summary.processed_chunks == 1
    assert changed.results[3].result[3] == "other"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("backend", ["process", "sequential"])
def test_the_rows_of_the_log_are_run_while_the_documents_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """What they are is known by the log and the spool; documents that are others end the run when that is seen."""

    def given(other: int = -1) -> Iterator[Document]:
        for number, one in enumerate(notes(3000)):
            yield Document(one.id, "other", fields=one.fields) if number == other else one

    monkeypatch.setattr(rounds, "AHEAD", 200)
    stopped_at("left", given(), 80, slow_later)
    known, done = rows_of("left"), Job("left").status().done
    assert done < len(known)
    monkeypatch.setattr(document_stream, "COMPARE_S", 0.0)
    with pytest.raises(JobMismatch, match="the document 'note 40' is another"):
        MapReduceRunner("left", **SETTINGS).run(given(40), text_of)
    assert rows_of("left") == known

    def came(chunk: Any, context: Any) -> Any:
        (tmp_path / "came").touch()
        return text_of(chunk, context)

    def slow() -> Iterator[Document]:
        for number, one in enumerate(given()):
            yield one
            deadline = time.monotonic() + 60
            while number == 5 and backend == "process" and not (tmp_path / "came").exists():
                assert time.monotonic() < deadline, "no chunk is run before all documents are compared"
                time.sleep(0.005)

    again = MapReduceRunner("left", **SETTINGS, backend=backend).run(slow(), came)
    whole = MapReduceRunner("whole", **SETTINGS).run(given(), text_of)
    assert rows_of("left") == rows_of("whole")
    assert [one.result for one in again.results] == [one.result for one in whole.results]
    assert again.summary.resumed_chunks >= done
    assert verify(Job("left").folder).problems == ()


class BreaksOff(io.RawIOBase):
    """A file whose disk fails after so many bytes."""

    def __init__(self, data: bytes, after: int) -> None:
        self._data, self._after, self._at = data, after, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._at >= self._after:
            raise OSError(5, "Input/output error")
        part = self._data[self._at : self._at + 100_000]
        self._at += len(part)
        return part


@pytest.mark.usefixtures("at_once")
def test_a_source_that_fails_later_is_left_out_or_ends_the_run(tmp_path: Path) -> None:
    """What was done stays; a long one that breaks off stays as far as its chunks were given out."""

    def given(bad: bool = True) -> Iterator[Document]:
        yield from notes(1500)
        if bad:
            yield Document("missing", tmp_path / "missing.txt")
            yield Document("broken", BreaksOff(PAGES.encode(), 400_000))
        yield Document("end", "The end.")

    with pytest.raises(SourceError, match="missing"):
        MapReduceRunner("fails", on_source_error="fail", **SETTINGS).run(given(), text_of)
    assert Job("fails").status().done > 0
    mended = MapReduceRunner("fails", on_source_error="fail", **SETTINGS).run(given(bad=False), text_of)
    assert len(mended.results) == 1501
    assert mended.summary.resumed_chunks > 0
    done = MapReduceRunner("skips", **SETTINGS).run(given(), text_of)
    assert len(done.summary.unread_sources) == 2
    assert any("2 of 1503 sources cannot be read" in warning for warning in done.summary.warnings)
    broken = "".join(one.result[3] for one in done.results if one.result[0] == "broken")
    assert PAGES[:80] in broken
    assert done.results[-1].result[3] == "The end."
    again = MapReduceRunner("skips", **SETTINGS).run(given(), text_of)
    assert again.summary.processed_chunks == 0
    assert len(again.summary.unread_sources) == 2


@pytest.mark.usefixtures("at_once")
def test_a_pipe_is_kept_before_any_of_it_is_used() -> None:
    def pipe() -> Any:
        ends = os.pipe()

        def write() -> None:
            with os.fdopen(ends[1], "wb") as file:
                file.write(PAGES.encode())

        threading.Thread(target=write, daemon=True).start()
        return os.fdopen(ends[0], "rb")

    with pipe() as first, pipe() as second:
        assert is_read_once(first)
        stopped_at("piped", [Document("a", first), Document("b", second)], 30)
    with ResumeEngine(Job("piped").folder) as stored:
        assert stored.epoch is not None
        assert not stored.epoch.reading
    done = MapReduceRunner("piped", **SETTINGS).resume("piped", text_of)
    assert done.summary.resumed_chunks >= 30
    assert done.results[-1].result[0] == "b"


def test_what_is_read_in_a_moment_is_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EarlyStart, "begin", None)
    assert len(MapReduceRunner(**SETTINGS).run(["one", "two"], text_of).results) == 2


HOST = """
import sys, time
from mrengine.host import document_stream, prepare, row_stream, rounds
prepare.FIRST_S = prepare.READ_S = document_stream.COMPARE_S = 0.0
row_stream.SLICE_S = row_stream.LONGEST_S = 0.004
rounds.AHEAD = 200
from pathlib import Path
from tests.host.test_document_stream import SETTINGS, many, paid_for
from mrengine import MapReduceRunner
if __name__ == "__main__":
    MapReduceRunner("killed", drain_s=0.5, **SETTINGS).run(many(Path(sys.argv[1])), paid_for)
"""


def many(path: Path) -> Iterator[Document]:
    """Some documents, a long file among them, slowly."""
    for number, one in enumerate(notes(1200)):
        if number % 40 == 0:
            time.sleep(0.01)
        yield one
        if number == 500:
            yield Document("long", path)


def paid_for(chunk: Any, _context: Any) -> list[Any]:
    return [chunk.document_id, chunk.start, chunk.text]


def killed_at(seconds: Callable[[], float], times: int, script: Path, path: Path) -> int:
    """How often a host was killed before it had ended."""
    begun = 0
    for _ in range(times):
        command = [sys.executable, os.fspath(script), os.fspath(path)]
        host = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
        time.sleep(seconds())
        begun += host.poll() is None
        host.send_signal(signal.SIGKILL)
        host.wait()
    return begun


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.system) for seed in range(1, 60))])
def test_hosts_that_are_killed_while_they_read(tmp_path: Path, seed: int) -> None:
    """At random instants: nothing is lost, nothing is run twice that was durable, and the chunk table is that of a job
    that nobody has killed.
    """
    script, path = tmp_path / "host.py", tmp_path / "long.md"
    script.write_text(HOST)
    path.write_text(PAGES[:250_000])
    instants = random.Random(seed)
    killed_at(lambda: instants.uniform(0.5, 2.5), 2 if seed == 0 else 4, script, path)
    # On a machine in use, each may have been killed before it had made a log.
    known = Job("killed").status().done if os.path.exists(Job("killed").folder / "log") else 0
    done = MapReduceRunner("killed", on_busy="wait", **SETTINGS).run(many(path), paid_for)
    assert done.summary.resumed_chunks >= known
    whole = MapReduceRunner("whole", **SETTINGS).run(many(path), paid_for)
    assert [one.result for one in done.results] == [one.result for one in whole.results]
    assert rows_of("killed") == rows_of("whole")
    verdict = verify(Job("killed").folder)
    assert verdict.problems == ()
    assert verdict.records["RESULT"] == len(whole.results)


@pytest.mark.parametrize(
    ("read_all", "piped", "possible"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_a_new_job_begins_early_where_more_is_to_be_read_and_can_be_read_again(
    tmp_path: Path, read_all: bool, piped: bool, possible: bool
) -> None:
    os.mkfifo(tmp_path / "pipe")
    documents: list[Any] = [Document("a", "One."), "Two."]
    intake = Intake(tmp_path, documents, skip=True)
    if read_all:
        intake.advance()
    plan: Any = None  # it is not asked for
    early = EarlyStart(tmp_path, intake, plan, first_s=0.0, stage=plan)
    if piped:
        documents.append(Document("p", tmp_path / "pipe"))
    assert early.is_possible(None, documents) is possible
    intake.discard()
