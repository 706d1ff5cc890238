"""Context windows: what a model can hold, and the refusal of a prompt that it cannot, before anything is sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from mrengine.providers import failures
from mrengine.providers.headers import Headers
from mrengine.providers.http import HttpClient
from mrengine.providers.models import Model
from mrengine.providers.routes import resolve
from mrengine.records import Request

__all__ = ["ask_window", "check", "size", "with_windows"]

# Names under which servers tell it: vLLM and SGLang, OpenRouter, Groq, LM Studio.
_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def size(request: Request) -> int:
    """Bytes of all texts of a request: no tokenizer makes more tokens of them."""
    texts = [request.prompt, request.system or "", *(text for _, text in request.turns)]
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def check(request: Request, *, name: str, window: int) -> None:
    """Refuse what cannot fit. Raises ContextOverflow with the numbers.

    Tokens are counted only where the bytes leave a doubt; ours is tiktoken's count, the provider's may be larger, in
    which case it refuses by itself.
    """
    if size(request) + request.max_tokens <= window:
        return
    from mrengine.chunking.tokens import count

    texts = [request.prompt, request.system or "", *(text for _, text in request.turns)]
    tokens = sum(count(text) for text in texts if text) + request.max_tokens
    if tokens > window:
        raise failures.overflow(name, tokens=tokens, window=window)


def ask_window(client: HttpClient, headers: Headers, model: Model, *, timeout_s: float = 5.0) -> int | None:
    """Ask ``/v1/models``. None where it does not say; no failure of this question is an error."""
    path = "/v1/models" if model.shape == "anthropic" else "/models"
    try:
        response = client.send(client.head("GET", path, headers.current), None, timeout_s=timeout_s)
        listed = json.loads(response.body)["data"] if response.status == 200 else []
        return _window(listed, model.wire_name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _window(listed: list[dict[str, Any]], name: str) -> int | None:
    own = [entry for entry in listed if entry.get("id") == name] or (listed if len(listed) == 1 else [])
    for entry in own:
        for field in _FIELDS:
            if type(entry.get(field)) is int and entry[field] > 0:
                return int(entry[field])
    return None


def with_windows(models: tuple[Model, ...], *, timeout_s: float = 2.0) -> tuple[Model, ...]:
    """In the host: the models of ``http`` endpoints whose window nobody knows, with what their servers say."""
    return tuple(_with_window(model, timeout_s) for model in models)


def _with_window(model: Model, timeout_s: float) -> Model:
    if model.kind != "http" or model.context_window is not None or model.base_url is None:
        return model
    client = HttpClient(model.base_url, route=resolve(model.base_url, verify=model.spec.verify, proxy=model.spec.proxy))
    try:
        return replace(model, context_window=ask_window(client, Headers(model), model, timeout_s=timeout_s))
    finally:
        client.close()
