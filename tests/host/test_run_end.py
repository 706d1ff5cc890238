"""How a run ends: its error, its state, and what is kept of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrengine.errors import (
    BudgetExhausted,
    JobCancelled,
    JobError,
    JobFailed,
    JobTimeout,
    PoolBroken,
    SupervisorDied,
)
from mrengine.host.run_end import clear, close_payload, end_state, ending
from mrengine.host.run_summary import SummaryBuilder
from mrengine.log.file.lock import JobLock
from mrengine.log.format.job_records import unpack_close


@pytest.mark.parametrize(
    ("state", "error", "close", "has_facts"),
    [
        ("budget", BudgetExhausted, "budget", True),
        ("broken", PoolBroken, "failed", True),
        ("failed", JobFailed, "failed", False),
        ("died", SupervisorDied, "stopped", False),
        ("timeout", JobTimeout, "timeout", False),
        ("cancelled", JobCancelled, "cancelled", False),
        ("stopped", JobCancelled, "stopped", False),
        ("interrupted", JobCancelled, "stopped", False),
    ],
)
def test_each_end_of_a_round_has_its_error(state: str, error: type[JobError], close: str, *, has_facts: bool) -> None:
    found = ending(state, "why", "j", trouble="")
    assert (found.error, found.state, found.has_facts) == (error, close, has_facts)


def test_a_timeout_says_what_went_wrong_before() -> None:
    """A provider that was away is the usual cause."""
    assert "HTTP 503" in ending("timeout", "", "j", trouble="HTTP 503").message


@pytest.mark.parametrize(
    ("state", "error", "began", "told"),
    [
        ("done", None, True, "done"),
        ("stopped", ValueError(), False, "refused"),
        ("stopped", JobTimeout("late"), False, "timeout"),
        ("stopped", KeyboardInterrupt(), False, "stopped"),
        ("done", ValueError(), True, "failed"),  # by reduce_fn
        ("done", KeyboardInterrupt(), True, "stopped"),
        ("budget", BudgetExhausted("spent"), True, "budget"),
    ],
)
def test_the_last_event_says_how_the_run_ended(
    state: str, error: BaseException | None, told: str, *, began: bool
) -> None:
    assert end_state(state, error, began=began) == told


def test_a_close_has_the_summary_and_the_reason() -> None:
    record = unpack_close(close_payload("failed", SummaryBuilder("j").summary(0.0), "no disk"))
    assert (record.state, record.summary["reason"], record.summary["job_id"]) == ("failed", "no disk", "j")


@pytest.mark.parametrize(("keep", "left"), [("always", {"log", "spool-x"}), ("results", {"log"}), ("on_failure", None)])
def test_what_is_kept_of_a_job_that_is_done(keep: str, left: set[str] | None, tmp_path: Path) -> None:
    """And nothing is taken from under whoever runs it by now."""
    job = tmp_path / "j"
    job.mkdir()
    for name in ("log", "spool-x"):
        (job / name).touch()
    lock = JobLock(job)
    assert lock.try_acquire()
    clear(job, keep)
    assert {"log", "spool-x"} <= {path.name for path in job.iterdir()}
    lock.release()
    clear(job, keep)
    assert (None if not job.exists() else {path.name for path in job.iterdir()} - {"lock"}) == left
