"""The error map: statuses, bodies and exceptions of the field, as errors of ours."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.errors import ContextOverflow, ModelError, ModelRefused, ModelUnavailable, RateLimited
from mrengine.providers.call import error_map


def mapped(status: int, error: Any = None, **headers: str) -> ModelError:
    body = b"" if error is None else json.dumps(error).encode()
    return error_map.from_status(status, {k.replace("_", "-"): v for k, v in headers.items()}, body, model="m")


FIELD = [
    # What providers really say, and what it means: class, scope, transient.
    (401, {"error": {"message": "Incorrect API key provided: sk-abc", "type": "invalid_request_error",
                     "code": "invalid_api_key"}}, ModelRefused, "model"),
    (403, {"type": "error", "error": {"type": "permission_error", "message": "no"}}, ModelRefused, "model"),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, ModelRefused, "model"),
    (429, {"error": {"message": "You exceeded your current quota, please check your plan and billing details",
                     "type": "insufficient_quota", "code": "insufficient_quota"}}, ModelRefused, "model"),
    (400, {"type": "error", "error": {"type": "invalid_request_error",
                                      "message": "Your credit balance is too low to access the Anthropic API."}},
     ModelRefused, "model"),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, RateLimited, "chunk"),
    (429, [{"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}], RateLimited,
     "chunk"),
    (404, {"error": {"message": "The model `x` does not exist or you do not have access to it.",
                     "type": "invalid_request_error", "code": "model_not_found"}}, ModelRefused, "model"),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-0"}}, ModelRefused, "model"),
    (404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
     ModelRefused, "model"),
    (404, {"error": "model 'x' not found, try pulling it first"}, ModelRefused, "model"),
    (404, {"detail": "Not Found"}, ModelRefused, "model"),
    (400, {"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens",
                     "code": "unsupported_parameter"}}, ModelRefused, "chunk"),
    (413, {"error": {"type": "request_too_large", "message": "x"}}, ModelRefused, "chunk"),
    (422, {"detail": []}, ModelRefused, "chunk"),
    (307, None, ModelRefused, "model"),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ModelUnavailable, "chunk"),
    (500, None, ModelUnavailable, "chunk"),
    (524, {"error": "cloudflare"}, ModelUnavailable, "chunk"),
    (408, None, ModelUnavailable, "chunk"),
    (409, None, ModelUnavailable, "chunk"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "error", "scope"), FIELD)
def test_what_providers_say_is_understood(status: int, body: Any, error: type[ModelError], scope: str) -> None:
    """Each answer of the field becomes one class, and ends as much as it must."""
    failed = mapped(status, body)
    assert type(failed) is error
    assert (failed.scope, failed.status, failed.model) == (scope, status, "m")


@pytest.mark.parametrize(
    ("body", "tokens", "window"),
    [
        ({"error": {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
                               "(8500 in the messages, 500 in the completion).", "code": "context_length_exceeded"}},
         9000, 8192),
        ({"error": {"message": "This model's maximum context length is 128000 tokens. However, your messages resulted in "  # noqa: E501
                               "130,512 tokens.", "code": "context_length_exceeded"}}, 130512, 128000),
        ({"type": "error", "error": {"type": "invalid_request_error",
                                     "message": "prompt is too long: 208310 tokens > 200000 maximum"}}, 208310, 200000),
        ({"error": {"code": 400, "message": "request (9000 tokens) exceeds the available context size (4096 tokens)",
                    "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096}}, 9000, 4096),
        ({"error": {"message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}},
         210000, 200000),
        ([{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens "
                                             "allowed (1048576).", "status": "INVALID_ARGUMENT"}}], 1200000, 1048576),
        ({"message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context "
                     "length"}, 40000, 32768),
        ({"error": {"message": "context length exceeded"}}, 0, 0),
    ],
)  # fmt: skip
def test_an_overflow_has_the_providers_numbers(body: Any, tokens: int, window: int) -> None:
    """In each dialect; without numbers it is an overflow all the same."""
    failed = mapped(400, body)
    assert isinstance(failed, ContextOverflow)
    assert (failed.tokens, failed.context_window) == (tokens, window)


def test_a_parameter_that_was_refused_is_named() -> None:
    """Identifiers are shown: they are what a user needs."""
    failed = mapped(400, {"error": {"message": "secret", "param": "response_format", "code": "unsupported_value"}})
    assert str(failed) == "m refused with status 400 (unsupported_value, parameter response_format)"
    assert failed.param == "response_format"


def test_headers_of_a_refusal_are_kept() -> None:
    """Retry-After, and what the budget learns from."""
    failed = mapped(503, None, retry_after="3", x_ratelimit_limit_tokens="70")
    assert failed.retry_after_s == 3.0
    assert failed.observed is not None
    assert failed.observed.limit_tokens == 70


SECRET = "the patient Jane Roe, sk-canary-1"


@given(st.integers(300, 599), st.sampled_from(["message", "type", "code", "param", "error", "detail", "status"]))
def test_no_text_of_a_body_enters_an_error(status: int, field: str) -> None:
    """Wherever a provider puts the prompt or a key."""
    for body in ({"error": {field: SECRET}}, {field: SECRET}, {"error": SECRET}, [{"error": {field: SECRET}}], SECRET):
        failed = mapped(status, body)
        assert "Jane" not in str(failed) + repr(vars(failed))
        assert "canary" not in str(failed) + repr(vars(failed))


@pytest.mark.parametrize("violations", [7, 1.5, True, "x", {"a": 1}, [7]])
def test_details_of_another_shape_are_passed_over(violations: Any) -> None:
    """They stand where Google lists quotas."""
    assert isinstance(mapped(429, {"error": {"code": 429, "details": [{"violations": violations}]}}), RateLimited)


@given(st.binary(max_size=200), st.integers(100, 999))
def test_any_body_is_mapped(body: bytes, status: int) -> None:
    """No body raises."""
    assert isinstance(error_map.from_status(status, {}, body, model="m"), ModelError)


@pytest.mark.parametrize(
    ("error", "kind", "sent"),
    [
        (TimeoutError("x"), ModelUnavailable, True),
        (socket.gaierror("x"), ModelUnavailable, False),
        (ConnectionRefusedError(), ModelUnavailable, False),
        (ConnectionResetError(), ModelUnavailable, True),
        (ssl.SSLError("x"), ModelUnavailable, True),
        (ssl.SSLCertVerificationError("x"), ModelRefused, False),
        (RuntimeError(SECRET), ModelRefused, True),
        (RateLimited("as it is"), RateLimited, True),
    ],
)
def test_exceptions_are_mapped_by_what_they_mean(error: Exception, kind: type[ModelError], sent: bool) -> None:
    """Connections are transient, distrust and bugs are not."""
    failed = error_map.from_exception(error, model="m")
    assert type(failed) is kind
    assert failed.sent is sent
    assert "Jane" not in str(failed)


def test_a_cause_deep_inside_decides() -> None:
    """SDKs wrap: what counts is the certificate at the bottom."""
    try:
        try:
            raise ssl.SSLCertVerificationError("x")
        except ssl.SSLError as inner:
            raise RuntimeError("connection error") from inner
    except RuntimeError as outer:
        assert isinstance(error_map.from_exception(outer, model="m"), ModelRefused)  # noqa: PT017


@pytest.mark.parametrize("field", ["code", "type", "param"])
@pytest.mark.parametrize("said", ["sk-canary-314159", "wrong.sk-canary-314159", "canary-314159"])
def test_a_key_that_looks_like_an_identifier_is_not_repeated(field: str, said: str) -> None:
    """Whole, within something, or a part of it; words that stand in a key by chance are told."""
    body = json.dumps({"error": {field: said}}).encode()
    failed = error_map.from_status(400, {}, body, model="m", hidden=["Bearer sk-canary-314159"])
    assert "canary" not in str(failed) + repr(vars(failed))
    told = json.dumps({"error": {"code": "key"}}).encode()
    assert "(key)" in str(error_map.from_status(400, {}, told, model="m", hidden=["Bearer key-of-mine-1"]))


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 429}, 429), ({"code": "503"}, 503), ({"type": "overloaded_error"}, 529), ({"code": 7}, 502),
     ({"type": "rate_limit_error", "code": None}, 429), ({"code": "invalid_api_key"}, 401), ({"code": "x" * 9}, 502),
     ({"code": True, "type": []}, 502), ({"code": "9" * 5000}, 502), ({}, 502)],
)  # fmt: skip
def test_the_status_in_a_body_of_200_counts(error: Any, status: int) -> None:
    """A wrong key is not tried again for ten minutes because a gateway called it a success."""
    assert error_map.inner_status(error) == status
