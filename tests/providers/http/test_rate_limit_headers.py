"""Rate-limit headers of all dialects, and nonsense in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.http.rate_limit_headers import observed
from mrengine.records import Observed

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def read(**headers: str) -> Observed | None:
    return observed({name.replace("_", "-"): value for name, value in headers.items()}, now=lambda: NOW)


def test_openai_says_counts_and_spans() -> None:
    """Resets are written like 6m0s, 1s, 20ms."""
    assert observed(
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "60000",
            "x-ratelimit-remaining-tokens": "59997",
            "x-ratelimit-reset-tokens": "6m0.5s",
        }
    ) == Observed(500, 499, pytest.approx(0.12), 60000, 59997, pytest.approx(360.5))


def test_anthropic_says_input_and_output_apart_and_instants() -> None:
    """Resets are RFC 3339."""
    seen = observed(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:50Z",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-input-tokens-remaining": "39000",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "7000",
        },
        now=lambda: NOW,
    )
    assert seen is not None
    assert (seen.limit_requests, seen.reset_requests_s) == (50, 30.0)
    assert (seen.limit_input_tokens, seen.remaining_input_tokens) == (40000, 39000)
    assert (seen.limit_output_tokens, seen.remaining_output_tokens) == (8000, 7000)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "2"}, 2.0),
        ({"retry_after": "0.25"}, 0.25),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "1", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "2", "retry_after_ms": "1500"}, 2.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1e300"}, 604800.0),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds, a date; the longer one of two; a week at most."""
    seen = read(**headers)
    assert seen is not None
    assert seen.retry_after_s == seconds


def test_headers_that_say_nothing_of_limits_are_none() -> None:
    """Most servers say nothing."""
    assert observed({"content-type": "application/json", "x-request-id": "1"}) is None


@given(
    st.dictionaries(
        st.sampled_from(
            ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-limit-tokens",
             "anthropic-ratelimit-requests-reset"]
        ),
        st.text(max_size=20),
    )
)  # fmt: skip
def test_nonsense_is_unsaid_and_never_raised(headers: dict[str, str]) -> None:
    """Whatever a proxy writes, the answer is not lost for it."""
    seen = observed(headers)
    assert seen is None or seen.retry_after_s is None or 0 <= seen.retry_after_s <= 604800


def test_a_limit_that_is_full_again_in_hours_is_none_of_a_minute() -> None:
    """Groq's requests are counted by the day, under the name of those of a minute."""
    groq = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-limit-tokens": "18000",
        "x-ratelimit-remaining-tokens": "17997",
        "x-ratelimit-reset-tokens": "7.66ms",
    }
    seen = observed(groq)
    assert seen is not None
    assert (seen.limit_requests, seen.remaining_requests) == (None, None)
    assert (seen.limit_tokens, seen.remaining_tokens) == (18000, 17997)
