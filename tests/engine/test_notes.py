"""What a round reports besides outcomes: to the host always, into the log what reports show."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mrengine.engine.failure_records import FailureRecords
from mrengine.engine.notes import LOGGED, Notes
from mrengine.log.format.job_records import unpack_note


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
