# ruff: noqa: B023  (the functions are called within the loop that defines them)
"""The one retry loop on a clock of its own: when it asks again, when it gives up, what it tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.errors import (
    BudgetExhausted,
    ConfigError,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    RateLimited,
    Stopped,
)
from mrengine.providers.call.breaker import Breaker
from mrengine.providers.call.retry import Caller, call
from mrengine.records import Completion, Observed, Request, Usage


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Scripted:
    """A provider that fails as told, then answers."""

    def __init__(self, clock: Clock, *outcomes: BaseException | None, takes_s: float = 0.0) -> None:
        self._clock, self._outcomes, self._takes_s = clock, list(outcomes), takes_s
        self.requests: list[Request] = []
        self.times: list[float] = []

    def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        self.times.append(self._clock.now)
        self._clock.now += self._takes_s
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is not None:
            raise outcome
        return Completion("done", usage=Usage(10, 2), observed=Observed(limit_tokens=7))

    def close(self) -> None:
        pass


class Budget:
    """Records what it is asked and told."""

    def __init__(self) -> None:
        self.reserved = 0
        self.settled: list[tuple[Any, ...]] = []

    def reserve(self) -> Budget:
        self.reserved += 1
        return self

    def settle(self, usage: Usage | None, observed: Observed | None = None, *, made: bool = True) -> None:
        self.settled.append((usage, observed, made))


REQUEST = Request("m", "a prompt", max_tokens=50)


def run(provider: Scripted, clock: Clock, **options: Any) -> Completion:
    defaults: dict[str, Any] = {"deadline": clock.now + 600, "rng": lambda: 1.0, "clock": clock, "sleep": clock.sleep}
    caller = Caller(**{name: options.pop(name) for name in Caller.__slots__ if name in options})
    return call(provider.complete, REQUEST, caller=caller, **(defaults | options))


def unavailable(**facts: Any) -> ModelUnavailable:
    return ModelUnavailable("m is unavailable", model="m", **facts)


def test_transient_failures_are_tried_again_with_growing_waits() -> None:
    """Full jitter: with the highest draws the waits double from backoff_s."""
    clock = Clock()
    assert run(Scripted(clock, *(unavailable() for _ in range(4))), clock, backoff_s=0.5).text == "done"
    assert clock.sleeps == [0.5, 1.0, 2.0, 4.0]


@given(st.floats(0, 1), st.floats(0, 300), st.integers(1, 8))
def test_no_retry_is_earlier_than_told(draw: float, told_s: float, failures: int) -> None:
    """Whatever is drawn, Retry-After is a lower bound of each wait."""
    clock = Clock()
    provider = Scripted(clock, *(RateLimited("slow", retry_after_s=told_s) for _ in range(failures)))
    run(provider, clock, rng=lambda: draw, deadline=clock.now + 1e6)
    gaps = [after - before for before, after in zip(provider.times, provider.times[1:], strict=False)]
    assert all(gap >= told_s * (1 - 1e-9) for gap in gaps)


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12), st.floats(0.001, 100))
def test_waits_are_bounded_by_a_minute(draw: list[float], backoff_s: float) -> None:
    """Without Retry-After no wait exceeds 60 s, nor is it nothing at all."""
    clock = Clock()
    rolls = iter(draw)
    provider = Scripted(clock, *(unavailable() for _ in draw))
    run(provider, clock, rng=lambda: next(rolls), backoff_s=backoff_s, deadline=1e9)
    gaps = [after - before for before, after in zip(provider.times, provider.times[1:], strict=False)]
    assert len(gaps) == 12
    assert all(0.0099 <= gap <= 60.0001 for gap in gaps)


def test_an_attempt_that_is_never_answered_leaves_time_for_another() -> None:
    """Half of what is left, thirty seconds at least, and never more than there is."""
    clock = Clock()
    provider = Scripted(clock, unavailable(), takes_s=100.0)
    run(provider, clock, backoff_s=10.0)
    assert [request.timeout_s for request in provider.requests] == [300.0, 245.0]
    for left, given in ((50.0, 30.0), (20.0, 20.0)):  # noqa: F402
        provider = Scripted(clock)
        run(provider, clock, deadline=clock.now + left)
        assert provider.requests[0].timeout_s == given


def test_it_gives_up_where_the_wait_would_pass_the_deadline() -> None:
    """At once: nobody waits for nothing. The error tells attempts, waits and causes."""
    clock = Clock()
    provider = Scripted(clock, unavailable(status=500), RateLimited("m is over its rate limit", retry_after_s=700.0))
    with pytest.raises(RateLimited) as caught:
        run(provider, clock)
    error = caught.value
    assert (error.attempts, error.waited_s) == (2, 1.0)
    assert error.causes == ("attempt 1: m is unavailable; waited 1.0 s", "attempt 2: m is over its rate limit")
    assert str(error) == (
        "m is over its rate limit (2 attempts in 1.0 s, 1.0 s of it waiting; before it: m is unavailable)"
    )
    assert clock.now == 1001.0


@pytest.mark.parametrize("draw", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("left", [5.0, 250.0])
def test_a_wait_beyond_the_deadline_is_drawn_again_from_what_is_left(draw: float, left: float) -> None:
    """The tries go on until little is left: no chunk is given up early because a wait came out long."""
    clock = Clock()
    provider = Scripted(clock, *(unavailable(status=500) for _ in range(100)))
    end = clock.now + left
    with pytest.raises(ModelUnavailable):
        run(provider, clock, rng=lambda: draw, deadline=end)
    assert 0 < end - clock.now <= 1.0


def test_the_time_in_line_for_the_budget_does_not_count() -> None:
    """The deadline is asked for again after each wait: who holds it puts it off."""
    clock = Clock()

    class Slow(Budget):
        put_off = 0.0

        def reserve(self) -> Budget:
            clock.now += 900.0
            self.put_off += 900.0
            return super().reserve()

    budget, began = Slow(), clock.now
    provider = Scripted(clock, unavailable(status=500))
    assert run(provider, clock, reserve=budget.reserve, deadline=lambda: began + 600.0 + budget.put_off).text
    assert [request.timeout_s for request in provider.requests] == [300.0, pytest.approx(299.5)]


def test_a_final_error_is_raised_at_once() -> None:
    """400 is not tried again."""
    clock = Clock()
    provider = Scripted(clock, ModelRefused("no", status=400))
    with pytest.raises(ModelRefused):
        run(provider, clock)
    assert len(provider.requests) == 1


def test_no_call_is_made_after_the_deadline() -> None:
    """A chunk that waited too long for its budget fails without a call."""
    clock = Clock()
    provider = Scripted(clock)
    with pytest.raises(ModelUnavailable, match="no time") as caught:
        run(provider, clock, deadline=clock.now)
    assert not caught.value.sent
    assert provider.requests == []


def test_time_that_runs_out_between_two_attempts_hides_no_cause() -> None:
    """A machine that slept too long: the last attempt's error is raised, and the one that was not made counts nowhere:
    not among the attempts, not against the model, not in the budget.
    """
    clock, budget = Clock(), Budget()
    breaker = Breaker(threshold=3, clock=clock)
    provider = Scripted(clock, *(unavailable(status=500) for _ in range(3)))

    def oversleep(seconds: float) -> None:
        clock.now += seconds + 3

    with pytest.raises(ModelUnavailable) as caught:
        run(provider, clock, deadline=clock.now + 7, sleep=oversleep, reserve=budget.reserve, breaker=breaker)
    error = caught.value
    assert str(error) == "m is unavailable (2 attempts in 9.0 s, 3.0 s of it waiting)"
    assert (error.status, error.attempts, len(provider.requests)) == (500, 2, 2)
    assert error.causes == tuple(f"attempt {n}: m is unavailable; waited {n}.0 s" for n in (1, 2))
    assert [made for _, _, made in budget.settled] == [True, True, False]
    assert breaker.state == "closed"


def test_a_last_attempt_that_was_cut_short_tells_what_came_before() -> None:
    """That it timed out after a moment says nothing of why all the others failed."""
    clock = Clock()
    provider = Scripted(clock, unavailable(status=500), ModelUnavailable("m: no answer in 0.1 s"), takes_s=0.5)
    with pytest.raises(ModelUnavailable) as caught:
        run(provider, clock, deadline=clock.now + 2)
    took = "2 attempts in 2.0 s, 1.0 s of it waiting"
    assert str(caught.value) == f"m: no answer in 0.1 s ({took}; before it: m is unavailable)"


def test_the_budget_is_asked_again_for_each_attempt_and_told_each_outcome() -> None:
    """A 429 and a refused connection give everything back; a 500 was made; an answer settles by its usage."""
    clock, budget = Clock(), Budget()
    unsent = unavailable()
    unsent.sent = False
    limited = RateLimited("slow", status=429)
    limited.observed = Observed(retry_after_s=0.1)
    run(
        Scripted(clock, limited, unavailable(status=500), unsent),
        clock,
        reserve=budget.reserve,
    )
    assert budget.reserved == 4
    assert [(usage, made) for usage, _, made in budget.settled] == [
        (None, False),
        (None, True),
        (None, False),
        (Usage(10, 2), True),
    ]
    assert budget.settled[0][1] == Observed(retry_after_s=0.1)
    assert budget.settled[3][1] == Observed(limit_tokens=7)


def test_a_stop_cuts_a_wait_short() -> None:
    """Within a moment, although Retry-After told a minute."""
    stopping = threading.Event()
    provider = Scripted(Clock(), RateLimited("slow", retry_after_s=60.0))
    threading.Timer(0.05, stopping.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        call(provider.complete, REQUEST, deadline=started + 600, caller=Caller(stopping))
    assert time.monotonic() - started < 10


def test_what_a_foreign_provider_raises_is_mapped() -> None:
    """OSErrors are transient, bugs are final; neither keeps the original with its request."""
    clock = Clock()
    seen: list[ModelError] = []
    provider = Scripted(clock, ConnectionResetError("x"), TimeoutError(), KeyError("prompt text"))
    with pytest.raises(ModelRefused, match="raised KeyError") as caught:
        run(provider, clock, on_retry=lambda error, attempt, wait: seen.append(error))
    assert [type(error) for error in seen] == [ModelUnavailable, ModelUnavailable]
    assert "prompt text" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [Stopped(), ConfigError("x"), BudgetExhausted("x"), KeyboardInterrupt()])
def test_what_is_not_about_the_call_passes(error: BaseException) -> None:
    """Stops, budgets, settings and Ctrl-C are not failures of a model."""
    clock = Clock()
    with pytest.raises(type(error)):
        run(Scripted(clock, error), clock)


def test_an_open_breaker_ends_the_tries_where_there_is_another_model() -> None:
    """With alternatives after the third failure in a row, without them only at the deadline."""
    for alternatives, attempts in ((True, 3), (False, 5)):
        clock = Clock()
        provider = Scripted(clock, *(unavailable() for _ in range(5)))
        breaker = Breaker(threshold=3, cooldown_s=10, clock=clock)
        until: Callable[[], Completion] = lambda: run(  # noqa: E731
            provider,
            clock,
            breaker=breaker,
            alternatives=alternatives,
            deadline=clock.now + 16,
        )
        with pytest.raises(ModelUnavailable):
            until()
        assert len(provider.requests) == attempts


def test_causes_are_bounded() -> None:
    """A job that fails for hours does not keep a line for each failure."""
    clock = Clock()
    provider = Scripted(clock, *(unavailable() for _ in range(200)), ModelRefused("no"))
    with pytest.raises(ModelRefused) as caught:
        run(provider, clock, deadline=1e9)
    assert (caught.value.attempts, len(caught.value.causes)) == (201, 12)


@pytest.mark.parametrize("raised", [ConfigError("no key", setting="key"), Stopped()])
def test_what_ends_a_call_before_it_is_sent_gives_its_tokens_back(raised: BaseException) -> None:
    """Else they, and the slot, were lost to all calls that wait."""
    clock, budget = Clock(), Budget()
    with pytest.raises(type(raised)):
        run(Scripted(clock, raised), clock, reserve=budget.reserve)
    assert budget.settled == [(None, None, False)]


def test_a_limit_that_tells_no_time_is_reported_to_the_budget_as_one_of_a_moment() -> None:
    """Else all who wait run into the next refusal together; a limit of hours is no moment."""
    clock, budget = Clock(), Budget()
    run(Scripted(clock, RateLimited("429"), RateLimited("429", retry_after_s=3.0)), clock, reserve=budget.reserve)
    waits = [seen.retry_after_s for _, seen, _ in budget.settled[:2]]
    assert waits == [1.0, 3.0]
    used_up = RateLimited("a day", scope="model", retry_after_s=86400.0)
    used_up.transient = False
    with pytest.raises(RateLimited):
        run(Scripted(clock, used_up), clock, reserve=budget.reserve)
    assert budget.settled[-1][1] is None


def test_a_caller_that_can_wait_aside_is_reported_at_once() -> None:
    """Of what passes, and not of a limit, for which the budget has a line; nor where another model is left."""
    clock = Clock()
    with pytest.raises(ModelUnavailable) as caught:
        run(Scripted(clock, ModelUnavailable("503")), clock, aside=True)
    assert caught.value.aside
    assert run(Scripted(clock, RateLimited("429")), clock, aside=True).text == "done"
    assert run(Scripted(clock, ModelUnavailable("503")), clock, aside=True, alternatives=True).text == "done"


def test_an_answer_has_the_calls_own_time_once_it_has_begun() -> None:
    """It must begin within half of it, so that a call which is never answered leaves time for another."""
    clock = Clock()
    provider = Scripted(clock)
    run(provider, clock, deadline=clock.now + 600)
    assert (provider.requests[0].timeout_s, provider.requests[0].finish_s) == (300.0, 600.0)


def refusals(clock: Clock, *, told_s: float | None, timeout_s: float, alternatives: bool = False) -> Any:
    """A call that its limit always refuses, and in whose time waits for limits do not count."""
    limited = [RateLimited("m is over its rate limit", retry_after_s=told_s) for _ in range(2000)]
    end = [clock.now + timeout_s]

    @contextmanager
    def pause() -> Iterator[None]:
        began = clock.now
        yield
        end[0] += clock.now - began

    provider = Scripted(clock, *limited)
    with pytest.raises(RateLimited) as failed:
        call(
            provider.complete, Request("m", "p"), deadline=lambda: end[0], clock=clock, sleep=clock.sleep,
            rng=lambda: 1.0, caller=Caller(pause=pause, alternatives=alternatives),
        )  # fmt: skip
    return failed.value, provider


def test_a_wait_that_is_longer_than_the_calls_time_is_waited_for() -> None:
    """Standing in line is not the chunk's fault: 600 s are told, the chunk has 60."""
    clock = Clock()
    refused, provider = refusals(clock, told_s=600.0, timeout_s=60.0)
    assert [at - 1000.0 for at in provider.times] == [0.0, 600.0, 1200.0]
    assert (refused.transient, refused.scope, refused.reason, refused.certain) == (False, "model", "used_up", False)


def test_another_model_is_asked_rather_than_a_limit_waited_for() -> None:
    """For longer than the call has."""
    clock = Clock()
    refused, provider = refusals(clock, told_s=600.0, timeout_s=60.0, alternatives=True)
    assert len(provider.times) == 1
    assert refused.transient


def test_a_limit_that_never_ends_is_given_up() -> None:
    """One that tells no time, too: no job waits for ever."""
    clock = Clock()
    refused, _ = refusals(clock, told_s=None, timeout_s=5.0)
    assert 90.0 <= clock.now - 1000.0 < 200.0
    assert not refused.transient
    assert "refused this call all along" in str(refused)
    clock = Clock()
    refusals(clock, told_s=None, timeout_s=600.0)
    assert clock.now - 1000.0 >= 600.0


@pytest.mark.parametrize(("error", "reason"), [(RateLimited, "used_up"), (ModelUnavailable, "away")])
def test_hours_told_by_a_provider_of_the_users_own_end_its_model(error: type[ModelError], reason: str) -> None:
    """As those in a header do, and until when is said."""
    clock = Clock()
    provider = Scripted(clock, error("m is resting", retry_after_s=7200.0))
    with pytest.raises(error, match=r"not before 20\d\d-.* UTC") as failed:
        call(provider.complete, Request("m", "p"), deadline=clock.now + 60, clock=clock, sleep=clock.sleep)
    assert (failed.value.transient, failed.value.scope, failed.value.reason) == (False, "model", reason)
    assert clock.sleeps == []
