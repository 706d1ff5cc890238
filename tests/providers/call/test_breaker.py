"""The circuit breaker on a clock of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrengine.errors import ModelRefused, ModelUnavailable, RateLimited
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.call.fallbacks import ask_any
from mrengine.providers.models.model import Model, resolve_models
from mrengine.records import Completion

ON = ("unavailable", "overflow")  # fallbacks_on


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(**options: float) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(threshold=3, cooldown_s=10, max_s=25, clock=clock), clock


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(ModelUnavailable("down"))


def test_it_opens_after_failures_in_a_row_only() -> None:
    """A success between them starts the count anew."""
    breaker, _ = made()
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker)
    assert (breaker.state, breaker.allow(), breaker.wait_s()) == ("open", False, 10)


def test_half_open_it_lets_one_call_try() -> None:
    """Its success closes; until then nobody else is let through."""
    breaker, clock = made()
    fail(breaker, 3)
    clock.now = 10
    assert breaker.state == "half-open"
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert (breaker.state, breaker.allow()) == ("closed", True)


def test_a_trial_that_is_not_made_lets_another_try() -> None:
    """Its time ran out in line for the budget: nothing was learnt, the cooldown is what it was."""
    breaker, clock = made()
    fail(breaker, 3)
    clock.now = 10
    assert breaker.allow()
    breaker.withdrawn()
    assert [breaker.allow() for _ in range(2)] == [True, False]
    fail(breaker)
    assert breaker.wait_s() == 20


def test_a_failed_trial_doubles_the_cooldown_up_to_its_bound() -> None:
    """10, 20, 25, 25 seconds; a success starts at 10 again."""
    breaker, clock = made()
    fail(breaker, 3)
    for expected in (20, 25, 25):
        clock.now += breaker.wait_s()
        assert breaker.allow()
        fail(breaker)
        assert breaker.wait_s() == expected
    clock.now += 25
    assert breaker.allow()
    breaker.succeeded()
    fail(breaker, 3)
    assert breaker.wait_s() == 10


def test_a_refusal_of_the_model_ends_it_a_refusal_of_a_chunk_proves_it_alive() -> None:
    """401 is for good; 400 is an answer; 429 is the budget's business."""
    breaker, clock = made()
    fail(breaker, 2)
    breaker.failed(ModelRefused("no", status=400))
    fail(breaker, 2)
    breaker.failed(RateLimited("slow"))
    assert breaker.state == "closed"
    breaker.failed(ModelRefused("no key", status=401, scope="model"))
    clock.now = 1e9
    assert (breaker.state, breaker.allow(), breaker.wait_s()) == ("ended", False, float("inf"))


@given(st.lists(st.sampled_from(["fail", "ok", "ask", "withdraw", "wait"]), max_size=60))
def test_it_is_never_stuck(steps: list[str]) -> None:
    """Whatever happened, after the longest cooldown a call is let through."""
    breaker, clock = made()
    for step in steps:
        if step == "fail":
            fail(breaker)
        elif step == "ok":
            breaker.succeeded()
        elif step == "withdraw" and breaker.allow():
            breaker.withdrawn()
        elif step == "ask" and breaker.allow() and breaker.state != "closed":
            fail(breaker)
        else:
            clock.now += 3
    clock.now += 25
    assert breaker.allow()


def models() -> tuple[dict[str, Breaker], tuple[Model, ...]]:
    from mrengine.testing import fake

    found = resolve_models([fake("a", name="a"), fake("b", name="b"), fake("c", name="c")], env={})
    return {model.name: Breaker(threshold=1, clock=Clock()) for model in found}, found


def test_a_call_goes_to_the_first_model_that_is_well() -> None:
    """In order; an open one is passed over; all open, the last resort is tried all the same."""
    breakers, found = models()
    asked: list[tuple[str, bool]] = []

    def attempt(model: Model, breaker: Breaker, alternatives: bool) -> Completion:
        asked.append((model.name, alternatives))
        if model.name != "c":
            breaker.failed(ModelUnavailable("down"))
            raise ModelUnavailable("down")
        return Completion("yes")

    assert ask_any(found, breakers, attempt, ON).text == "yes"
    assert asked == [("a", True), ("b", True), ("c", False)]
    assert ask_any(found, breakers, attempt, ON).text == "yes"
    assert asked[3:] == [("c", True)]


def test_a_refusal_of_the_chunk_is_not_taken_elsewhere() -> None:
    """Another model would be asked the same; and the last error is raised where nobody answers."""
    import pytest

    breakers, found = models()
    asked: list[str] = []

    def refuse(model: Model, breaker: Breaker, alternatives: bool) -> Completion:
        asked.append(model.name)
        raise ModelRefused("no", status=400, scope="model" if model.name == "a" else "chunk")

    with pytest.raises(ModelRefused):
        ask_any(found, breakers, refuse, ON)
    assert asked == ["a", "b"]


def test_a_doubt_ends_no_model_and_a_limit_of_a_day_does() -> None:
    """Whether one 401 is about the key the engine judges; a used up limit is certain."""
    breaker = Breaker()
    doubt = ModelRefused("401", scope="model")
    doubt.certain = False
    for _ in range(10):
        breaker.failed(doubt)
    assert breaker.state == "closed"
    used_up = RateLimited("a day", scope="model")
    used_up.transient = False
    breaker.failed(used_up)
    assert breaker.state == "ended"
