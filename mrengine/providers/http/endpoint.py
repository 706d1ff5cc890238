"""The ``http`` provider: any OpenAI- or Anthropic-shaped endpoint, without an SDK."""

from __future__ import annotations

from collections.abc import Mapping

from mrengine.providers.http.client import HttpClient, Response
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.proxies import Route, resolve
from mrengine.providers.http.remote import ASK_S, OnBytes, RemoteProvider
from mrengine.providers.models.model import Model

__all__ = ["HttpProvider"]


class HttpProvider(RemoteProvider):
    """``slots``: how many calls are in flight at most, and connections kept. ``route`` None: by the spec and the
    rules.
    """

    def __init__(
        self, model: Model, headers: Headers, *, base_url: str, slots: int = 1, route: Route | None = None
    ) -> None:
        super().__init__(model, headers)
        route = route or resolve(base_url, verify=model.spec.verify, proxy=model.spec.proxy)
        self._client = HttpClient(base_url, route=route, slots=slots)
        self._heads: tuple[int, bytes] = (-1, b"")

    def send(
        self, body: bytes, headers: Mapping[str, str], version: int, times: tuple[float, float], seen: OnBytes = None
    ) -> Response:
        """See RemoteProvider. The head is built once for each version of the headers."""
        built, head = self._heads
        if built != version:
            merged = {"content-type": "application/json", "user-agent": "mrengine", **headers}
            head = self._client.head("POST", self._shape.PATH, merged)
            self._heads = (version, head)
        return self._client.send(head, body, timeout_s=times[0], finish_s=times[1], seen=seen)

    def get(self, path: str) -> Response:
        """See RemoteProvider."""
        return self._client.send(self._client.head("GET", path, self._headers.current), None, timeout_s=ASK_S)

    def close(self) -> None:
        self._client.close()
