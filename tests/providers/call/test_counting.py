"""How each vendor counts: its own example, and what gateways make of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anthropic.types
import openai.types
import openai.types.chat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrengine.errors import ConfigError
from mrengine.providers.call.counting import usage_in, usage_of
from mrengine.records import Completion, Price, Usage

VENDORS: list[tuple[str, Any, Usage]] = [
    ("OpenAI", {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 7,
                                              "rejected_prediction_tokens": 9}},
     Usage(2006, 300, 1920, 0, 64)),
    ("OpenAI Responses", {"input_tokens": 75, "output_tokens": 1186, "total_tokens": 1261,
                          "input_tokens_details": {"cached_tokens": 7},
                          "output_tokens_details": {"reasoning_tokens": 1024}}, Usage(75, 1186, 7, 0, 1024)),
    ("Anthropic", {"input_tokens": 50, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 248,
                   "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
                   "output_tokens": 503}, Usage(100_298, 503, 100_000, 248, 0, 100)),
    ("Anthropic, no cache", {"input_tokens": 50, "output_tokens": 5, "cache_read_input_tokens": None}, Usage(50, 5)),
    ("Bedrock", {"inputTokens": 10, "outputTokens": 4, "totalTokens": 114, "cacheReadInputTokens": 70,
                 "cacheWriteInputTokens": 30}, Usage(110, 4, 70, 30)),
    ("DeepSeek", {"prompt_tokens": 110, "completion_tokens": 10, "total_tokens": 120, "prompt_cache_hit_tokens": 64,
                  "prompt_cache_miss_tokens": 46, "completion_tokens_details": {"reasoning_tokens": 8}},
     Usage(110, 10, 64, 0, 8)),
    ("Moonshot", {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
     Usage(19, 21, 10)),
    ("xAI", {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
             "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 94}},
     Usage(32, 103, 6, 0, 94)),
    ("Gemini as OpenAI", {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 60}, Usage(8, 52, 0, 0, 50)),
    ("Gemini", {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 50, "totalTokenCount": 65,
                "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 5}, Usage(13, 52, 4, 0, 50)),
    ("Perplexity", {"prompt_tokens": 33, "completion_tokens": 71, "total_tokens": 104, "citation_tokens": 190,
                    "reasoning_tokens": 739}, Usage(33, 810, 0, 0, 739)),
    ("OpenRouter", {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196,
                    "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 50}},
     Usage(194, 2, 100, 50)),
    ("LiteLLM", {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010,
                 "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50,
                 "prompt_tokens_details": {"cached_tokens": 900}}, Usage(1000, 10, 900, 50)),
    ("a total with the cache", {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 10_015,
                                "prompt_tokens_details": {"cached_tokens": 10_000}}, Usage(10_005, 10, 10_000)),
    ("a total with the cache, twice", {"prompt_tokens": 10_005, "completion_tokens": 10, "total_tokens": 20_015,
                                       "cache_read_input_tokens": 10_000}, Usage(20_005, 10, 10_000)),
    ("cache and thoughts in the total", {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 130,
                                         "cache_read_input_tokens": 100,
                                         "completion_tokens_details": {"reasoning_tokens": 15}},
     Usage(105, 25, 100, 0, 15)),
    ("more cached than there was", {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 100},
     Usage(105, 1, 100)),
    ("Cohere", {"billed_units": {"input_tokens": 5, "output_tokens": 418}, "tokens": {"input_tokens": 71}},
     Usage(5, 418)),
    ("Ollama", {"prompt_eval_count": 26, "eval_count": 298}, Usage(26, 298)),
    ("Ollama, prompt cached", {"eval_count": 298}, Usage(0, 298, estimated=True)),
    ("a cached prompt that is not counted", {"prompt_tokens": 0, "completion_tokens": 2}, Usage(0, 2, estimated=True)),
    ("LangChain", {"input_tokens": 350, "output_tokens": 240, "total_tokens": 590,
                   "input_token_details": {"cache_creation": 200, "cache_read": 100},
                   "output_token_details": {"reasoning": 200}}, Usage(350, 240, 100, 200, 200)),
    ("half of it", {"prompt_tokens": 9}, Usage(9, 0, estimated=True)),
    ("a total of less", {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 3}, Usage(9, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("who", "said", "usage"), VENDORS)
def test_each_vendor_is_counted_as_it_counts(who: str, said: Any, usage: Usage) -> None:
    """Input is the whole prompt, output the whole answer."""
    assert usage_in(said) == usage


@pytest.mark.parametrize("said", [None, {}, {"usage": 3}, {"prompt_tokens": None}, {"total_tokens": 0}, "12", []])
def test_what_has_no_count_is_none(said: Any) -> None:
    """So that it is estimated, and not 0."""
    assert usage_in(said) is None


NAMES = sorted({name for _, said, _ in VENDORS for name in said})
NUMBER = st.none() | st.integers(-5, 10**6) | st.floats() | st.text(max_size=3) | st.booleans()


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a machine under load
@given(st.dictionaries(st.sampled_from(NAMES), NUMBER | st.dictionaries(st.sampled_from(NAMES), NUMBER), max_size=6))
def test_parts_are_never_more_than_the_whole(said: dict[str, Any]) -> None:
    """Whatever is told; a cost is never negative."""
    usage = usage_in(said)
    if usage is not None:
        assert usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
        assert usage.reasoning_tokens <= usage.output_tokens
        assert Price(1.0, 1.0, 0.1).cost(usage) >= 0


def test_a_cache_costs_what_it_costs() -> None:
    """Reads at their price, writes at 1.25 times the input's, or 2 for an hour, where no price is given."""
    usage = Usage(1_000_000, 0, 400_000, 300_000, 0, 100_000)
    assert Price(10.0, 0.0, 1.0).cost(usage) == pytest.approx(3.0 + 0.4 + 2.5 + 2.0)
    assert Price(10.0, 0.0, 1.0, 11.0, 12.0).cost(usage) == pytest.approx(3.0 + 0.4 + 2.2 + 1.2)
    assert Price(10.0, 0.0).cost(usage) == pytest.approx(3.0 + 4.0 + 2.5 + 2.0)


def test_what_may_be_written_into_a_cache_is_reserved() -> None:
    """A hard stop reckons with it, for vendors that charge more for it."""
    assert Price(10.0, 1.0).most(Usage(1000, 10)) == pytest.approx((20_000 + 10) / 1e6)
    plain = Price(10.0, 1.0, 1.0, 10.0, 10.0)
    assert plain.most(Usage(1000, 10)) == pytest.approx((10_000 + 10) / 1e6)
    assert plain.most(Usage(1000, 10), batch=True) == pytest.approx((10_000 + 10) / 2e6)


@given(
    st.lists(st.floats(0, 100), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.integers(0, 10_000), min_size=5, max_size=5),
    st.booleans(),
)
def test_no_mix_costs_more_than_was_reserved(
    rates: list[float], told: list[bool], counts: list[int], batch: bool
) -> None:
    """Whatever of the input is read or written, whichever of its prices are known, directly and in a batch."""
    caches = [rate if known else None for rate, known in zip(rates[2:], told, strict=True)]
    price = Price(rates[0], rates[1], *caches, batch_factor=0.5)  # type: ignore[arg-type]
    fresh, read, written, hour, output = counts
    usage = Usage(fresh + read + written + hour, output, read, written + hour, 0, hour)
    cost = price.cost(usage, batch=batch)
    assert cost <= price.most(Usage(usage.input_tokens, output), batch=batch) * (1 + 1e-9)
    assert price.cost(usage, batch=True) == pytest.approx(price.cost(usage) / 2)


# what a client of the user's own reports: real types of the SDKs, dicts, numbers

CHAT = openai.types.CompletionUsage.model_validate(
    {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}
)
MESSAGE = anthropic.types.Usage.model_validate(
    {"input_tokens": 6, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 1}
)
CHAIN = {"input_tokens": 5, "output_tokens": 3, "input_token_details": {"cache_read": 2}}


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (Usage(1, 2, 1), Usage(1, 2, 1)),
        (Completion("x", usage=Usage(1, 2)), Usage(1, 2)),
        (7, Usage(7, 0)),
        (CHAT, Usage(10, 2, 4)),
        (CHAT.model_dump(), Usage(10, 2, 4)),
        (SimpleNamespace(usage=CHAT), Usage(10, 2, 4)),
        ({"usage": CHAT.model_dump()}, Usage(10, 2, 4)),
        (MESSAGE, Usage(10, 2, 3, 1)),
        (MESSAGE.model_dump(), Usage(10, 2, 3, 1)),
        ({"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}, Usage(5, 3, 2)),
        (SimpleNamespace(usage_metadata=CHAIN), Usage(5, 3, 2)),
        ({"prompt_token_count": 5, "candidates_token_count": 3, "total_token_count": 20}, Usage(5, 15, 0, 0, 12)),
        ({"prompt_tokens": 9}, Usage(9, 0)),
        ({"total_tokens": 9}, Usage(9, 0)),
    ],
)  # fmt: skip
def test_what_clients_say_is_understood(reported: Any, usage: Usage) -> None:
    """Cached tokens are a part of the input, thinking a part of the output."""
    assert usage_of(reported) == usage


@pytest.mark.parametrize("reported", [None, "12", True, -1, 1.5, {}, {"tokens": 3}, object(), [1, 2]])
def test_what_has_no_count_is_reported(reported: Any) -> None:
    """By its type, for it may hold an answer."""
    with pytest.raises(ConfigError, match=type(reported).__name__):
        usage_of(reported)
