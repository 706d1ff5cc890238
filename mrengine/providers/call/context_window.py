"""Context windows: how much a model can hold, and the refusal of a prompt that exceeds it, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mrengine.providers.call import error_map
from mrengine.providers.call.structured import in_words
from mrengine.providers.http.client import Response, client_of
from mrengine.providers.http.headers import Headers
from mrengine.providers.models import resolution
from mrengine.providers.models.model import Model
from mrengine.records import Request

__all__ = ["ask_window", "ask_windows", "check", "room_beside", "size", "texts_of"]

Get = Callable[[str], Response]
ASK_S = 2.0  # the user waits for the job to begin
TOOL_TOKENS = 1024  # an upper bound of what a provider adds for a tool that must be called
# The window's name in the lists of vLLM and SGLang, OpenRouter, Groq, LM Studio.
_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def size(request: Request) -> int:
    """Bytes of all texts of a request: an upper bound of its tokens, for any tokenizer."""
    texts = texts_of(request)
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def texts_of(request: Request) -> list[str]:
    """All texts of a request, a schema among them."""
    schema = [] if request.schema is None else [in_words(request.schema)]
    return [request.prompt, request.system or "", *(text for _, text in request.turns), *schema]


def room_beside(request: Request) -> int:
    """An upper bound of the tokens beside prompt and system: the turns, and the schema in whichever form it is sent."""
    turns = sum(4 * len(text) for _, text in request.turns)
    return turns if request.schema is None else turns + 4 * len(in_words(request.schema)) + TOOL_TOKENS


def check(request: Request, *, name: str, window: int) -> None:
    """ContextOverflow, with the numbers, for a request that cannot fit.

    The count is tiktoken's. The provider's own may be larger: then it refuses the request itself.
    """
    if size(request) + request.max_tokens <= window:
        return  # without a count, which would load a tokenizer into the worker
    from mrengine.chunking.tokens.tokenizer import count

    tokens = sum(count(text) for text in texts_of(request) if text) + request.max_tokens
    if tokens > window:
        raise error_map.overflow(name, tokens=tokens, window=window)


def ask_window(get: Get, model: Model) -> int | None:
    """The window that ``/v1/models`` states, fetched by ``get(path)``. None: it states none, or cannot be fetched."""
    path = "/v1/models" if model.shape == "anthropic" else "/models"
    try:
        response = get(path)
        listed = json.loads(response.body)["data"] if response.status == 200 else []
        return _window(listed, model.wire_name)
    except Exception:  # noqa: BLE001  # whatever a client raises: without this answer the job goes on as well
        return None


def _window(listed: list[dict[str, Any]], name: str) -> int | None:
    own = [entry for entry in listed if entry.get("id") == name] or (listed if len(listed) == 1 else [])
    for entry in own:
        for field in _FIELDS:
            if type(entry.get(field)) is int and entry[field] > 0:
                return int(entry[field])
    return None


def ask_windows(models: tuple[Model, ...]) -> list[int]:
    """In the host: the windows that servers state, of the models whose spec and price table do not."""
    # The vendors' own lists state no window: asking them would only cost time.
    kinds, vendors = ("http", "openai", "anthropic"), (None, *resolution.VENDORS)
    asked = [m for m in models if m.context_window is None and m.kind in kinds and m.base_url not in vendors]
    return [window for model in asked if (window := _ask(model)) is not None]


def _ask(model: Model) -> int | None:
    client = client_of(model.spec, model.base_url or "")
    try:
        headers = Headers(replace(model, kind="http")).current  # as "http", so that the key comes without an SDK
        return ask_window(lambda path: client.send(client.head("GET", path, headers), None, timeout_s=ASK_S), model)
    except Exception:  # noqa: BLE001  # headers that cannot be made are reported when the model is called
        return None
    finally:
        client.close()
