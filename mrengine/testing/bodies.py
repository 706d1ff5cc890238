"""The test server's side of both APIs: parsing requests, and the bytes of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from mrengine.providers.fake import example

__all__ = ["ApiRequest", "answer", "error", "framed", "key_of", "models", "read", "thinking"]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A parsed request. A word is a token. ``answered``: words of the answers in the turns so far."""

    shape: str
    model: str
    prompt: str = field(repr=False)
    words: int
    max_tokens: int
    answered: int
    schema: Mapping[str, Any] | None
    schema_param: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def default(self) -> str:
        """The default answer, which depends on prompt and schema alone."""
        if self.schema is not None:
            return json.dumps(example(self.schema))
        digest = blake2b(self.prompt.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        return f"An answer to prompt {digest} of {self.words} words."


def read(shape: str, body: bytes) -> ApiRequest | None:
    """Parse a request to Chat Completions ("openai") or Messages ("anthropic"); None: it is none."""
    try:
        data = json.loads(body)
        messages = [(m["role"], _text(m["content"])) for m in data["messages"]]
        model = data["model"]
    except (ValueError, KeyError, TypeError):
        return None
    texts = [text for _, text in messages]
    texts += [_text(data["system"])] if data.get("system") else []  # Anthropic's stands beside the messages
    schema, param = _schema(data, shape)
    answered = sum(len(text.split()) for role, text in messages if role == "assistant") if schema is None else 0
    return ApiRequest(
        shape=shape,
        model=str(model),
        prompt=next((text for role, text in messages if role == "user"), ""),
        words=sum(len(text.split()) for text in texts),
        max_tokens=int(data.get("max_tokens") or data.get("max_completion_tokens") or 1024),
        answered=answered,
        schema=schema,
        schema_param=param,
        body=data,
    )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _schema(data: Mapping[str, Any], shape: str) -> tuple[Mapping[str, Any] | None, str]:
    if shape == "anthropic":
        tools = data.get("tools") or ()  # a schema is asked for as the input of a tool
        return (tools[0]["input_schema"], "tools") if tools else (None, "")
    wanted = data.get("response_format") or {}
    return (wanted["json_schema"]["schema"], "response_format") if wanted.get("type") == "json_schema" else (None, "")


def key_of(headers: Mapping[str, str]) -> str:
    """The API key, in either vendor's header; "": none."""
    return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")


def answer(
    request: ApiRequest,
    text: str,
    cut: bool,
    tokens: tuple[int, int],
    *,
    usage: Callable[[int, int], Any] | None = None,
) -> bytes:
    """The JSON of an answer. ``cut``: ``max_tokens`` ended it. ``tokens``: input, output; ``usage`` replaces them."""
    data = _message(request, text, cut, tokens) if request.shape == "anthropic" else _chat(request, text, cut, tokens)
    if usage is not None:
        data["usage"] = usage(*tokens)
    return json.dumps(data).encode()


def thinking(request: ApiRequest, body: bytes, thoughts: str, *, where: str) -> bytes:
    """An answer with reasoning before it, in a "field" of its own or in the "text"."""
    data = json.loads(body)
    if request.shape == "anthropic":
        data["content"].insert(0, {"type": "thinking", "thinking": thoughts, "signature": ""})
        return json.dumps(data).encode()
    message = data["choices"][0]["message"]
    if where == "field":
        message["reasoning_content"] = thoughts
        if data["usage"] is not None:  # ``usage`` of a behaviour may leave it out
            data["usage"]["completion_tokens_details"] = {"reasoning_tokens": len(thoughts.split())}
    elif message["content"]:
        message["content"] = f"<think>\n{thoughts}\n</think>\n\n{message['content']}"
    else:
        message["content"] = f"<think>\n{thoughts}"
    return json.dumps(data).encode()


def _chat(request: ApiRequest, text: str, cut: bool, tokens: tuple[int, int]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length" if cut else "stop"}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


def _message(request: ApiRequest, text: str, cut: bool, tokens: tuple[int, int]) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    reason = "max_tokens" if cut else "end_turn"
    if request.schema is not None and not cut:
        try:
            block = {"type": "tool_use", "id": "toolu_1", "name": "answer", "input": json.loads(text)}
            reason = "tool_use"
        except ValueError:
            pass
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [block],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1]},
    }


def error(code: str, message: str, *, param: str | None = None) -> bytes:
    """An error body that fits both APIs."""
    fault = {"message": message, "type": code, "code": code, "param": param}
    return json.dumps({"type": "error", "error": fault}).encode()


def models(names: Sequence[str] | None, window: int | None) -> bytes:
    """The list of models, with the window as vLLM names it."""
    listed = [{"id": name, "object": "model", "max_model_len": window} for name in names or ["any"]]
    return json.dumps({"object": "list", "data": listed}).encode()


def framed(status: int, body: bytes, extra: Mapping[str, str], *, chunked: bool) -> bytes:
    """A whole HTTP/1.1 answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded"  # 529, Anthropic's own
    extra = {"content-type": "application/json", **extra}
    lines = [f"HTTP/1.1 {status} {phrase}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in extra.items()]
    if chunked:  # with an extension and a trailer, which clients must skip
        middle = len(body) // 2
        parts = [part for part in (body[:middle], body[middle:]) if part]
        framed_parts = b"".join(b"%x;part=1\r\n%b\r\n" % (len(part), part) for part in parts)
        return "".join(lines).encode() + b"transfer-encoding: chunked\r\n\r\n" + framed_parts + b"0\r\nx-end: 1\r\n\r\n"
    return "".join(lines).encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)
