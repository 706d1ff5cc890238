"""A job is opened, its rounds are played and it is freed, over a backend that does what the test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrengine import MapReduceRunner
from mrengine.engine import protocol as m
from mrengine.engine.protocol import RoundSettings, RoundSetup, WorkerConfig
from mrengine.errors import JobBusy, LogError
from mrengine.job.budget_config import BudgetTerms
from mrengine.job.driver import Ended, OpenRequest, RoundRequest
from mrengine.job.round_driver import RoundDriver
from mrengine.log.format import codec
from mrengine.log.view.job_view import ResumeEngine
from tests.log.sample import call, result

DOCUMENTS = ["a", "b", "c"]


class Script:
    """A backend of one worker: what it was given, and what it says when it is set up."""

    workers = slots = 1
    start_s = horizon_s = 0.0

    def __init__(self, *said: m.Message) -> None:
        self.said: Sequence[m.Message] = said or [(0, m.READY, -1, -1, b"")]
        self.sent: list[int] = []
        self.setup: RoundSetup | None = None
        self.drained = False

    def set_up(self, setup: RoundSetup) -> Sequence[m.Message]:
        self.setup = setup
        return self.said

    def send(self, worker: int, tasks: Sequence[m.Start]) -> None:
        self.sent += [task.chunk for task in tasks]

    def started(self, worker: int) -> Sequence[m.Started]:
        return ()

    def drain(self) -> None:
        self.drained = True

    def __getattr__(self, name: str) -> Any:
        return lambda *args: 0


class Heard:
    """An announcer."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.notes: list[str] = []

    def durable(self, offset: int) -> None:
        self.offsets.append(offset)

    def note(self, name: str, fields: Mapping[str, Any]) -> None:
        self.notes.append(name)

    def line(self, packed: bytes) -> None:
        raise AssertionError


@pytest.fixture(name="folder")
def _folder(state_dir: Path) -> Path:
    """Of a job with three chunks, of which one has its result."""

    def only(chunk: Any, context: Any) -> int:
        if chunk.id:
            raise KeyboardInterrupt
        return 1

    with pytest.raises(KeyboardInterrupt):
        MapReduceRunner("job", models="fake", backend="sequential", map_version="1").run(DOCUMENTS, only)
    return state_dir / "jobs" / "job"


def opening(folder: Path) -> OpenRequest:
    return OpenRequest(str(folder), "job", "fsync", strict=False, workers=1, slots=1)


def request(**settings: Any) -> RoundRequest:
    return RoundRequest(
        RoundSettings(round=0, models=["fake"], **settings),
        WorkerConfig("job", 0, "P1_user", False, b"", b"", b"", 60.0, 1.0, 30),
        BudgetTerms({}, None, {}, "P1_user", (), "", "h", {}, 0),
        expected_calls=10,
    )


def test_a_round_runs_what_has_no_result_and_ends_in_order(folder: Path) -> None:
    """What is announced is on disk, and the workers' journals are not needed any more."""
    heard, backend = Heard(), Script()
    rounds = RoundDriver(heard)
    began = rounds.open(opening(folder))
    (folder / "salvage-0-1").touch()
    assert rounds.play(request(), backend) is None
    assert backend.sent == [1]
    assert rounds.take([(0, codec.RESULT, 1, 0, result(1))]) is None
    assert rounds.take([(0, codec.RESULT, 2, 0, result(2))]) == Ended("done", {})
    assert heard.offsets == sorted(set(heard.offsets))
    assert heard.offsets[0] == began
    assert not list(folder.glob("salvage-*"))
    assert rounds.take([]) is None
    rounds.finish(b"")
    with ResumeEngine(folder) as view:
        assert list(view.pending()) == []


def test_a_backend_is_given_what_the_log_knows(folder: Path) -> None:
    """Where texts and stored answers stand; and a budget that starts from what was used by then."""
    rounds, backend = RoundDriver(Heard()), Script()
    rounds.open(opening(folder))
    rounds.play(request(), backend)
    assert backend.setup is not None
    assert (backend.setup.files.folder, backend.setup.files.check_texts) == (str(folder), True)
    assert len(backend.setup.budget().history) == 0
    backend.setup.record((0, codec.CALL, 1, 0, call("x", 1, at=2e9)))
    assert len(backend.setup.answers) == 1
    rounds.close()


def test_a_round_that_cannot_be_started_has_ended(folder: Path) -> None:
    """What the backend says at once is its end."""
    rounds = RoundDriver(Heard())
    rounds.open(opening(folder))
    ended = rounds.play(request(), Script((-1, m.BROKEN, -1, -1, b"no cluster")))
    assert ended == Ended("broken", {"message": "no cluster", "cause": "no cluster"})
    rounds.close()


def test_a_cancelled_job_drains(folder: Path) -> None:
    """The mark is looked for between two steps."""
    rounds, backend = RoundDriver(Heard(), look_s=0.0), Script()
    rounds.open(opening(folder))
    rounds.play(request(), backend)
    (folder / "cancelled").touch()
    assert rounds.take([]) is None
    assert backend.drained
    assert rounds.take([(0, codec.RESULT, 1, 0, result(1))]) == Ended("cancelled", {})
    rounds.close()


def test_what_is_in_flight_at_the_end_keeps_its_journal(folder: Path) -> None:
    """Its answers were paid for, and may not be in the log."""
    rounds = RoundDriver(Heard())
    rounds.open(opening(folder))
    rounds.play(request(drain_s=0.0), Script())
    (folder / "salvage-0-1").touch()
    rounds.stop("stopped")
    assert rounds.take([]) == Ended("stopped", {})
    assert rounds.in_flight == 1
    assert list(folder.glob("salvage-*"))
    rounds.close()


def test_an_exception_of_user_code_ends_the_round(folder: Path) -> None:
    """Where workers share the process: the job can be freed, and opened again."""

    class Fails(Script):
        def set_up(self, setup: RoundSetup) -> Sequence[m.Message]:
            raise LookupError

    rounds = RoundDriver(Heard())
    rounds.open(opening(folder))
    with pytest.raises(LookupError):
        rounds.play(request(), Fails())
    assert rounds.engine is None
    rounds.finish(b"")
    rounds.open(opening(folder))
    with pytest.raises(JobBusy):
        RoundDriver(Heard()).open(opening(folder))
    rounds.close()


def test_a_log_that_cannot_be_opened_leaves_the_job_free(folder: Path) -> None:
    """``strict``, and a damaged log."""
    log = folder / "log"
    data = bytearray(log.read_bytes())
    data[200] ^= 1
    log.write_bytes(data)
    rounds = RoundDriver(Heard())
    with pytest.raises(LogError):
        rounds.open(OpenRequest(str(folder), "job", "fsync", strict=True, workers=1, slots=1))
    rounds.open(opening(folder))
    rounds.close()
