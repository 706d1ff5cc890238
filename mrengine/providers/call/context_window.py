"""Context windows: what a model can hold, and the refusal of a prompt that it cannot, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mrengine.providers.call import error_map
from mrengine.providers.call.structured import in_words
from mrengine.providers.http.client import HttpClient, Response
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.proxies import resolve
from mrengine.providers.models import resolution
from mrengine.providers.models.model import Model
from mrengine.records import Request

__all__ = ["ask_window", "ask_windows", "check", "room_beside", "size", "spoken"]

Get = Callable[[str], Response]
TOOL_TOKENS = 1024  # what a provider puts around a tool that must be called, at most

# Names under which servers tell it: vLLM and SGLang, OpenRouter, Groq, LM Studio.
_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def size(request: Request) -> int:
    """Bytes of all texts of a request: no tokenizer makes more tokens of them."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in spoken(request))


def spoken(request: Request) -> list[str]:
    """All texts of a request."""
    schema = [] if request.schema is None else [in_words(request.schema)]
    return [request.prompt, request.system or "", *(text for _, text in request.turns), *schema]


def room_beside(request: Request) -> int:
    """Tokens at most of what a request holds beside prompt and system: its turns, and its schema in whichever form."""
    turns = sum(4 * len(text) for _, text in request.turns)
    return turns if request.schema is None else turns + 4 * len(in_words(request.schema)) + TOOL_TOKENS


def check(request: Request, *, name: str, window: int) -> None:
    """Refuse what cannot fit. Raises ContextOverflow with the numbers.

    Tokens are counted only where the bytes leave a doubt; ours is tiktoken's count, the provider's may be larger, in
    which case it refuses by itself.
    """
    if size(request) + request.max_tokens <= window:
        return
    from mrengine.chunking.tokens.tokenizer import count

    tokens = sum(count(text) for text in spoken(request) if text) + request.max_tokens
    if tokens > window:
        raise error_map.overflow(name, tokens=tokens, window=window)


def ask_window(get: Get, model: Model) -> int | None:
    """Ask ``/v1/models``. ``get(path)`` fetches it. None where it does not say; no failure of this is an error."""
    path = "/v1/models" if model.shape == "anthropic" else "/models"
    try:
        response = get(path)
        listed = json.loads(response.body)["data"] if response.status == 200 else []
        return _window(listed, model.wire_name)
    except Exception:  # noqa: BLE001  # whatever a client raises: the question is a courtesy
        return None


def _window(listed: list[dict[str, Any]], name: str) -> int | None:
    own = [entry for entry in listed if entry.get("id") == name] or (listed if len(listed) == 1 else [])
    for entry in own:
        for field in _FIELDS:
            if type(entry.get(field)) is int and entry[field] > 0:
                return int(entry[field])
    return None


def ask_windows(models: tuple[Model, ...], *, timeout_s: float = 2.0) -> list[int]:
    """In the host: the windows that the servers of models tell, where neither spec nor table does."""
    sizes = [_ask(model, timeout_s) for model in models if model.context_window is None and _may_know(model)]
    return [window for window in sizes if window is not None]


def _may_know(model: Model) -> bool:
    """Servers of one's own do; the vendors' do not."""
    return model.kind in ("http", "openai", "anthropic") and model.base_url not in (None, *resolution.VENDORS)


def _ask(model: Model, timeout_s: float) -> int | None:
    base_url = model.base_url or ""
    client = HttpClient(base_url, route=resolve(base_url, verify=model.spec.verify, proxy=model.spec.proxy))
    try:
        headers = Headers(replace(model, kind="http")).current  # the key too: no SDK is imported to ask this
        return ask_window(lambda path: client.send(client.head("GET", path, headers), None, timeout_s=timeout_s), model)
    except Exception:  # noqa: BLE001  # headers that cannot be made are reported where the model is called
        return None
    finally:
        client.close()
