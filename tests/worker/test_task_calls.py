"""What a task's calls come to, and how one question is known again."""

from __future__ import annotations

from typing import Any

import pytest

from mrengine.engine.protocol import Start
from mrengine.records import Completion, Request, Usage
from mrengine.worker.task_calls import Deadline, Question, TaskCalls


def completion(text: str, *, reused: bool = False) -> Completion:
    return Completion(text, usage=Usage(10, 2), model="m", reused=reused)


def test_calls_are_counted_apart_from_answers_of_the_log() -> None:
    """Their tokens count all the same; one unknown price makes the sum unknown, for good."""
    calls = TaskCalls()
    calls.add(completion("a"), 0.5)
    calls.add(completion("b", reused=True), 0.25)
    assert (calls.made, calls.reused, calls.usage, calls.cost_usd) == (1, 1, Usage(20, 4), 0.75)
    calls.own(Usage(1, 1), None)
    calls.add(completion("c"), 1.0)
    assert (calls.made, calls.usage, calls.cost_usd) == (3, Usage(31, 7), None)


def test_no_message_may_repeat_an_answer_that_was_refused() -> None:
    """Each is kept once, in order; an empty one is none."""
    calls = TaskCalls()
    for text in ("first", "", "second", "first"):
        calls.note_answer(text)
    assert list(calls.answers) == calls.texts == ["first", "second"]


def test_the_same_question_is_numbered_within_a_task() -> None:
    """Who asks three times wants three answers, and the same three in the next attempt."""
    for calls in (TaskCalls(), TaskCalls()):
        assert [calls.nth(b"a"), calls.nth(b"a"), calls.nth(b"b"), calls.nth(b"a")] == [0, 1, 0, 2]


class Store:
    """Notes how it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def turns(self, digest: bytes, **how: Any) -> list[str]:
        self.asked.append((digest, how))
        return ["stored"]

    def earlier(self, digest: bytes, **how: Any) -> int:
        return 1


def question(*, reusable: bool = True, nth: int = 0, prompt: str = "p", text: str = "chunk") -> Question:
    made: Any = Store()
    fields: dict[str, Any] = {"task": Start(4, 0, 2), "chunk": None, "deadline": None, "calls": TaskCalls()}
    fields |= {"store": made, "index": 0, "response_model": None, "on_truncation": "error"}
    return Question(**fields, request=Request("m", prompt), reusable=reusable, owner=b"me", text=text, nth=nth)


def test_a_digest_tells_all_that_an_answer_depends_on() -> None:
    """The identity, the request, the chunk's text, and how often it was asked."""
    same = question().digest("model")
    assert question().digest("model") == same
    others = {question(nth=1).digest("model"), question(prompt="q").digest("model")}
    others |= {question(text="other").digest("model"), question().digest(["model", "stand-in"])}
    assert len(others) == 4
    assert same not in others


def test_a_question_that_wants_a_new_answer_takes_none_of_the_log() -> None:
    """Otherwise the store is asked for this task's, and for what its owner may share."""
    fresh = question(reusable=False)
    assert (list(fresh.stored(b"d")), fresh.store.asked) == ([], [])  # type: ignore[attr-defined]
    asked = question()
    assert list(asked.stored(b"d")) == ["stored"]
    assert asked.store.asked == [(b"d", {"chunk": 4, "attempt": 2, "owner": b"me"})]  # type: ignore[attr-defined]
    assert asked.earlier(b"d") == 1


def test_the_deadline_is_made_once() -> None:
    """Waits put it off for all calls of the task."""
    calls, made = TaskCalls(), []

    def make() -> Deadline:
        made.append(Deadline(10.0, lambda waiting: None, began=5.0))
        return made[-1]

    assert calls.deadline(make) is calls.deadline(make) is made[0]
    assert (len(made), made[0].at) == (1, 15.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_wait_for_the_budget_puts_the_deadline_off() -> None:
    """By as long as it took, however it ended; begin and end are told."""
    clock, told, heard = Clock(), [], []
    deadline = Deadline(10.0, told.append, clock=clock)
    for error in (None, ValueError("stopped")):
        try:
            with deadline.paused(lambda model, wait_ms: heard.append((model, wait_ms))) as on_wait:
                on_wait("m", 30_000.0)
                clock.now += 30.0
                if error is not None:
                    raise error
        except ValueError:
            pass
    assert deadline.at == 170.0
    assert told == [True, False] * 2
    assert heard == [("m", 30_000.0)] * 2


def test_a_grant_at_once_is_no_wait() -> None:
    """Nobody is told, and what it cost is the task's."""
    clock = Clock()
    deadline = Deadline(10.0, lambda waiting: pytest.fail("there was no wait"), clock=clock)
    with deadline.paused(lambda model, wait_ms: None):
        clock.now += 0.01
    assert deadline.at == 110.0
