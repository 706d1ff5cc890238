"""How much is reserved for a call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrengine.budget.token_estimates import ENOUGH, FIRST_RATIO, TokenEstimator, estimate_tokens, upper_bound


def test_the_tokens_of_a_chunk_are_not_estimated_again():
    """Where the prompt holds the chunk, its own count is taken and only the rest is estimated, rounded up."""
    chunk = "ä" * 100
    prompt = "Summarise: " + chunk
    assert estimate_tokens(prompt, chunk, 40) == 40 + 3
    assert estimate_tokens(prompt, chunk, 40, system="12345678") == 40 + 5


def test_a_prompt_without_the_chunk_is_a_third_of_its_bytes():
    """Nothing is known of such a text; a count that is too high is given back, one too low costs a 429."""
    assert estimate_tokens("x" * 30, "another text", 99) == 10
    assert estimate_tokens("x" * 31) == 11
    assert estimate_tokens("") == 0


@given(st.text(), st.text())
def test_the_upper_bound_is_one_token_a_byte(prompt, system):
    """No byte-based tokenizer can count more, and the frame of the messages is covered."""
    size = len(prompt.encode("utf-8", "surrogatepass")) + len(system.encode("utf-8", "surrogatepass"))
    assert upper_bound(prompt, system) > size


def test_lone_surrogates_are_counted():
    """A document may hold them; the budget must not fail on one."""
    assert estimate_tokens("\ud800abc") == 2
    assert upper_bound("\ud800") > 3


def test_the_ratio_is_learned_from_the_first_answer_on():
    """It starts at 1.3, at 1 where the tokenizer is ours, and follows what the provider counts."""
    estimator = TokenEstimator(exact=["ours"])
    assert estimator.ratio("theirs") == FIRST_RATIO
    assert estimator.ratio("ours") == 1.0
    assert estimator.reserve("theirs", 681) == 886
    estimator.learn("theirs", 681, 1018)
    assert estimator.reserve("theirs", 681) == 1018
    for _ in range(50):
        estimator.learn("theirs", 100, 120)
    assert 1.2 <= estimator.ratio("theirs") < 1.25


def test_answers_that_cost_nothing_teach_nothing():
    """A cached or refused answer must not lower the ratio to zero."""
    estimator = TokenEstimator()
    estimator.learn("m", 100, 0)
    estimator.learn("m", 0, 100)
    assert estimator.ratio("m") == FIRST_RATIO


def test_varying_counts_reserve_more_than_their_mean():
    """The deviation is added, so that most calls are covered."""
    estimator = TokenEstimator()
    for i in range(100):
        estimator.learn("m", 100, 100 + 40 * (i % 2))
    assert estimator.ratio("m") > 1.3


def test_max_tokens_is_reserved_until_answers_have_shown_their_length():
    """Then a little more than the longest; one longer answer counts at once; never more than max_tokens."""
    estimator = TokenEstimator()
    for _ in range(ENOUGH):
        assert estimator.reserve_output("m", 900, 1024) == 1024
        estimator.learn_output("m", 1024, 20)
    assert 20 < estimator.reserve_output("m", 900, 1024) < 40
    assert estimator.reserve_output("m", 900, 4096) == 4096
    estimator.learn_output("m", 1024, 900)
    assert estimator.reserve_output("m", 900, 1024) >= 900
    estimator.learn_output("m", 1024, 1024)
    assert estimator.reserve_output("m", 900, 1024) == 1024


def test_a_strict_provider_gets_all_of_max_tokens():
    """After a refusal that the bucket cannot explain it is reserved for good; after another none of it comes back."""
    estimator = TokenEstimator()
    for _ in range(ENOUGH):
        estimator.learn_output("m", 1024, 20)
    assert not estimator.strict("m", 900, 1024)
    estimator.be_strict("m")
    assert estimator.reserve_output("m", 900, 1024) == 1024
    assert not estimator.keeps("m", 900, 1024)
    estimator.be_strict("m", keeps=True)
    estimator.be_strict("m")
    assert estimator.keeps("m", 900, 1024)
    assert not estimator.strict("other", 900, 1024)


def test_a_small_max_tokens_is_always_reserved():
    """Whether the provider counts it is not worth a 429."""
    estimator = TokenEstimator()
    for _ in range(ENOUGH):
        estimator.learn_output("m", 20, 3)
    assert estimator.reserve_output("m", 1000, 20) == 20
    assert estimator.keeps("m", 1000, 20)
    assert not estimator.keeps("m", 500, 20)
