"""The ``openai`` and ``anthropic`` providers: the official SDKs, one client a worker, without their own retries.

The SDK authenticates and sends; the body is made, and the answer read, by the same code as without an SDK. Requests
leave over the ``http`` provider's own connections (docs/decisions/providers-one-road.md).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx2

from mrengine.providers.http.client import Response, client_of
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.url_provider import ASK_S, OnBytes, RemoteProvider
from mrengine.providers.models.model import Model
from mrengine.records import ModelSpec, Request

__all__ = ["SdkProvider", "warm_up"]

# ``on_data`` of this thread's call, by this way since an SDK passes no extra argument on to its transport.
_watching = threading.local()
_NO_KEY = "no-key-was-given"  # the SDKs insist on one; it is never sent
# Headers that our client sends by itself, and those that are no longer true of a body that it has read.
_OURS = frozenset({"host", "accept", "accept-encoding", "connection", "content-length", "transfer-encoding"})
_SPENT = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class SdkProvider(RemoteProvider):
    """Chat Completions through ``openai``, or Messages through ``anthropic``, by the model's shape."""

    def __init__(
        self,
        model: Model,
        headers: Headers,
        *,
        base_url: str,
        slots: int = 1,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(model, headers)
        transport = transport or _Transport(model, base_url, slots=slots)
        self._client = _sdk_client(
            model.shape,
            api_key=headers.key or _NO_KEY,
            base_url=base_url.partition("?")[0],  # its query is added by ``_Transport``, to each path
            max_retries=0,
            http_client=httpx2.Client(transport=transport, trust_env=False, follow_redirects=False),
        )

    def send(
        self, body: bytes, headers: Mapping[str, str], times: tuple[float, float], on_data: OnBytes = None
    ) -> Response:
        """See RemoteProvider. The SDK raises an error for a bad status, which is an answer here."""
        # The raw call, which both SDKs offer, not their typed method: a body that is no answer, for which they return a
        # ``str``, fails as it does without an SDK, rate-limit headers are read, and ``temperature`` is no special case
        # (``anthropic`` 2.12 has no such argument).
        timeout = httpx2.Timeout(max(times), read=times[0])
        options = {"headers": {"content-type": "application/json", **headers}, "timeout": timeout}
        _watching.on_data = on_data
        try:
            raw = self._client.post(self._shape.PATH, cast_to=httpx2.Response, content=body, options=options)
        except Exception as error:
            raw = getattr(error, "response", None)
            if raw is None:
                raise
        finally:
            _watching.on_data = None
        return Response(raw.status_code, {name.lower(): value for name, value in raw.headers.items()}, raw.content)

    def get(self, path: str) -> Response:
        """See RemoteProvider."""
        options = {"headers": self._headers.current, "timeout": ASK_S}
        raw = self._client.get(path, cast_to=httpx2.Response, options=options)
        return Response(raw.status_code, raw.headers, raw.content)

    def close(self) -> None:
        self._client.close()


def _sdk_client(shape: str, **settings: Any) -> Any:
    if shape == "openai":
        import openai

        return openai.OpenAI(**settings)
    import anthropic

    return anthropic.Anthropic(**settings)


class _Transport(httpx2.BaseTransport):
    """Sends an SDK's requests through our client, with the SDK's own headers."""

    # Why: one deadline for the whole call, where the SDKs have one for each read; bodies of a bounded size; the same
    # proxies and authorities; a third less CPU.

    def __init__(self, model: Model, base_url: str, *, slots: int) -> None:
        url = httpx2.URL(base_url)
        query = url.query.decode("ascii")
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}" + (f"?{query}" if query else "")
        self._client = client_of(model.spec, origin, slots=slots)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request, within the time that the SDK was given for it, and only ever to the origin."""
        headers = {name: value for name, value in request.headers.items() if name not in _OURS and _NO_KEY not in value}
        head = self._client.head(request.method, request.url.raw_path.decode("ascii"), headers)
        times = request.extensions["timeout"]
        body, on_data = request.read(), getattr(_watching, "on_data", None)
        # An httpx2.Timeout has no field for finish_s: ``send`` gave it as the time for the pool, which is not used.
        answer = self._client.send(head, body, timeout_s=times["read"], finish_s=times["pool"] or 0.0, on_data=on_data)
        kept = [(name, value) for name, value in answer.headers.items() if name not in _SPENT]
        return httpx2.Response(answer.status, headers=kept, content=answer.body)

    def close(self) -> None:
        self._client.close()


_ANSWERS = {
    "openai": {"choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]},
    "anthropic": {"content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn"},
}


def warm_up(kind: str) -> None:
    """Make one whole call over a mock transport: much of an SDK is built lazily, by the first call. ImportError."""
    answer = httpx2.Response(200, content=json.dumps(_ANSWERS[kind]), headers={"content-type": "application/json"})
    model, transport = Model(0, kind, kind, kind, kind, kind, ModelSpec(kind)), httpx2.MockTransport(lambda _: answer)
    provider = SdkProvider(model, Headers(model, key=_NO_KEY), base_url="http://127.0.0.1", transport=transport)
    provider.complete(Request(kind, "warm"))
    provider.close()
