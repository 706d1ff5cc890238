"""What a death means for the tasks that the worker had: each is in one of four fates."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.engine.crash_attribution import AttemptCounter, CrashBisection
from mrengine.engine.group_commit import GroupCommit
from mrengine.engine.protocol import Death, Started
from mrengine.engine.queues import PrefetchWindow
from mrengine.engine.worker_monitor import Aftermath, Worker, WorkerHealth, aftermath, rest_s


def judged(
    flight: list[int],
    running: list[int],
    mark: WorkerHealth | None = None,
    *,
    exitcode: int | None = -signal.SIGSEGV,
    garbled: bool = False,
    attempts: AttemptCounter | None = None,
) -> Aftermath:
    death = Death([Started(chunk, 0, 0.0) for chunk in running], exitcode, "SIGSEGV", garbled)
    return aftermath(
        flight,
        death,
        mark or WorkerHealth(),
        key=lambda chunk, model: chunk,
        attempts=attempts or AttemptCounter(3),
        chunk_timeout_s=60.0,
    )


def test_the_one_that_ran_is_charged() -> None:
    """Those behind it were not begun."""
    after = judged([1, 2, 3], [2])
    assert (after.charged, after.kind, after.why) == ([2], "crash", "SIGSEGV")
    assert (after.waiting, after.suspects, after.blameless) == ([1, 3], [], False)


def test_of_several_that_ran_one_is_guilty() -> None:
    """None is charged before it is known which."""
    after = judged([1, 2, 3, 4], [4, 2])
    assert (after.suspects, after.charged, after.waiting) == ([2, 4], [], [1, 3])


def test_what_could_not_be_read_may_have_been_any_tasks() -> None:
    """All that it held are suspects, whatever its board says."""
    assert judged([1, 2, 3], [2], garbled=True).suspects == [1, 2, 3]


@pytest.mark.parametrize("exitcode", [None, -signal.SIGKILL])
def test_a_worker_that_was_replaced_for_one_that_hung_costs_the_others_nothing(exitcode: int | None) -> None:
    """They had begun, and are not to blame. A backend that cannot see how a worker ended says None."""
    mark = WorkerHealth(reason="a task ran too long in it", overdue=frozenset({1}), killed=True)
    after = judged([1, 2, 3], [1, 2], mark, exitcode=exitcode)
    assert (after.charged, after.kind, after.begun, after.waiting) == ([1], "hang", [2], [3])
    assert after.cause == "the worker was replaced: a task ran too long in it"


def test_a_worker_that_crashes_while_it_is_to_be_replaced_did_it_by_itself() -> None:
    """By another signal than ours."""
    mark = WorkerHealth(reason="it held more than max_worker_rss", killed=True)
    assert judged([1], [1], mark).kind == "crash"


def test_a_worker_that_was_stopped_from_outside_counts_once() -> None:
    """Under the same task again it has not come from outside."""
    attempts = AttemptCounter(3)
    mark = WorkerHealth(reason="it was stopped by SIGSTOP", halted=True, killed=True)
    first = judged([1], [1], mark, exitcode=-signal.SIGKILL, attempts=attempts)
    again = judged([1], [1], mark, exitcode=-signal.SIGKILL, attempts=attempts)
    assert (first.blameless, first.charged, first.begun) == (True, [], [1])
    assert (again.blameless, again.charged, again.kind) == (False, [1], "crash")


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.booleans(), st.booleans())
def test_each_task_has_one_fate(
    flight: set[int], running: set[int], overdue: set[int], killed: bool, garbled: bool
) -> None:
    """Whatever the worker was, and also where its board tells of tasks that it does not hold any more."""
    mark = WorkerHealth(overdue=frozenset(overdue), killed=killed)
    after = judged(sorted(flight), sorted(running), mark, exitcode=-signal.SIGKILL, garbled=garbled)
    fates = [*after.charged, *after.suspects, *after.begun, *after.waiting]
    assert sorted(fates) == sorted(flight)


@pytest.mark.parametrize(
    ("tasks", "window", "result_bytes", "rests"),
    [
        (100, 101, 5000, True),
        (40, 101, 5000, False),  # it will soon have nothing to do
        (4, 4, 5000, False),  # tasks that take longer than a moment
        (100, 101, None, False),  # a call, a failure
        (100, 101, 1 << 20, False),  # its pipe may be full
        (0, 101, 5000, False),
    ],
)
def test_workers_are_left_alone_while_they_have_plenty_to_do(
    tasks: int, window: int, result_bytes: int | None, *, rests: bool
) -> None:
    """And nothing came from them that is urgent. One that has nothing at all waits for nothing."""
    commits = GroupCommit(None, lambda offset: None, lambda payload, offset: None)  # type: ignore[arg-type]
    commits.result_bytes = result_bytes
    workers = []
    for held in (tasks, 0):
        pace = PrefetchWindow(1, lambda: 0.0)
        pace.window = window
        workers.append(Worker(dict.fromkeys(range(held), 0), CrashBisection(), pace, 0.0))
    assert (rest_s(workers, commits) > 0) is rests
