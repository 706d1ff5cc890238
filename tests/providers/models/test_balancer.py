"""Which model a chunk goes to: pure decisions."""

from __future__ import annotations

import pytest

from mrengine.errors import ConfigError, JobFailed
from mrengine.providers.models.balancer import ModelLoadBalancer
from mrengine.records import ModelSpec, Usage

MODELS = ["a", "b", "c"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def balancer(balance="round_robin", clock=None):
    return ModelLoadBalancer(MODELS, balance=balance, clock=clock or Clock())


def test_chunk_i_of_n_models_goes_to_i_modulo_n():
    """In any order of asking: a resumed job assigns as the first run did."""
    one = balancer()
    assert [one.assign(chunk) for chunk in (0, 1, 2, 3, 7, 5, 0)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_get_next_model_takes_turns():
    """One after the other, and round again."""
    one = balancer()
    assert [one.get_next_model() for _ in range(5)] == ["a", "b", "c", "a", "b"]


def test_least_used_by_what_is_in_flight_then_by_tokens():
    """A busy model waits; of two idle ones the one that has done less comes first."""
    one = balancer("least_used")
    for model in ("a", "b", "c"):
        one.begin(model)
    for model, usage in (("b", Usage(100, 10)), ("c", Usage(10, 1))):
        one.leave(model)
        one.count(model, usage, done=1)
    assert one.get_least_used_model() == one.assign(0) == "c"
    one.begin("c")
    assert one.get_least_used_model() == "b"


def test_least_used_spreads_what_is_handed_out_at_once():
    """Before any usage is known."""
    one = balancer("least_used")
    got = []
    for chunk in range(6):
        got.append(one.assign(chunk))
        one.begin(got[-1])
    assert sorted(got) == ["a", "a", "b", "b", "c", "c"]


def test_by_budget_in_proportion_to_the_weights():
    """A model that may be called three times as fast gets about three times as many chunks."""
    one = ModelLoadBalancer(MODELS, balance="budget", weights={"a": 1.0, "b": 3.0, "c": 1.0}, clock=Clock())
    got = []
    for chunk in range(80):
        got.append(one.assign(chunk))
        one.begin(got[-1])
    assert got.count("b") == pytest.approx(3 * got.count("a"), abs=4)


def test_the_budget_is_what_makes_calls_wait():
    """Least wait first; where none waits, the fewest in flight for the weight."""
    clock = Clock()
    one = ModelLoadBalancer(MODELS, balance="budget", weights={"a": 4.0, "b": 1.0, "c": 1.0}, clock=clock)
    for model in "aab":
        one.begin(model)
    assert one.assign(0) == "a"
    one.waits("a", 5.0)
    one.waits("c", 2.0)
    one.waits("a fallback", 9.0)
    assert one.assign(0) == "b"
    one.waits("b", 9.0)
    assert one.assign(0) == "c"
    clock.now = 6.0
    assert one.assign(0) == "a"


def test_a_model_that_is_out_gets_nothing_and_without_any_the_job_fails():
    """401, quota: until none is left."""
    one = balancer()
    one.remove("a")
    assert [one.assign(chunk) for chunk in range(3)] == ["b", "b", "c"]
    one.remove("b")
    one.remove("c")
    with pytest.raises(JobFailed, match="a, b, c"):
        one.get_next_model()


def test_usage_statistics_count_every_outcome():
    """Over all workers: done, failed, tokens, in flight."""
    one = balancer()
    for _ in range(3):
        one.begin("a")
    for usage, outcome in ((Usage(10, 2, 1), {"done": 1}), (Usage(5, 1), {"failed": 1})):
        one.leave("a")
        one.count("a", usage, **outcome)
    stats = one.get_usage_stats()["a"]
    assert (stats.done, stats.failed, stats.in_flight, stats.usage) == (1, 1, 1, Usage(15, 3, 1))
    assert set(one.get_usage_stats()) == set(MODELS)


def test_a_fallback_is_counted_and_never_chosen():
    """It has no turn of its own."""
    one = balancer()
    one.count("d", Usage(7, 1), done=1)
    assert one.get_usage_stats()["d"].usage == Usage(7, 1)
    assert {one.get_next_model() for _ in range(9)} == set(MODELS)


def test_what_is_in_flight_may_be_counted_elsewhere():
    """By the supervisor, which gives chunks out; chunks that are given back leave no trace but there."""
    one = balancer()
    one.carries({"a": 2, "b": 0})
    one.leave("a")
    stats = one.get_usage_stats()
    assert (stats["a"].in_flight, stats["a"].done, stats["b"].in_flight) == (1, 0, 0)


def test_specs_are_named_and_named_once():
    """A ModelSpec counts by its name."""
    assert ModelLoadBalancer([ModelSpec("a"), "b", "a"]).models == ("a", "b")


def test_mistakes_are_named():
    """No models, an unknown policy."""
    with pytest.raises(ConfigError, match="at least one"):
        ModelLoadBalancer([])
    with pytest.raises(ConfigError, match="round_robin, least_used, budget"):
        ModelLoadBalancer(["a"], balance="random")
