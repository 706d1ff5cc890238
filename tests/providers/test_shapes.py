"""The two shapes as pure functions: what models of each kind are sent, and what answers of the field mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.shapes import NotAnAnswer, Refused, clean, shape
from mrengine.providers.shapes.openai import reasons
from mrengine.records import Request, Usage

OPENAI, ANTHROPIC = shape("openai"), shape("anthropic")


def sent(name: str, **fields: Any) -> dict[str, Any]:
    return OPENAI.body(Request("m", "p", **fields), model=name, params={}, native_schema=True)


@pytest.mark.parametrize(
    ("name", "thinks"),
    [("gpt-4o", False), ("gpt-4.1-mini", False), ("gpt-5-chat-latest", False), ("llama-3", False), ("gpt-5", True),
     ("gpt-5.4-mini", True), ("gpt-6-sol", True), ("gpt-12", True), ("o1", True), ("o3-mini", True), ("o4-mini", True)],
)  # fmt: skip
def test_reasoning_models_are_asked_as_they_want(name: str, thinks: bool) -> None:
    """max_completion_tokens and no temperature for those that think, max_tokens and temperature for all others."""
    body = sent(name, max_tokens=9, temperature=0.0)
    assert reasons(name) is thinks
    assert body.get("max_completion_tokens" if thinks else "max_tokens") == 9
    assert ("temperature" in body) is not thinks


def test_params_of_the_caller_win() -> None:
    """Whatever we would send."""
    body = OPENAI.body(Request("m", "p"), model="m", params={"max_tokens": 5, "seed": 1}, native_schema=True)
    assert (body["max_tokens"], body["seed"]) == (5, 1)


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_sent(text: str) -> None:
    """What UTF-8 can hold stays as it is; the rest becomes something that it can."""
    cleaned = clean(text)
    cleaned.encode()
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert cleaned == text


CHAT = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "model": "m-1"}


def test_usage_counts_cached_tokens_once() -> None:
    """OpenAI counts them within the prompt, Anthropic beside it; ours are a part of the input."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert OPENAI.answer(CHAT | {"usage": usage}, model="m").usage == Usage(10, 2, 4)
    usage = {"input_tokens": 6, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 1, "output_tokens": 2}
    said = {"content": [{"type": "text", "text": "hi"}], "usage": usage}
    assert ANTHROPIC.answer(said, model="m").usage == Usage(10, 2, 3)
    for nonsense in (None, 3, {"prompt_tokens": "x"}, {"prompt_tokens": -1}):
        assert OPENAI.answer(CHAT | {"usage": nonsense}, model="m").usage == Usage()


@pytest.mark.parametrize(
    ("message", "finish", "text"),
    [({"content": "a"}, "stop", "a"), ({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, "stop", "ab"),
     ({"content": None}, "length", ""), ({"content": ""}, "stop", "")],
)  # fmt: skip
def test_contents_of_all_forms_are_text(message: Any, finish: str, text: str) -> None:
    """A str, parts, or nothing where thinking has used up the tokens."""
    said = OPENAI.answer({"choices": [{"message": message, "finish_reason": finish}]}, model="m")
    assert (said.text, said.finish_reason, said.model) == (text, finish, "m")


def test_blocks_of_thinking_are_passed_over() -> None:
    """Texts are joined, a tool's input is the answer."""
    thinking = {"type": "thinking", "thinking": "hm"}
    texts = [thinking, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert ANTHROPIC.answer({"content": texts, "stop_reason": "max_tokens"}, model="m").finish_reason == "length"
    assert ANTHROPIC.answer({"content": texts}, model="m").text == "ab"
    tool = {"type": "tool_use", "name": "answer", "input": {"é": 1}}
    assert ANTHROPIC.answer({"content": [thinking, tool], "stop_reason": "tool_use"}, model="m").text == '{"é": 1}'
    assert ANTHROPIC.answer({"content": [thinking], "stop_reason": "max_tokens"}, model="m").text == ""


def test_a_refusal_of_the_model_is_told_apart() -> None:
    """Safety filters and refusals are final for the chunk, and none of their text is kept."""
    for message, finish in (({"content": None, "refusal": "I cannot"}, "stop"), ({"content": None}, "content_filter")):
        with pytest.raises(Refused):
            OPENAI.answer({"choices": [{"message": message, "finish_reason": finish}]}, model="m")
    with pytest.raises(Refused):
        ANTHROPIC.answer({"content": [], "stop_reason": "refusal"}, model="m")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "text", "type", "usage", "stop_reason", "finish_reason", "model"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_json_of_any_shape_is_an_answer_or_not_one(data: Any) -> None:
    """Nothing else is raised."""
    for one in (OPENAI, ANTHROPIC):
        try:
            completion = one.answer(data, model="m")
        except (NotAnAnswer, Refused):
            continue
        assert isinstance(completion.text, str)
        assert isinstance(completion.finish_reason, str)
