"""What a map function is given beside its chunk."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.log.format import codec, task_records
from mrengine.records import Chunk
from mrengine.worker.context import check_tokens
from tests.worker.test_ports import Shipped, run


def results(said: list[tuple[int, int, int, bytes]]) -> list[Any]:
    return [task_records.unpack_result(payload).result for kind, *_, payload in said if kind == codec.RESULT]


def kinds(said: list[tuple[int, int, int, bytes]]) -> list[int]:
    return [kind for kind, *_ in said]


def test_it_knows_its_task() -> None:
    """Model, worker, attempt, priority, job, trace."""

    def facts(_chunk: Chunk, context: Any) -> list[Any]:
        return [
            context.model,
            context.worker_id,
            context.attempt,
            context.priority,
            context.job_id,
            context.traceparent,
        ]

    assert results(run(facts, Shipped(), 0)) == [["fake", 3, 1, "P1_user", "j", ""]]


def test_the_same_question_twice_is_two_calls() -> None:
    """Each with its own place in the log."""
    said = run(lambda chunk, context: [context.complete("same").text for _ in range(2)], Shipped(), 0)
    assert kinds(said) == [codec.INTENT, codec.CALL] * 2 + [codec.RESULT]
    digests = [task_records.unpack_call(payload).digest for kind, *_, payload in said if kind == codec.CALL]
    assert len(set(digests)) == 2


def test_reuse_false_asks_again_what_the_log_knows() -> None:
    """And its own answer is not taken for another call's."""
    first, second = Shipped(), Shipped()
    run(lambda chunk, context: context.complete("same").text, first, 0)
    call = task_records.unpack_call(first.kept[0])
    second.answers[call.digest] = call
    said = run(lambda chunk, context: context.complete("same", reuse=False).text, second, 0)
    assert kinds(said) == [codec.INTENT, codec.CALL, codec.RESULT]
    assert call.reusable
    assert not task_records.unpack_call(second.kept[0]).reusable


@pytest.mark.parametrize("tokens", [-1, 1.5, "10", True])
def test_a_budget_is_a_number_of_tokens(tokens: Any) -> None:
    """A setting that is wrong names itself."""
    with pytest.raises(ValueError, match="numbers of tokens"):
        check_tokens(5, tokens)


def test_a_budget_that_is_used_is_a_call_in_the_log() -> None:
    """A client of the user's own is metered like ours."""

    def ask(_chunk: Chunk, context: Any) -> str:
        with context.budget(100, max_tokens=10) as grant:
            grant.used(60)
        return "done"

    ports = Shipped()
    said = run(ask, ports, 0)
    assert (ports.acquired, ports.settled) == ([("fake", True)], 1)
    (call,) = [task_records.unpack_call(payload) for kind, *_, payload in said if kind == codec.CALL]
    assert call.usage.total_tokens == 60
