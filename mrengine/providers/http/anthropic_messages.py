"""Anthropic's Messages API: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrengine.providers.call.counting import reported_usage
from mrengine.providers.http.apis import NotAnAnswer, Refused, clean, finished, prompt_parts
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request

__all__ = ["PATH", "answer", "body", "joined", "key_headers", "piece"]

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


def body(request: Request, *, model: str, params: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
    """The request's JSON. A schema is sent as a tool that the model must call, which every Claude understands."""
    native, head, tail = prompt_parts(request, quirks)
    messages: list[dict[str, Any]] = [{"role": "user", "content": head + tail}]
    messages += ({"role": role, "content": clean(text)} for role, text in request.turns)
    sent: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens, "messages": messages}
    sent["stream"] = quirks.stream
    if request.system is not None:
        sent["system"] = clean(request.system)
    if request.temperature is not None and quirks.temperature:
        sent["temperature"] = request.temperature
    if native:
        sent["tools"] = [{"name": _TOOL, "description": "Give the answer.", "input_schema": native}]
        sent["tool_choice"] = {"type": "tool", "name": _TOOL, "disable_parallel_tool_use": True}
    if request.cache:
        _mark(sent, head, tail, ttl=request.cache)
    sent.update(params)
    return sent


def _mark(sent: dict[str, Any], head: str, tail: str, *, ttl: str) -> None:
    """Mark the last block that all calls have in common; what comes before it (tools, system) is cached with it.

    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    mark = {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}
    if head.strip() and tail.strip():
        first = {"type": "text", "text": head, "cache_control": mark}
        sent["messages"][0]["content"] = [first, {"type": "text", "text": tail}]
    elif str(sent.get("system", "")).strip():
        sent["system"] = [{"type": "text", "text": sent["system"], "cache_control": mark}]
    elif sent.get("tools"):
        sent["tools"][-1]["cache_control"] = mark


def answer(data: Any, *, model: str, reasoning: str = "drop") -> Completion:
    """Read a message: its texts joined, or the input of the tool."""
    content = data.get("content") if isinstance(data, dict) else None
    usage = reported_usage(data.get("usage") if isinstance(data, dict) else None)
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise NotAnAnswer("without an answer in it", usage)
    reason = data.get("stop_reason")
    if not isinstance(reason, str):
        reason = "end_turn"
    texts = [block["text"] for block in content if block.get("type") == "text" and isinstance(block.get("text"), str)]
    if reason == "refusal":
        raise Refused("refusal", usage, "".join(texts))
    used = [block for block in content if block.get("type") == "tool_use"]
    tools = [block.get("input") for block in used if block.get("name") == _TOOL]
    if not tools and not texts and content and all(block.get("type") == "text" for block in content):
        raise NotAnAnswer("without a text in it", usage)
    if used and not tools and not texts:  # a tool that params= brought: this call wants an answer
        raise Refused("tool_use", usage)
    text = json.dumps(tools[0], ensure_ascii=False) if tools else "".join(texts)
    completion = Completion(text=text, usage=usage, model=model, finish_reason=_FINISH.get(reason, reason))
    thoughts = [str(block.get("thinking") or "") for block in content if block.get("type") == "thinking"]
    hidden = any(block.get("type") == "redacted_thinking" for block in content)
    return finished(completion, data, "\n".join(thoughts), keep=reasoning == "keep", hidden=hidden)


def joined(events: Sequence[Any]) -> Any:
    """The message that the events of a stream make; None: they make none.

    https://platform.claude.com/docs/en/build-with-claude/streaming
    """
    whole: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "message_start" and isinstance(event.get("message"), dict):
            whole = dict(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[event.get("index")] = dict(event["content_block"])
        elif kind == "content_block_delta":
            _add(blocks.setdefault(event.get("index"), {}), event.get("delta"))
        elif kind == "message_delta":
            whole.update(event.get("delta") or {})
            whole["usage"] = {**(whole.get("usage") or {}), **(event.get("usage") or {})}
        elif kind == "error":
            return event
    if whole.get("stop_reason") is None:
        return None  # the stream was cut off
    return {**whole, "content": [_closed(blocks[index]) for index in sorted(blocks, key=str)]}


def piece(event: Any) -> str:
    """The text that one event of a stream adds to the answer."""
    delta = event.get("delta") if event.get("type") == "content_block_delta" else None
    text = delta.get("text") if isinstance(delta, dict) and delta.get("type") == "text_delta" else None
    return text if isinstance(text, str) else ""


_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def _add(block: dict[str, Any], delta: Any) -> None:
    name = _DELTAS.get(delta.get("type", "")) if isinstance(delta, dict) else None
    if name is not None and isinstance(delta.get(name), str):
        block[name] = block.get(name, "") + delta[name]


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """A block with its tool's input, which came as pieces of JSON. ValueError: together they are none."""
    pieces = block.pop("partial_json", "")
    return {**block, "input": json.loads(pieces)} if pieces else block
