"""The ``openai`` and ``anthropic`` providers: the official SDKs, one client a worker, their own retries off.

The SDK authenticates, connects and sends; body and answer are made and read by the same code as without an SDK. So a
body which is no answer (for which the SDK returns a ``str``, without an error) is the same failure everywhere, limits
in the headers are seen, ``temperature`` needs no special road (``anthropic`` 2.12 has no such argument), and no
object is built that nobody looks at. Both SDKs offer this as ``client.post(path, cast_to=httpx2.Response)``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from mrengine.providers.headers import Headers
from mrengine.providers.http import Response
from mrengine.providers.models import Model
from mrengine.providers.remote import RemoteProvider
from mrengine.providers.routes import resolve, tls_context
from mrengine.records import ModelSpec

__all__ = ["AnthropicProvider", "OpenAIProvider", "http_client", "offline"]

_CONNECT_S = 15.0
_NO_KEY = "none"  # an endpoint that wants none is sent this; the SDKs insist on one


class _SdkProvider(RemoteProvider):
    """What both have in common."""

    def __init__(self, model: Model, headers: Headers, *, base_url: str, slots: int = 1, http: Any = None) -> None:
        super().__init__(model, headers)
        self._client = self._make(base_url, http or http_client(model, base_url, slots=slots))

    @abstractmethod
    def _make(self, base_url: str, http: Any) -> Any:
        """The SDK's client."""

    def send(self, body: bytes, headers: Mapping[str, str], version: int, timeout_s: float) -> Response:
        """See RemoteProvider. The SDK's error for a bad status is an answer here."""
        import httpx2

        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        options = {"headers": {"content-type": "application/json", **headers}, "timeout": timeout}
        try:
            raw = self._client.post(self._shape.PATH, cast_to=httpx2.Response, content=body, options=options)
        except Exception as error:
            raw = getattr(error, "response", None)
            if raw is None:
                raise
        return Response(raw.status_code, {name.lower(): value for name, value in raw.headers.items()}, raw.content)

    def close(self) -> None:
        self._client.close()


class OpenAIProvider(_SdkProvider):
    """Chat Completions through ``openai``."""

    def _make(self, base_url: str, http: Any) -> Any:
        import openai

        return openai.OpenAI(api_key=self._headers.key or _NO_KEY, base_url=base_url, max_retries=0, http_client=http)


class AnthropicProvider(_SdkProvider):
    """Messages through ``anthropic``."""

    def _make(self, base_url: str, http: Any) -> Any:
        import anthropic

        return anthropic.Anthropic(
            api_key=self._headers.key or _NO_KEY, base_url=base_url, max_retries=0, http_client=http
        )


def http_client(model: Model, base_url: str, *, slots: int) -> Any:
    """The SDKs' transport, with the same proxy, authorities and pool as the ``http`` provider has."""
    import httpx2

    route = resolve(base_url, verify=model.spec.verify, proxy=model.spec.proxy)
    return httpx2.Client(
        verify=route.tls or tls_context(False),  # plain HTTP: any context will do, and this one costs nothing
        proxy=route.proxy.url if route.proxy else None,
        trust_env=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=slots),
        follow_redirects=False,
    )


def offline(kind: str, http: Any) -> RemoteProvider:
    """A provider over a transport of the caller's, to warm its SDK with."""
    model = Model(0, kind, kind, kind, kind, kind, ModelSpec(kind))
    make = OpenAIProvider if kind == "openai" else AnthropicProvider
    return make(model, Headers(model, key=_NO_KEY), base_url="http://127.0.0.1", http=http)
