# ruff: noqa: E501  (what vendors say is told in one piece)
"""What of a provider's prose is shown: its own words, nothing of the request, no key."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.call import error_map
from mrengine.providers.call.shown_prose import LONGEST, shown, unechoed

PROMPT = "Summarise: Jane Roe, born 1950-03-04, was admitted with pneumonia and takes 40 mg of Furosemid. Note: 患者张伟发热三天。"
KEY = "sk-canary-3141592653589793"
TOLD = ("Jane", "Roe", "1950", "pneumonia", "Furosemid", "canary", "3141592653589793", "张伟", "admitted")


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: 'Jane Roe, born 1950-03-04, was admitted with pneum'. Supported values are: 'a'.",
        "could not parse 'Jane\\nRoe\\u002c born 1950'",
        "Your request about pneumonia was flagged",
        "JANE ROE: prompt too long",
        "the input …with pneumonia and takes 40 mg of Furosemid… is refused",
        f"Incorrect API key provided: {KEY}. Find yours at the console.",
        f"Incorrect API key provided: {KEY[:7]}***********{KEY[-4:]}.",
        f"Bearer {KEY} was refused",
        "key 3141592653589793 is unknown",
        "不能处理：患者张伟发热三天",
        "Jane's pneumonia",
    ],
)
def test_nothing_of_the_request_is_repeated(message: str) -> None:
    """However it is quoted, cut, escaped or masked."""
    told = shown(message, [PROMPT], [f"Bearer {KEY}"])
    assert not [word for word in TOLD if word.casefold() in told.casefold()], told


@pytest.mark.parametrize(
    "message",
    [
        "invalid temperature: only 1 is allowed for this model",
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "Unknown parameter: 'top_k'",
        "Tool choice requires --enable-auto-tool-choice",
        "The API deployment for this resource does not exist",
        "messages.0.content: field required",
        "余额不足或无可用资源包",
    ],
)
def test_the_providers_own_words_are_reported_in_full(message: str) -> None:
    """Though the prompt has some of the words of which all refusals are made."""
    prompt = f"{PROMPT} The model of care is this: only one context, and that is not allowed for these tokens."
    assert shown(message, [prompt], [f"Bearer {KEY}"]) == message


def test_a_long_message_is_cut() -> None:
    """The advice behind it must be seen, too."""
    assert len(shown("every word of this is the provider's " * 50, [], [])) <= LONGEST


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_taken(message: str, prompt: str) -> None:
    """No message raises, and the prompt itself is never told."""
    shown(message, [prompt], [])
    unechoed(message, [prompt])


def test_what_a_refusal_repeats_of_the_prompt_does_not_decide() -> None:
    """A document about money is no account without money."""
    prompt = "The patient has an insufficient balance and cannot keep upright for long."
    body = {"error": {"message": f"Invalid input: '{prompt}'", "type": "invalid_request_error"}}
    failed = error_map.from_status(400, {}, json.dumps(body).encode(), model="m", texts=[prompt])
    assert (failed.reason, failed.scope) == ("request", "chunk")


def test_code_parameter_and_words_are_reported() -> None:
    """Because "refused with status 400" cannot be debugged."""
    body = {"error": {"message": "Unknown parameter: 'top_k'.", "code": "unknown_parameter", "param": "top_k"}}
    failed = error_map.from_status(400, {}, json.dumps(body).encode(), model="m", texts=["p"])
    assert str(failed) == "m refused with status 400 (unknown_parameter, parameter top_k): Unknown parameter: 'top_k'"
