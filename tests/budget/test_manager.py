"""TokenBucketManager.request: what a caller in the host sees. Every clock is a number."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.budget import TokenBucketManager
from mrengine.errors import ConfigError
from mrengine.records import Grant, Observed, RateLimit
from tests.budget.simulation import Clock
from tests.budget.test_bucket import worst_excess

PRIORITIES = ("P0_critical", "P1_user", "P2_batch")
MINUTE = 59_400


def manager(clock, *, idle=(), **limit):
    return TokenBucketManager({"m": RateLimit(**(limit or {"tpm": 60_000}))}, clock=clock, idle=idle)


def take_all(budget, priority, tokens=100):
    total = 0
    while budget.request("m", tokens, priority).granted:
        total += tokens
    return total


def served_within(budget, clock, tokens, priority, limit_s, step_s=0.05):
    """Seconds until a caller who asks again and again is granted."""
    start = clock.now
    while clock.now - start <= limit_s:
        if budget.request("m", tokens, priority).granted:
            return clock.now - start
        clock.now += step_s
    pytest.fail(f"{priority} was not served within {limit_s} s")


def test_a_grant_tells_what_remains():
    """A full bucket grants at once; the numbers add up."""
    budget = manager(Clock())
    assert budget.request("m", 1000, "P0_critical") == Grant(1000, MINUTE - 1000, 0.0, 0)


def test_an_empty_bucket_tells_when_to_come_again_and_keeps_its_word():
    """wait_ms is neither too short nor too long."""
    clock = Clock()
    budget = manager(clock)
    assert budget.request("m", MINUTE, "P0_critical").granted == MINUTE
    refused = budget.request("m", 500, "P0_critical")
    assert refused.granted == 0
    assert refused.queue_position == 1
    assert refused.wait_ms == pytest.approx(500.0)
    clock.now += refused.wait_ms / 1000
    assert budget.request("m", 500, "P0_critical").granted == 500


def test_more_than_the_capacity_is_refused_at_once():
    """With the numbers and the way out, not for ever."""
    budget = manager(Clock())
    with pytest.raises(ConfigError, match=r"59401 tokens .* 60000 a minute .* 59400 at once.*smaller chunks"):
        budget.request("m", MINUTE + 1, "P0_critical")
    assert budget.request("m", MINUTE, "P0_critical").granted


@pytest.mark.parametrize("limit", [{"tpm": 1}, {"rpm": 1}, {"output_tpm": 10}])
def test_the_smallest_limits_can_be_used(limit):
    """One request a minute means one request a minute, not none."""
    clock = Clock()
    budget = manager(clock, **limit)
    assert budget.request("m", 1 if "rpm" in limit else 0, "P0_critical").granted >= 0
    if "rpm" in limit:
        waiting = budget.request("m", 1, "P0_critical")
        assert waiting.wait_ms == pytest.approx(60_000, rel=0.02)


def test_a_model_without_a_limit_is_granted_everything():
    """Nothing is counted and nothing waits."""
    grant = TokenBucketManager().request("any", 10**9)
    assert (grant.granted, grant.wait_ms, grant.queue_position) == (10**9, 0.0, 0)


@pytest.mark.parametrize("limit", [{"tpm": 600}, {"input_tpm": 600}, {"output_tpm": 600}, {"rpm": 6}])
def test_tokens_input_output_and_requests_are_limited_apart(limit):
    """Each dimension alone bounds what it names."""
    budget = manager(Clock(), **limit)
    granted = 0
    while budget.request("m", 50, "P0_critical", output_tokens=50).granted:
        granted += 1
    assert granted == {"tpm": 5, "input_tpm": 11, "output_tpm": 11, "rpm": 5}[next(iter(limit))]


def test_nothing_is_taken_from_any_bucket_unless_all_have_it():
    """A refusal by one dimension leaves the others as they were."""
    clock = Clock()
    budget = manager(clock, input_tpm=60_000, output_tpm=600)
    assert budget.request("m", 100, "P0_critical", output_tokens=590).granted
    assert not budget.request("m", 50_000, "P0_critical", output_tokens=100).granted
    clock.now += 30.0
    assert budget.request("m", 50_000, "P0_critical", output_tokens=100).granted


def test_a_second_model_with_its_own_limit_doubles_what_is_granted():
    """Models do not wait for each other."""
    clock = Clock()
    limits = {"m": RateLimit(tpm=6000), "n": RateLimit(tpm=6000)}
    budget = TokenBucketManager(limits, clock=clock, idle=PRIORITIES)
    got = {"m": 0, "n": 0}
    for _ in range(600):
        for model in got:
            got[model] += budget.request(model, 100, "P1_user").granted
        clock.now += 0.1
    assert got["m"] == got["n"]
    assert got["m"] == pytest.approx(5940 + 6000, abs=200)


def test_priorities_leave_their_share_to_the_better_ones():
    """P2 leaves 60% of the capacity, P1 30%, P0 may empty the bucket."""
    budget = manager(Clock())
    assert take_all(budget, "P2_batch") == pytest.approx(0.4 * MINUTE, abs=100)
    assert take_all(budget, "P1_user") == pytest.approx(0.3 * MINUTE, abs=100)
    assert take_all(budget, "P0_critical") == pytest.approx(0.3 * MINUTE, abs=100)


def test_a_better_class_goes_first_though_it_came_later():
    """P0 is granted what a waiting P2 is not."""
    budget = manager(Clock())
    take_all(budget, "P2_batch")
    assert not budget.request("m", 5000, "P2_batch").granted
    assert budget.request("m", 5000, "P0_critical").granted


@pytest.mark.parametrize("priority", ["P1_user", "P2_batch"])
def test_a_class_whose_betters_fell_silent_gets_the_full_rate_within_a_refill_period(priority):
    """P0 empties the bucket and falls silent: in the second minute the class gets all that refills."""
    clock = Clock()
    budget = manager(clock)
    take_all(budget, "P0_critical")
    got = [0, 0]
    start = clock.now
    while clock.now - start < 120.0:
        got[clock.now - start >= 60.0] += budget.request("m", 1000, priority).granted
        clock.now += 0.05
    assert got[1] >= 59_000
    assert sum(got) >= 115_000


@pytest.mark.parametrize("priority", ["P1_user", "P2_batch"])
def test_a_class_that_is_alone_in_its_process_gets_the_whole_burst(priority):
    """Where the others cannot come nothing is left for them."""
    budget = manager(Clock(), idle=[name for name in PRIORITIES if name != priority])
    assert take_all(budget, priority) == pytest.approx(MINUTE, abs=100)


def test_a_waiting_p2_is_served_within_a_bounded_time_though_p0_never_pauses():
    """Under a P0 that takes all there is, for ever, a P2 still gets its turn."""
    clock = Clock()
    budget = manager(clock)
    take_all(budget, "P0_critical")
    start, served = clock.now, []
    while len(served) < 3 and clock.now - start < 300:
        budget.request("m", 1000, "P0_critical", ticket=int(clock.now))
        budget.request("m", 1000, "P0_critical", ticket=int(clock.now) + 1)
        if budget.request("m", 1000, "P2_batch").granted:
            served.append(clock.now - start)
        clock.now += 0.5
    assert len(served) == 3
    assert served[0] <= 70
    assert served[2] <= 210


def test_p0_in_a_flood_of_p2_is_served_within_a_second():
    """At any moment of a flood that has been going on for minutes."""
    clock = Clock()
    budget = manager(clock)
    for moment in range(8):
        until = clock.now + 17.3 + moment
        while clock.now < until:
            for ticket in range(4):
                budget.request("m", 1038, "P2_batch", ticket=ticket)
            clock.now += 0.1
        assert served_within(budget, clock, 1038, "P0_critical", 1.0) <= 1.0


def test_within_a_class_first_come_first_served():
    """A small request does not overtake a large one that waits."""
    clock = Clock()
    budget = manager(clock)
    budget.request("m", MINUTE, "P0_critical")
    large = budget.request("m", 5000, "P0_critical", ticket=1)
    small = budget.request("m", 10, "P0_critical", ticket=2)
    assert (large.queue_position, small.queue_position) == (1, 2)
    assert small.wait_ms > large.wait_ms
    clock.now += large.wait_ms / 1000
    assert not budget.request("m", 10, "P0_critical", ticket=2).granted
    assert budget.request("m", 5000, "P0_critical", ticket=1).granted


def test_who_does_not_come_again_loses_its_place():
    """A caller that died or lost interest blocks nobody for long."""
    clock = Clock()
    budget = manager(clock)
    budget.request("m", MINUTE, "P0_critical")
    gone = budget.request("m", 20_000, "P0_critical", ticket=1)
    clock.now += gone.wait_ms / 1000 + 5.0
    assert budget.request("m", 25_000, "P0_critical", ticket=2).granted


def test_each_thread_has_its_own_place():
    """Two threads that ask for the same wait one behind the other."""
    budget = manager(Clock())
    budget.request("m", MINUTE, "P0_critical")
    positions = []
    threads = [
        threading.Thread(target=lambda: positions.append(budget.request("m", 1000, "P0_critical").queue_position))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = budget.request("m", 1000, "P0_critical").queue_position
    assert min(positions) == 1
    assert again == max(positions) + 1


requests = st.tuples(st.floats(0.0, 20.0), st.integers(1, MINUTE), st.sampled_from(PRIORITIES), st.integers(0, 5))


@settings(max_examples=150)
@given(st.lists(requests, max_size=60), st.sampled_from([60.0, 20.0, 5.0, 0.0]))
def test_in_any_window_grants_sum_to_at_most_burst_plus_rate(steps, burst_s):
    """Promise 4, for any sequence of requests of all priorities; a single grant may be larger than a small burst."""
    clock = Clock()
    budget = manager(clock, tpm=60_000, burst_s=burst_s)
    grants = []
    for pause, tokens, priority, ticket in steps:
        clock.now += pause
        if budget.request("m", tokens, priority, ticket=ticket).granted:
            grants.append((clock.now, float(tokens)))
    largest = max((amount for _, amount in grants), default=0.0)
    burst = max(0.0, (burst_s - 0.6) * 1000.0)
    allowed = burst if burst_s == 60.0 else max(burst, largest)
    assert worst_excess(grants, allowed, 1000.0) <= 0.01


@pytest.mark.parametrize("name", ["tpm", "rpm", "input_tpm", "output_tpm", "concurrent"])
def test_a_limit_that_cannot_work_is_named(name):
    """Zero and less are mistakes, not limits."""
    with pytest.raises(ConfigError, match=name):
        TokenBucketManager({"m": RateLimit(**{name: 0})})
    with pytest.raises(ConfigError, match="burst_s"):
        TokenBucketManager({"m": RateLimit(tpm=5, burst_s=-1)})


def test_what_makes_no_sense_is_a_clear_error():
    """An unknown priority, a negative amount."""
    budget = manager(Clock())
    with pytest.raises(ConfigError, match="P0_critical, P1_user, P2_batch"):
        budget.request("m", 1, "high")
    with pytest.raises(ConfigError, match="negative"):
        budget.request("m", -1)
    assert budget.request("m", 1, "P0").granted == 1


def test_it_starts_at_the_level_of_the_last_minute():
    """A run that used up the limit a moment ago starts with nothing; after a minute's rest with everything."""
    clock = Clock()
    limits = {"m": RateLimit(tpm=60_000)}
    used_up = TokenBucketManager(limits, clock=clock, history={"m": [(i / 10, 90.0, 10.0) for i in range(600)]})
    assert not used_up.request("m", 1000, "P0_critical").granted
    rested = TokenBucketManager(limits, clock=clock, history={"m": [(61.0, 59_000.0, 0.0)]})
    assert rested.request("m", MINUTE, "P0_critical").granted


def test_limits_are_learned_from_headers():
    """A model without limits has one as soon as an answer says so."""
    clock = Clock()
    budget = TokenBucketManager(clock=clock)
    assert budget.open("m") is None
    access = budget.learn("m", Observed(limit_tokens=60_000, remaining_tokens=500))
    assert access is not None
    with access as limiter:
        limiter.observe(Observed(limit_tokens=60_000, remaining_tokens=500), clock.now, held=None)
    refused = budget.request("m", 1000, "P0_critical")
    assert refused.granted == 0
    assert 400 < refused.wait_ms < 1000
    assert budget.learn("other", Observed()) is None


def test_it_starts_nothing():
    """No thread, no process, no multiprocessing machinery: plain arithmetic."""
    before = threading.active_count()
    manager(Clock()).request("m", 10)
    assert threading.active_count() == before
    code = "import sys, mrengine.budget; print('multiprocessing' in sys.modules, 'socket' in sys.modules)"
    import subprocess

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False False"
    )
