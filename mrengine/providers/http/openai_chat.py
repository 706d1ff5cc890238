"""The Chat Completions API of OpenAI and most servers: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mrengine.providers.call.counting import reported_usage
from mrengine.providers.call.structured import strict
from mrengine.providers.http.apis import NotAnAnswer, Refused, clean, finished, prompt_parts
from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request

__all__ = ["PATH", "answer", "body", "joined", "key_headers", "piece", "reasons"]

PATH = "/chat/completions"
# The finish reasons of all servers, in OpenAI's words.
_FINISH = {
    "stop": "stop", "eos": "stop", "end_turn": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "model_context_window_exceeded": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "prohibited_content": "content_filter", "blocklist": "content_filter", "spii": "content_filter",
    "sensitive": "content_filter",  # Zhipu
    "error": "error", "abort": "error", "cancelled": "error", "timeout": "error",
    "insufficient_system_resource": "error",  # DeepSeek
    "network_error": "error",  # Zhipu
    "malformed_response": "error",  # Gemini
    "load": "error", "unload": "error",  # Ollama: the model was loaded or unloaded, and not asked
}  # fmt: skip
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# gpt-5 and later and the o-series reason before they answer; the "chat" variants of gpt-5 do not.
_REASONS = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*-chat)")


def key_headers(key: str) -> dict[str, str]:
    """The key as a bearer token."""
    return {"authorization": f"Bearer {key}"} if key else {}


def reasons(model: str) -> bool:
    """Whether this is a reasoning model of OpenAI's, which take ``max_completion_tokens`` and no ``temperature``."""
    return _REASONS.match(model) is not None


def body(request: Request, *, model: str, params: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
    """The request's JSON. ``temperature`` is left out for models that would refuse the whole call because of it."""
    native, head, tail = prompt_parts(request, quirks)
    messages = [{"role": "user", "content": head + tail}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": clean(request.system)})
    messages += ({"role": role, "content": clean(text)} for role, text in request.turns)
    # "stream" is always there: some servers stream by default.
    sent: dict[str, Any] = {"model": model, "messages": messages, "stream": quirks.stream}
    if quirks.stream:
        sent["stream_options"] = {"include_usage": True}
    thinks = reasons(model)
    long = thinks if quirks.completion_tokens is None else quirks.completion_tokens
    sent["max_completion_tokens" if long else "max_tokens"] = request.max_tokens
    if request.temperature is not None and quirks.temperature and not thinks:
        sent["temperature"] = request.temperature
    if native is not None:
        tight = strict(native)
        named = {"name": "answer", "schema": native if tight is None else tight, "strict": tight is not None}
        sent["response_format"] = {"type": "json_schema", "json_schema": named}
    sent.update(params)
    return sent


def answer(data: Any, *, model: str, reasoning: str = "drop") -> Completion:
    """Read a chat completion."""
    usage = reported_usage(data.get("usage") if isinstance(data, dict) else None)
    try:
        choice = data["choices"][0]
        message = choice.get("message") or {}
        content = message.get("content")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise NotAnAnswer("without an answer in it", usage) from None
    finish, text = _finish(choice.get("finish_reason")), _text(content)
    if finish == "content_filter" or (message.get("refusal") and not text):
        stated = message.get("refusal") or text
        refusal = stated if isinstance(stated, str) else ""
        # A filter may cut an answer in its middle, so that even one with text is none.
        raise Refused("content_filter" if finish == "content_filter" else "refusal", usage, refusal)
    if text is None and message.get("tool_calls"):
        raise Refused("tool_calls", usage)
    if (finish == "error" and not _is_partial(choice, text)) or (
        text is None and (not message or finish != "length") and not _thoughts(message)
    ):
        raise NotAnAnswer(f"without an answer in it (finish_reason {finish})", usage)
    completion = Completion(text=text or "", usage=usage, model=model, finish_reason=finish)
    return finished(completion, data, _thoughts(message), keep=reasoning == "keep")


def _is_partial(choice: Mapping[str, Any], text: str | None) -> bool:
    """Whether Ollama says "load" of a call that did get an answer, after the model was loaded for it."""
    return bool(text) and str(choice.get("finish_reason")).lower() == "load"


def _thoughts(message: Mapping[str, Any]) -> str:
    return next((thoughts for name in _THOUGHTS if isinstance(thoughts := message.get(name), str) and thoughts), "")


def joined(events: Sequence[Any]) -> Any:
    """The chat completion that the chunks of a stream make; None: they make none."""
    message: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    finish: Any = None
    for event in events:
        if not isinstance(event, dict):
            return None
        whole.update((name, event[name]) for name in ("model", "usage", "error") if event.get(name))
        if isinstance(groq := event.get("x_groq"), dict) and groq.get("usage"):
            whole["usage"] = groq["usage"]
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict) or choice.get("index"):
                continue
            finish = choice.get("finish_reason") or finish
            _add(message, choice.get("delta") or choice.get("message"))
            if choice.get("error"):
                whole["error"] = choice["error"]
    if "error" in whole:
        return whole  # whatever came before it
    if finish is None:
        return None  # the stream was cut off
    return whole | {"choices": [{"message": message, "finish_reason": finish}] if message else []}


def piece(event: Any) -> str:
    """The text that one chunk of a stream adds to the answer."""
    choices = event.get("choices")
    choice = choices[0] if choices else {}
    text = (choice.get("delta") or {}).get("content")
    return text if isinstance(text, str) and not choice.get("index") else ""


def _add(message: dict[str, Any], delta: Any) -> None:
    for name, part in delta.items() if isinstance(delta, dict) else ():
        if isinstance(part, str) and name != "role":
            message[name] = message.get(name, "") + part
        elif part and name not in message:
            message[name] = part


def _finish(reason: Any) -> str:
    """The reason in OpenAI's words; some servers give none at all."""
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
    raise NotAnAnswer("whose content is no text")
