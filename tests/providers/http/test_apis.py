"""The two shapes as pure functions: what models of each kind are sent, and what answers of the field mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrengine.providers.http.apis import NotAnAnswer, Refused, api, clean
from mrengine.providers.http.openai_chat import reasons
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Request, Usage

OPENAI, ANTHROPIC = api("openai"), api("anthropic")


def sent(name: str, **fields: Any) -> dict[str, Any]:
    return OPENAI.body(Request("m", "p", **fields), model=name, params={}, quirks=Quirks())


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
    body = OPENAI.body(Request("m", "p"), model="m", params={"max_tokens": 5, "seed": 1}, quirks=Quirks())
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
    assert ANTHROPIC.answer(said, model="m").usage == Usage(10, 2, 3, 1)
    for nonsense in (None, 3, {"prompt_tokens": "x"}, {"prompt_tokens": -1}):
        assert OPENAI.answer(CHAT | {"usage": nonsense}, model="m").usage == Usage(estimated=True)


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


@pytest.mark.parametrize(
    "choice",
    [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"},
     {"message": {"content": None}, "finish_reason": "content_filter"},
     {"message": {"content": "the first half"}, "finish_reason": "content_filter"},
     {"message": {"content": ""}, "finish_reason": "SAFETY"},
     {"finish_reason": "content_filter: PROHIBITED_CONTENT"},
     {"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}],
)  # fmt: skip
def test_a_refusal_of_the_model_is_reported_apart(choice: Any) -> None:
    """Filters, refusals and calls of tools end the chunk; half an answer is none, and it is paid for."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    with pytest.raises(Refused) as caught:
        OPENAI.answer({"choices": [choice], "usage": usage}, model="m")
    assert caught.value.usage == Usage(10, 2)
    assert "cannot" not in str(caught.value)


def test_a_tool_that_nobody_asked_for_is_no_answer() -> None:
    """Only our own holds one."""
    block = {"type": "tool_use", "name": "search", "input": {"q": 1}}
    with pytest.raises(Refused, match="tool_use"):
        ANTHROPIC.answer({"content": [block], "stop_reason": "tool_use"}, model="m")


def test_anthropics_refusal_is_one() -> None:
    """Even with some text before it."""
    said = {"content": [{"type": "text", "text": "half"}], "stop_reason": "refusal", "usage": {"input_tokens": 3}}
    with pytest.raises(Refused) as caught:
        ANTHROPIC.answer(said, model="m")
    assert caught.value.usage == Usage(3, 0, estimated=True)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), (None, "stop"), (7, "stop"), ("", "stop"), ("eos", "stop"), ("length", "length"),
     ("MAX_TOKENS", "length"), ("model_length", "length"), ("function_call", "function_call")],
)  # fmt: skip
def test_ends_have_one_name(reason: Any, finish: str) -> None:
    """Whatever a server calls a cut answer, it is one; what no server says is an end."""
    said = {"choices": [{"message": {"content": "hi"}, "finish_reason": reason}]}
    assert OPENAI.answer(said, model="m").finish_reason == finish
    assert ANTHROPIC.answer({"content": [], "stop_reason": ["x"]}, model="m").finish_reason == "stop"


@pytest.mark.parametrize("reason", ["error", "abort", "cancelled"])
def test_an_answer_that_broke_off_is_none(reason: str) -> None:
    """Gateways and vLLM say so with status 200, and with the part that they have."""
    with pytest.raises(NotAnAnswer):
        OPENAI.answer({"choices": [{"message": {"content": "half an"}, "finish_reason": reason}]}, model="m")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 62}, Usage(10, 52, reasoning_tokens=50)),
     ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}, Usage(10, 2)),
     ({"prompt_tokens": 10.0, "completion_tokens": 2.0}, Usage(10, 2)),
     ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage(estimated=True)),
     ({"prompt_tokens": 10**30, "completion_tokens": -1, "total_tokens": True}, Usage(estimated=True)),
     ({"total_tokens": 9}, Usage(9))],
)  # fmt: skip
def test_what_is_no_count_counts_nothing(usage: Any, counted: Usage) -> None:
    """Thinking that only the total has is paid for; what JSON holds beyond numbers of tokens is left out."""
    assert OPENAI.answer(CHAT | {"usage": usage}, model="m").usage == counted


def test_a_schema_without_an_object_at_its_root_is_put_into_one() -> None:
    """Or told in words, where it refers to its own root: no provider's native form takes a list."""
    schema = {"type": "array", "items": {"type": "integer"}}
    request = Request("m", "p", schema=schema)
    wanted = OPENAI.body(request, model="m", params={}, quirks=Quirks())["response_format"]["json_schema"]["schema"]
    assert wanted["properties"] == {"answer": schema}
    (tool,) = ANTHROPIC.body(request, model="m", params={}, quirks=Quirks())["tools"]
    assert tool["input_schema"]["properties"] == {"answer": schema}
    for one in (OPENAI, ANTHROPIC):
        request = Request("m", "p", schema={"type": "array", "items": {"$ref": "#"}})
        body = one.body(request, model="m", params={}, quirks=Quirks())
        assert not {"response_format", "tools"} & body.keys()
        assert "JSON Schema" in str(body["messages"])


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
