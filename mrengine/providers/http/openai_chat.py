"""Chat Completions, as OpenAI and most servers speak it: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mrengine.providers.call.structured import in_words, strict
from mrengine.providers.http.apis import NotAnAnswer, Refused, clean, count
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request, Usage

__all__ = ["PATH", "answer", "body", "key_headers", "reasons"]

PATH = "/chat/completions"
# gpt-5 and later and the o-series think before they answer; the "chat" variants of gpt-5 do not.
_FINISH = {
    "stop": "stop", "eos": "stop", "end_turn": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "prohibited_content": "content_filter", "error": "error", "abort": "error", "cancelled": "error",
}  # fmt: skip
_REASONS = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*-chat)")


def key_headers(key: str) -> dict[str, str]:
    """The key as a bearer token."""
    return {"authorization": f"Bearer {key}"} if key else {}


def reasons(model: str) -> bool:
    """Whether this is a reasoning model of OpenAI's: they take ``max_completion_tokens`` and no ``temperature``."""
    return _REASONS.match(model) is not None


def body(request: Request, *, model: str, params: Mapping[str, Any], dialect: Quirks) -> dict[str, Any]:
    """The request's JSON. ``temperature`` is left out for models that refuse the whole call because of it."""
    schema = request.schema
    native = schema is not None and dialect.native_schema and schema.get("type") == "object"
    prompt = clean(request.prompt)
    if schema is not None and not native:
        prompt += in_words(schema)
    messages = [{"role": "user", "content": prompt}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": clean(request.system)})
    messages += ({"role": role, "content": clean(text)} for role, text in request.turns)
    sent: dict[str, Any] = {"model": model, "messages": messages}
    thinks = reasons(model)
    long = thinks if dialect.completion_tokens is None else dialect.completion_tokens
    sent["max_completion_tokens" if long else "max_tokens"] = request.max_tokens
    if request.temperature is not None and dialect.temperature and not thinks:
        sent["temperature"] = request.temperature
    if schema is not None and native:
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
        message = choice.get("message") or {}
        content = message.get("content")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise NotAnAnswer from None
    finish, text, usage = _finish(choice.get("finish_reason")), _text(content), _usage(data.get("usage"))
    if finish == "content_filter" or (message.get("refusal") and not text):
        raise Refused("content_filter" if finish == "content_filter" else "refusal", usage)
    if text is None and message.get("tool_calls"):
        raise Refused("tool_calls", usage)
    if finish == "error" or (text is None and (not message or finish not in ("stop", "length"))):
        raise NotAnAnswer
    said = data.get("model")
    return Completion(
        text=text or "", usage=usage, model=said if isinstance(said, str) else model, finish_reason=finish
    )


def _finish(reason: Any) -> str:
    """OpenAI's words for those of servers that have others; some say none at all."""
    if not isinstance(reason, str) or not reason:
        return "stop"
    return _FINISH.get(reason.lower().partition(":")[0], reason)


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # some servers answer in parts
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    if content is None:
        return None
    raise NotAnAnswer


def _usage(usage: Any) -> Usage:
    """Google and xAI leave the tokens of thinking out of ``completion_tokens``; the total has them."""
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    given = count(usage.get("prompt_tokens"))
    thought_of = count(usage.get("total_tokens")) - given if given else 0
    return Usage(given, max(count(usage.get("completion_tokens")), thought_of), count(cached))
