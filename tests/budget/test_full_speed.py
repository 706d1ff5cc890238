"""90 calls of 1,038 tokens, 16 in flight, at a provider of 60,000 a minute: near the ideal, and no 429.

All on a simulated clock (tests/budget/simulation.py): the provider has a bucket of its own, calls travel up to 0.2 s,
answers take 0.3 s. Ideal: (90 × 1,038 − 60,000) / 1,000 + 0.3 = 33.7 s.
"""

from __future__ import annotations

import pytest

from mrengine.budget.manager import TokenBucketManager
from mrengine.budget.service import BudgetService
from mrengine.budget.shared_limits import SharedLimit
from mrengine.records import RateLimit
from tests.budget.simulation import Clock, Job, Provider, Simulation

CALLS = 90
LIMIT = RateLimit(tpm=60_000)


def jobs_of(service, workers=4, slots=4, calls=CALLS, **how):
    shares = [calls // workers + (number < calls % workers) for number in range(workers)]
    return [Job(service, number, shares[number], slots, **how) for number in range(workers)]


def service_of(clock, limit=LIMIT, idle=("P0", "P2")):
    return BudgetService(TokenBucketManager({"m": limit}, clock=clock, idle=idle))


def run(provider, jobs, **how):
    simulation = Simulation(provider, jobs, **how)
    return simulation.run(), simulation


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("workers", "slots"), [(4, 4), (1, 16), (16, 1)])
def test_near_the_ideal_without_a_429(workers, slots, seed):
    """At most 35.5 s, no refusal, and at most two calls to the manager for a grant, however the slots are spread."""
    clock = Clock()
    provider = Provider(clock)
    took, simulation = run(provider, jobs_of(service_of(clock), workers, slots), seed=seed)
    assert provider.refused == []
    assert len(provider.admitted) == CALLS
    assert took <= 35.5
    assert simulation.exchanges <= 2 * CALLS


@pytest.mark.parametrize("max_tokens", [20, 1024])
@pytest.mark.parametrize("tells", [None, "admission", "answer"])
def test_a_provider_that_counts_otherwise_than_we_do(tells, max_tokens):
    """681 tokens by our count are 1,018 by the provider's, and 20 of max_tokens are used."""
    clock = Clock()
    provider = Provider(clock, tells=tells)
    jobs = jobs_of(service_of(clock), counted=681, output=max_tokens)
    took, _ = run(provider, jobs, estimated=True, usage=(1018, 20, 0))
    assert provider.refused == []
    assert took <= 35.5


@pytest.mark.parametrize("tells", [None, "admission"])
def test_a_provider_that_charges_max_tokens_whatever_is_used(tells):
    """It takes 1,018 + 20 on arrival and gives nothing back, and the answers have 5."""
    clock = Clock()
    provider = Provider(clock, tells=tells)
    jobs = jobs_of(service_of(clock), counted=681, output=20)
    took, _ = run(provider, jobs, estimated=True, usage=(1018, 5, 0))
    assert provider.refused == []
    assert took <= 35.5


@pytest.mark.parametrize("priority", ["P1_user", "P2_batch"])
def test_a_priority_that_others_could_precede_is_as_fast(priority):
    """What is kept for better classes that never come is given up in time."""
    clock = Clock()
    provider = Provider(clock)
    took, _ = run(provider, jobs_of(service_of(clock, idle=()), priority=priority))
    assert provider.refused == []
    assert took <= 35.5


@pytest.mark.parametrize("tells", ["admission", "answer"])
@pytest.mark.parametrize("latency_s", [0.3, 1.0, 3.0])
def test_a_bucket_that_others_drained_refuses_no_more_than_the_first_calls(tells, latency_s):
    """16 calls are on their way before anybody can know; from the first header on there is no 429."""
    clock = Clock()
    provider = Provider(clock, level=0.0, tells=tells)
    took, _ = run(provider, jobs_of(service_of(clock)), latency_s=latency_s)
    assert len(provider.refused) <= 17
    ideal = CALLS * 1.038 + latency_s
    assert took <= 1.05 * ideal


def test_a_resumed_job_does_not_get_the_limit_twice():
    """Killed when half was done, and started again: the two halves together keep the rule."""
    clock = Clock()
    provider = Provider(clock)
    run(provider, jobs_of(service_of(clock), calls=70))
    history = [(clock.now - at, cost, 0.0) for at, cost in provider.admitted]
    resumed = TokenBucketManager({"m": LIMIT}, clock=clock, idle=("P0", "P2"), history={"m": history})
    took, _ = run(provider, jobs_of(BudgetService(resumed), calls=20))
    assert provider.refused == []
    assert took >= 18.0
    assert took <= 23.0


def test_input_and_output_limits_apart():
    """The tighter of the two decides, and is used to 97%."""
    clock = Clock()
    provider = Provider(clock)
    limit = RateLimit(input_tpm=60_000, output_tpm=60_000)
    jobs = jobs_of(service_of(clock, limit), counted=1018, output=20)
    took, _ = run(provider, jobs, cost=1018, usage=(1018, 20, 0))
    assert provider.refused == []
    assert took <= (CALLS * 1.018 - 60 + 0.3) / 0.95


def test_saturation_uses_97_percent_of_the_rate():
    """Over minutes, after the burst."""
    clock = Clock()
    provider = Provider(clock)
    run(provider, jobs_of(service_of(clock), calls=400))
    assert provider.refused == []
    start = provider.admitted[0][0]
    late = [cost for at, cost in provider.admitted if at > start + 60]
    seconds = provider.admitted[-1][0] - start - 60
    assert sum(late) / seconds >= 0.97 * 1000


@pytest.mark.parametrize("arrives_s", [2.0, 10.0, 29.0, 40.0, 60.0])
def test_p0_in_a_flood_of_p2_waits_at_most_a_second(arrives_s):
    """Whenever it comes; alone it would not wait at all."""
    clock = Clock()
    provider = Provider(clock)
    service = service_of(clock, idle=())
    urgent = Job(service, 9, 3, 1, "P0_critical", start_s=arrives_s)
    _, simulation = run(provider, [*jobs_of(service, calls=120, priority="P2_batch"), urgent])
    assert provider.refused == []
    assert len(simulation.workers[-1].waits) == 3
    assert max(simulation.workers[-1].waits) <= 1.0


@pytest.mark.parametrize("priority", ["P1_user", "P2_batch"])
def test_four_processes_on_one_shared_limit(tmp_path, priority):
    """Four managers and one state file: the same time, no 429, and nobody waits much longer than the others."""
    clock = Clock()
    provider = Provider(clock)

    def share(model, limit, limiter):
        return SharedLimit(tmp_path / "state", limiter, alive=lambda name: True)

    jobs = []
    for number in range(4):
        manager = TokenBucketManager({"m": LIMIT}, clock=clock, sharing=share, process=f"p{number}")
        jobs += jobs_of(BudgetService(manager), 2, 2, calls=22 + (number < 2), priority=priority)
    took, simulation = run(provider, jobs)
    assert provider.refused == []
    assert took <= 35.5
    assert simulation.exchanges <= 2 * CALLS
    means = [sum(worker.waits) / len(worker.waits) for worker in simulation.workers]
    assert max(means) <= 1.5 * min(means)
