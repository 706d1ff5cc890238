"""A chunk table that is made while the workers are at its first rows."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrengine import Document, Job, MapReduceRunner
from mrengine.backends.process.driver import ProcessDriver
from mrengine.errors import ChunkingError, JobMismatch
from mrengine.host import prepare, rounds, row_stream
from mrengine.log.view.job_view import ResumeEngine
from mrengine.log.view.verify import verify
from tests.host.killed_hosts import kill_hosts
from tests.system.processes import wait_for

pytestmark = pytest.mark.usefixtures("state_dir")
PARAGRAPH = "# Visit {0}\n\nThe patient of bed {0} slept well – über Nacht. Nothing else was seen.\n\n\n\n"
LONG = "".join(PARAGRAPH.format(i) for i in range(400))
DOCUMENTS = [Document(f"row {i}", f"Row {i} says what is known of it.") for i in range(900)]
SETTINGS: dict[str, Any] = {"target_tokens": 120, "overlap_tokens": 20, "map_version": "1"}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers begin with the first row, while the documents are read."""
    monkeypatch.setattr(prepare, "READ_S", 0.0)
    monkeypatch.setattr(prepare, "FIRST_S", 0.0)


def span_of(chunk: Any, _context: Any) -> list[Any]:
    return [chunk.document_id, chunk.start, chunk.end, chunk.overlap, list(chunk.headings), chunk.text]


def rows_of(job_id: str) -> list[Any]:
    with ResumeEngine(Job(job_id).folder) as stored:
        table = stored.chunk_table()
        return [(row._replace(context=0), table.heads(index, row)) for index, row in enumerate(table)]


def test_what_is_not_cut_within_the_first_slice_anyhow_has_a_shorter_one() -> None:
    large = row_stream.LARGE_BYTES + 1
    assert row_stream.first_slice_s(row_stream.FIRST_S, large) < row_stream.first_slice_s(row_stream.FIRST_S, 1000)
    assert row_stream.first_slice_s(0.0, large) == 0.0
    assert row_stream.first_slice_s(math.inf, large) == math.inf  # the whole table is wanted


def documents() -> list[Document]:
    return [Document("a", LONG), *DOCUMENTS[:300], Document("blank", "  \n "), Document("z", LONG[7:])]


@pytest.mark.parametrize("read_s", [0.0, 9.0])
@pytest.mark.parametrize("settings", [{"workers": 2}, {"backend": "sequential", "durability": "flush"}])
def test_chunks_and_results_are_those_of_a_table_that_is_made_first(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], read_s: float
) -> None:
    whole = MapReduceRunner("whole", **SETTINGS, **settings).run(documents(), span_of)
    monkeypatch.setattr(prepare, "FIRST_S", 0.0)
    monkeypatch.setattr(prepare, "READ_S", read_s)
    runner, told = MapReduceRunner("streamed", **SETTINGS, **settings), []
    runner.on("*", told.append)
    streamed = runner.run(documents(), span_of)
    assert [one.result for one in streamed.results] == [one.result for one in whole.results]
    assert rows_of("streamed") == rows_of("whole")
    assert streamed.summary.total_chunks == whole.summary.total_chunks
    assert "nothing but blanks" in streamed.summary.warnings[0]
    assert Job("streamed").status().state == "done"
    assert not Job("streamed").status().total_so_far
    starts = [event for event in told if event.name == "job:start"]
    assert [(start.total_so_far, start.total < streamed.summary.total_chunks) for start in starts] == [(True, True)]
    totals = [event.total for event in told if event.name == "chunk:processed"]
    assert totals == sorted(totals)
    assert verify(Job("streamed").folder).problems == ()
    again = runner.run(documents(), span_of)
    assert (again.summary.processed_chunks, again.summary.resumed_chunks) == (0, len(whole.results))


@pytest.mark.usefixtures("at_once")
def test_supervisors_may_die_while_documents_are_cut() -> None:
    """Rows that one has taken along are given to the next; each outcome is told once."""
    runner, told = MapReduceRunner("dying", workers=2), []

    def strike(event: Any) -> None:
        told.append(event.chunk_id)
        if len(told) in (1, 100, 200):
            driver = runner._pool.open()
            assert isinstance(driver, ProcessDriver)
            os.kill(driver.pid, signal.SIGKILL)
            wait_for(lambda: driver._supervisor._process.poll() is not None)

    runner.on("chunk:processed", strike)
    given = DOCUMENTS[:400]
    done = runner.run(given, span_of)
    assert sorted(told) == list(range(len(given)))
    assert [one.result[-1] for one in done.results] == [one.source for one in given]


@pytest.mark.usefixtures("at_once")
def test_rows_wait_for_slow_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than ``AHEAD`` are cut before their turn comes, but for those of one slice."""
    monkeypatch.setattr(rounds, "AHEAD", 50)
    runner, ahead = MapReduceRunner("slow", workers=2), []
    runner.on("chunk:processed", lambda event: ahead.append((event.total - event.done, event.total_so_far)))
    runner.run([Document(str(i), LONG[:3000]) for i in range(800)], lambda chunk, _context: time.sleep(0.001))
    assert len(ahead) == 800
    assert min(left for left, so_far in ahead if so_far) <= 50
    assert max(left for left, so_far in ahead if so_far) < 700


def stop_in_the_middle(name: str, given: Sequence[Document]) -> None:
    runner = MapReduceRunner(name, **SETTINGS)
    seen = []

    def stop(event: Any) -> None:
        seen.append(event.total_so_far)
        if len(seen) == 20:
            runner.stop()

    runner.on("chunk:processed", stop)
    with pytest.raises(Exception, match="stopped"):
        runner.run(given, span_of)
    assert seen[0]


def test_a_job_that_was_left_half_cut_goes_on_by_documents_and_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rows that it has, and never with other documents."""
    given = [Document("a", LONG[:12_000]), *DOCUMENTS[:150], Document("blank", " "), Document("z", LONG[7:12_000])]
    whole = MapReduceRunner("whole", **SETTINGS).run(given, span_of)
    for name in ("again", "by-id"):
        with monkeypatch.context() as patch:
            patch.setattr(prepare, "READ_S", 9.0)
            patch.setattr(prepare, "FIRST_S", 0.0)
            patch.setattr(rounds, "AHEAD", 30)
            patch.setattr(row_stream, "SLICE_S", 0.001)  # a quick machine cuts all of them in one slice
            patch.setattr(row_stream, "LONGEST_S", 0.001)
            stop_in_the_middle(name, given)
        status = Job(name).status()
        assert status.total_so_far
        assert 0 < status.done <= status.total < len(whole.results)
        with pytest.raises(JobMismatch, match="other inputs"):
            MapReduceRunner(name, **SETTINGS).run([*given[:-1], Document("z", "other")], span_of)
        runner = MapReduceRunner(name, **SETTINGS)
        done = runner.run(given, span_of) if name == "again" else runner.resume(name, span_of)
        assert done.summary.resumed_chunks == status.done
        assert [one.result for one in done.results] == [one.result for one in whole.results]
        assert rows_of(name) == rows_of("whole")


class Fails:
    """A splitter that cannot cut the last document."""

    def __call__(self, text: str) -> Iterator[int]:
        if "impossible" in text:
            raise ChunkingError("cannot be cut")
        return iter(())


@pytest.mark.usefixtures("at_once")
def test_what_was_done_stays_where_a_later_document_cannot_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "AHEAD", 30)  # so that it is cut when others are done
    given = [*DOCUMENTS, Document("bad", "impossible " * 400)]
    with pytest.raises(ChunkingError):
        MapReduceRunner("partly", splitter=Fails(), target_tokens=200).run(given, span_of)
    assert Job("partly").status().done > 0
    assert Job("partly").status().state == "stopped"


HOST = """
import sys
from mrengine.host import prepare
prepare.FIRST_S = prepare.READ_S = 0.0
from tests.host.test_row_stream import DOCUMENTS, SETTINGS, LONG, documents, span_of
from mrengine import MapReduceRunner
if __name__ == "__main__":
    print("begins", flush=True)
    MapReduceRunner("killed", workers=2, drain_s=0.5, **SETTINGS).run(documents(), span_of)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(25, marks=pytest.mark.system)])
def test_hosts_that_are_killed_while_they_cut(tmp_path: Path, kills: int) -> None:
    """At random instants; the job ends with the rows and the results of one that nobody killed."""
    script = tmp_path / "host.py"
    script.write_text(HOST)
    kill_hosts(script, times=kills, instants=random.Random(20))
    whole = MapReduceRunner("whole", **SETTINGS).run(documents(), span_of)
    done = MapReduceRunner("killed", on_busy="wait", **SETTINGS).run(documents(), span_of)
    assert [one.result for one in done.results] == [one.result for one in whole.results]
    assert rows_of("killed") == rows_of("whole")
    assert verify(Job("killed").folder).problems == ()
