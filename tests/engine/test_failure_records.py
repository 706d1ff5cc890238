"""The engine's own records, and how many deaths a pool survives."""

from __future__ import annotations

import pytest

from mrengine.engine.failure_records import FailureRecords, RestartLimiter, allowed_deaths
from mrengine.log.format import task_records


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
