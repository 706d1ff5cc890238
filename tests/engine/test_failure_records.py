"""The engine's own records, and how many deaths a pool survives."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mrengine.engine.failure_records import LOGGED, FailureRecords, Notes, RestartLimiter, allowed_deaths
from mrengine.log.format import task_records
from mrengine.log.format.job_records import unpack_note


@pytest.fixture
def packer() -> FailureRecords:
    return FailureRecords(2, ["a", "b"], lambda chunk: f"doc{chunk}", lambda: 12.5)


def test_a_task_that_is_given_up_names_its_document_its_model_and_why(packer: FailureRecords) -> None:
    """The worker is gone: only the engine can write this failure."""
    failure = task_records.unpack_failure(packer.given_up(7, 1, 3, 2, "hang", "its worker was replaced"))
    assert (failure.round, failure.chunk_id, failure.document_id, failure.model) == (2, 7, "doc7", "b")
    assert (failure.kind, failure.attempts, failure.at) == ("hang", 2, 12.5)
    assert failure.message == "given up after 2 attempts, it hung each time: its worker was replaced"


def test_a_refused_task_repeats_the_cause_unchanged(packer: FailureRecords) -> None:
    """The task itself has worded it, without anything of the chunk's."""
    failure = task_records.unpack_failure(packer.refused(7, 0, -1, 1, "a: refused with status 403"))
    assert (failure.kind, failure.model, failure.message) == ("model", "a", "a: refused with status 403")


def test_a_job_without_models_has_failures_without_one() -> None:
    """Its tasks all have model 0, which is nobody's index."""
    packer = FailureRecords(0, [], lambda chunk: "d", lambda: 0.0)
    assert task_records.unpack_failure(packer.given_up(0, 0, 0, 1, "crash", "SIGSEGV")).model is None


def test_only_deaths_within_a_minute_and_without_progress_break_a_pool() -> None:
    """A finished task clears the count, and old deaths leave it."""
    limiter = RestartLimiter(2)
    assert [limiter.died(now) for now in (0.0, 1.0, 2.0)] == [0, 0, 3]
    limiter.finished()
    assert [limiter.died(now) for now in (3.0, 4.0, 70.0)] == [0, 0, 0]


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 16), (8, 1), (8, 16)])
def test_a_pool_survives_the_search_for_two_bad_tasks(workers: int, slots: int) -> None:
    """Halving the slots finds one; each is then given all its attempts."""
    assert allowed_deaths(workers, slots, 3) >= 2 * (3 + (slots - 1).bit_length())


class Ends:
    """The host, and the log."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.lines: list[bytes] = []
        self.logged: list[Any] = []
        self.taken: list[float] | None = None

    def durable(self, offset: int) -> None:
        raise AssertionError("nothing was committed")

    def note(self, *args: Any) -> None:
        if len(args) == 1:  # the log's
            self.logged.append(unpack_note(args[0]))
        else:
            self.noted.append(args)

    def line(self, packed: bytes) -> None:
        self.lines.append(packed)


def made(*, profile: bool = False) -> tuple[Notes, Ends]:
    ends: Any = Ends()
    return Notes(ends, ends, FailureRecords(2, (None,), str, lambda: 1.5), profile=profile), ends


def test_an_event_of_reports_goes_to_the_host_and_into_the_log() -> None:
    """With the round, the time and whom it is about."""
    notes, ends = made()
    notes.record("worker:crashed", {"exitcode": 9}, worker=3, chunk=7)
    assert ends.noted == [("worker:crashed", {"exitcode": 9})]
    (note,) = ends.logged
    assert (note.round, note.at, note.name, note.worker_id, note.chunk_id) == (2, 1.5, "worker:crashed", 3, 7)


@pytest.mark.parametrize("name", ["budget:wait", "budget:waited", "call:retry", "chunk:retry", "worker:respawned"])
def test_what_reports_draw_is_in_the_log(name: str) -> None:
    """How long a call waited, above all: without it a report shows what was expected when the wait began."""
    notes, ends = made()
    notes.record(name, {"wait_ms": 2.0}, chunk=7)
    assert [note.name for note in ends.logged] == [name]


def test_a_piece_of_an_answer_is_in_no_log() -> None:
    """It is document text in the making; the log has the answer when it is whole."""
    notes, ends = made()
    notes.record("answer:piece", {"at": 0, "text": "secret"})
    assert ends.noted
    assert not ends.logged
    assert "answer:piece" not in LOGGED


def test_a_printed_line_is_passed_on_as_it_is() -> None:
    """The host unpacks it."""
    notes, ends = made()
    notes.line(0, -1, -1, b"packed")
    assert ends.lines == [b"packed"]


def test_commits_are_reported_once_and_only_while_a_run_profiles() -> None:
    """Otherwise nobody keeps their durations."""
    assert made()[1].taken is None
    notes, ends = made(profile=True)
    notes.commits()
    assert not ends.noted
    ends.taken = [1.0, 2.5]
    notes.commits()
    notes.commits()
    ((name, fields),) = ends.noted
    assert (name, msgpack.unpackb(fields["records"])) == ("profile", [["commit", 1.0], ["commit", 2.5]])
