"""Messages, as Anthropic speaks it: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mrengine.providers.call.structured import in_words
from mrengine.providers.http.apis import NotAnAnswer, Refused, clean, count
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request, Usage

__all__ = ["PATH", "answer", "body", "key_headers"]

PATH = "/v1/messages"
_TOOL = "answer"
_VERSION = "2023-06-01"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


def key_headers(key: str) -> dict[str, str]:
    """The key and the version of the protocol that it is sent with."""
    return {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})


def body(request: Request, *, model: str, params: Mapping[str, Any], dialect: Quirks) -> dict[str, Any]:
    """The request's JSON. A schema is a tool that the model must call: the form which every Claude understands."""
    schema = request.schema
    native = schema is not None and dialect.native_schema and schema.get("type") == "object"
    prompt = clean(request.prompt)
    if schema is not None and not native:
        prompt += in_words(schema)
    messages = [{"role": "user", "content": prompt}]
    messages += ({"role": role, "content": clean(text)} for role, text in request.turns)
    sent: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens, "messages": messages}
    if request.system is not None:
        sent["system"] = clean(request.system)
    if request.temperature is not None and dialect.temperature:
        sent["temperature"] = request.temperature
    if native:
        sent["tools"] = [{"name": _TOOL, "description": "Give the answer.", "input_schema": schema}]
        sent["tool_choice"] = {"type": "tool", "name": _TOOL, "disable_parallel_tool_use": True}
    sent.update(params)
    return sent


def answer(data: Any, *, model: str) -> Completion:
    """Read a message: its texts joined, or what it put into the tool."""
    content = data.get("content") if isinstance(data, dict) else None
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise NotAnAnswer
    reason = data.get("stop_reason")
    if not isinstance(reason, str):
        reason = "end_turn"
    if reason == "refusal":
        raise Refused("refusal", _usage(data.get("usage")))
    used = [block for block in content if block.get("type") == "tool_use"]
    tools = [block.get("input") for block in used if block.get("name") == _TOOL]
    texts = [block["text"] for block in content if block.get("type") == "text" and isinstance(block.get("text"), str)]
    if not tools and not texts and content and all(block.get("type") == "text" for block in content):
        raise NotAnAnswer
    if used and not tools and not texts:
        raise Refused("tool_use", _usage(data.get("usage")))
    said = data.get("model")
    return Completion(
        text=json.dumps(tools[0], ensure_ascii=False) if tools else "".join(texts),
        usage=_usage(data.get("usage")),
        model=said if isinstance(said, str) else model,
        finish_reason=_FINISH.get(reason, reason),
    )


def _usage(usage: Any) -> Usage:
    """``input_tokens`` leaves out what came from, or went into, the cache; ours is the whole prompt."""
    if not isinstance(usage, dict):
        return Usage()
    cached = count(usage.get("cache_read_input_tokens"))
    fresh = count(usage.get("input_tokens")) + count(usage.get("cache_creation_input_tokens"))
    return Usage(fresh + cached, count(usage.get("output_tokens")), cached)
