"""Chat Completions, as OpenAI and most servers speak it: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mrengine.providers.shapes import NotAnAnswer, Refused, clean
from mrengine.providers.structured import in_words, strict
from mrengine.records import Completion, Request, Usage

__all__ = ["PATH", "answer", "body", "key_headers", "reasons"]

PATH = "/chat/completions"
# gpt-5 and later and the o-series think before they answer; the "chat" variants of gpt-5 do not.
_REASONS = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*-chat)")


def key_headers(key: str) -> dict[str, str]:
    """The key as a bearer token."""
    return {"authorization": f"Bearer {key}"} if key else {}


def reasons(model: str) -> bool:
    """Whether this is a reasoning model of OpenAI's: they take ``max_completion_tokens`` and no ``temperature``."""
    return _REASONS.match(model) is not None


def body(request: Request, *, model: str, params: Mapping[str, Any], native_schema: bool) -> dict[str, Any]:
    """The request's JSON. ``temperature`` is left out for models that refuse the whole call because of it."""
    schema = request.schema
    prompt = clean(request.prompt)
    if schema is not None and not native_schema:
        prompt += in_words(schema)
    messages = [{"role": "user", "content": prompt}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": clean(request.system)})
    messages += ({"role": role, "content": clean(text)} for role, text in request.turns)
    sent: dict[str, Any] = {"model": model, "messages": messages}
    sent["max_completion_tokens" if reasons(model) else "max_tokens"] = request.max_tokens
    if request.temperature is not None and not reasons(model):
        sent["temperature"] = request.temperature
    if schema is not None and native_schema:
        sent["response_format"] = _format(schema)
    sent.update(params)
    return sent


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    tight = strict(schema)
    said = {"name": "answer", "schema": schema if tight is None else tight, "strict": tight is not None}
    return {"type": "json_schema", "json_schema": said}


def answer(data: Any, *, model: str) -> Completion:
    """Read a chat completion."""
    try:
        choice = data["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise NotAnAnswer from None
    text = _text(content)
    finish = choice.get("finish_reason") or "stop"
    if text is None and (message.get("refusal") or finish == "content_filter"):
        raise Refused("content_filter" if finish == "content_filter" else "refusal")
    if text is None and finish not in ("stop", "length"):
        raise NotAnAnswer
    said = data.get("model")
    return Completion(
        text=text or "",
        usage=_usage(data.get("usage")),
        model=said if isinstance(said, str) else model,
        finish_reason=str(finish),
    )


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # some servers answer in parts
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    if content is None:
        return None
    raise NotAnAnswer


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
