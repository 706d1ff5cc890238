"""Answers with status 200 that are no answers, as gateways, local servers and reasoning models really send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mrengine.testing import bodies

__all__ = ["ODD", "odd", "streamed"]

Tokens = tuple[int, int]


def _answer(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bodies.answer(request, "", False, tokens))
    return answer


def _no_choices(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    answer = _answer(request, tokens)
    return {**answer, ("content" if request.shape == "anthropic" else "choices"): None}


# Gateways answer 200 also when the model behind them has failed.
def _choice_error(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    answer = _answer(request, tokens)
    error = {"code": 502, "message": "Provider returned error"}
    if request.shape == "anthropic":
        return {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer["choices"][0] |= {"finish_reason": "error", "error": error}
    return answer


def _error_text(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    return {"error": "the model is busy"}


def _no_path(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    return {"error": "Unexpected endpoint or method. (POST /chat/completions)"}


# Local servers answer so while they load a model.
def _load(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    answer = _answer(request, (0, 0))
    if request.shape == "anthropic":
        return _no_choices(request, (0, 0))
    answer["choices"][0]["finish_reason"] = "load"
    return answer


def _thoughts_only(request: bodies.ApiRequest, tokens: Tokens) -> dict[str, Any]:
    answer = _answer(request, tokens)
    if request.shape == "anthropic":
        answer["content"] = [{"type": "thinking", "thinking": "Well, well.", "signature": ""}]
    else:
        answer["choices"][0]["message"]["reasoning_content"] = "Well, well."
    return answer


ODD: dict[str, tuple[Callable[[bodies.ApiRequest, Tokens], dict[str, Any]], bool]] = {
    "no_choices": (_no_choices, True),
    "choice_error": (_choice_error, True),
    "error_text": (_error_text, False),
    "no_path": (_no_path, False),
    "load": (_load, False),
    "thoughts_only": (_thoughts_only, True),
}
"""Fault → (its body, whether it is billed)."""


def odd(fault: str, request: bodies.ApiRequest, tokens: Tokens) -> tuple[bytes, Tokens]:
    """The body of an odd answer, and the tokens that it is billed for."""
    make, billed = ODD[fault]
    data = make(request, tokens)
    return json.dumps(data).encode(), tokens if billed and "usage" in data else (0, 0)


def streamed(request: bodies.ApiRequest, body: bytes) -> bytes:
    """An answer as the events of a stream."""
    data = json.loads(body)
    events = _message_events(data) if request.shape == "anthropic" else _chunks(data)
    lines = [
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n" for event in events
    ]
    end = [] if request.shape == "anthropic" else ["data: [DONE]\n"]
    return "\n".join([": keep-alive\n", *lines, *end, ""]).encode()  # a comment first, which clients must skip


def _chunks(data: dict[str, Any]) -> list[dict[str, Any]]:
    choice = data["choices"][0]
    # Reasoning first, as models write it; the usage in a chunk without choices, as OpenAI sends it when asked to.
    head = {"id": data["id"], "object": "chat.completion.chunk", "model": data["model"]}
    texts = [name for name in ("reasoning_content", "content") if choice["message"].get(name)]
    deltas = [{name: part} for name in texts for part in _parts(choice["message"][name])]
    chunks = [{**head, "choices": [{"index": 0, "delta": d}]} for d in [{"role": "assistant", "content": ""}, *deltas]]
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    return [*chunks, last, {**head, "choices": [], "usage": data["usage"]}]


def _message_events(data: dict[str, Any]) -> list[dict[str, Any]]:
    usage = data["usage"] or {}
    start = {**data, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(data["content"]):
        tool = block["type"] == "tool_use"
        name, kind = ("partial_json", "input_json_delta") if tool else (block["type"], f"{block['type']}_delta")
        text = json.dumps(block["input"]) if tool else block[name]
        empty = {**block, "input": {}} if tool else {**block, name: ""}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas = [{"type": kind, name: part} for part in _parts(text)]
        events += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": data["stop_reason"], "stop_sequence": None}
    reported = {"output_tokens": usage["output_tokens"]} if "output_tokens" in usage else {}
    return [*events, {"type": "message_delta", "delta": delta, "usage": reported}, {"type": "message_stop"}]


def _parts(text: str) -> list[str]:
    """A text in up to eight parts, and in two at least: clients must join words that are cut."""
    size = max(1, -(-len(text) // 8)) if len(text) > 16 else max(1, len(text) // 2)
    return [text[at : at + size] for at in range(0, len(text), size)]
