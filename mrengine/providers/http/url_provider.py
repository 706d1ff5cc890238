"""Providers behind a URL: a request becomes bytes, an answer a completion, and everything else a ModelError.

Subclasses only send: ``HttpProvider`` over sockets, without an SDK; those of ``providers/sdk.py`` through an SDK.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mrengine.errors import ModelError
from mrengine.providers.call import error_map
from mrengine.providers.call.context_window import ask_window, check, size, texts_of
from mrengine.providers.call.structured import unboxed
from mrengine.providers.http import no_answer
from mrengine.providers.http.apis import NotAnAnswer, Refused, api
from mrengine.providers.http.client import Response, client_of
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.proxies import Route
from mrengine.providers.http.quirks import Quirks, adapted, learned
from mrengine.providers.http.rate_limit_headers import observed
from mrengine.providers.http.streams import Shown, events_in, is_stream, without_comments
from mrengine.providers.models.model import Model
from mrengine.records import Completion, Request

__all__ = ["ASK_S", "HttpProvider", "RemoteProvider"]

OnBytes = Callable[[bytes], None] | None
_NO_STREAM = frozenset({400, 404, 405, 415, 422, 501})  # the refusals of servers that do not stream
ASK_S = 5.0
ASK_ABOVE_BYTES = 8192  # the smallest window that is still common: shorter prompts fit anyway
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class RemoteProvider(ABC):
    """One model of one endpoint."""

    def __init__(self, model: Model, headers: Headers) -> None:
        self._model = model
        self._name = model.name
        self._headers = headers
        self._shape = api(model.shape)
        self._params = dict(model.spec.params or {})
        self._quirks = Quirks()
        self._asked_window: int | None = None
        self._asked, self._asking = threading.Event(), threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    @abstractmethod
    def send(
        self, body: bytes, headers: Mapping[str, str], times: tuple[float, float], on_data: OnBytes = None
    ) -> Response:
        """POST a body; returns an answer of any status, or raises whatever the client does. ``times``: the request's
        ``timeout_s`` and ``finish_s``; ``on_data`` is given the body in parts.
        """

    @abstractmethod
    def get(self, path: str) -> Response:
        """GET a path under the base URL, within a few seconds."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def complete(self, request: Request) -> Completion:
        """Make one call. It is repeated after a 401 with renewable headers, and without a parameter that is refused."""
        started = time.perf_counter()
        self._check_window(request)
        completion = self._complete(request)
        return replace(completion, latency_ms=(time.perf_counter() - started) * 1000)

    def encoded(self, request: Request) -> bytes:
        """The body of a request in a batch, with the endpoint's quirks; no batch streams."""
        body = self._body(request, replace(self._quirks, stream=False))
        del body["stream"]
        return _encoded(body)

    def decoded(self, request: Request, status: int, body: bytes) -> Completion:
        """The completion in the answer to a batched request. Raises ModelError."""
        return self._completion(request, Response(status, {}, body))

    @property
    def quirks(self) -> Quirks:
        """What the endpoint is known to take."""
        return self._quirks

    def learn(self, request: Request, status: int, body: bytes, *, quirks: Quirks) -> bool:
        """Learn from the refusal of a batched request that was sent with these ``quirks``. False: nothing to learn."""
        other = learned(quirks, request, _encoded(self._body(request, quirks)), status, body)
        if other is None:
            return False
        self._quirks = other
        return True

    def _check_window(self, request: Request) -> None:
        window = self._model.context_window
        if window is None and size(request) > ASK_ABOVE_BYTES:
            window = self.window()
        if window is not None:
            check(request, name=self._name, window=window)

    def window(self) -> int | None:
        """The window that ``/v1/models`` states; None: it states none."""
        if not self._asked.is_set():
            with self._asking:  # once for all threads, by the first that has a long prompt
                if not self._asked.is_set():
                    self._asked_window = ask_window(self.get, self._model)
                    self._asked.set()
        return self._asked_window

    def _complete(self, request: Request) -> Completion:
        quirks = known = self._quirks
        while True:
            # An answer with a schema is checked as a whole, and is not shown before.
            streams = request.pieces is not None and request.schema is None
            body = _encoded(self._body(request, replace(quirks, stream=True) if streams else quirks))
            on_data = None if request.pieces is None else Shown(self._shape.piece, request.pieces)
            response = self._answered(body, (request.timeout_s, request.finish_s), on_data)
            other = learned(quirks, request, body, response.status, response.body)
            if other is None and request.pieces is not None and response.status in _NO_STREAM:
                request = replace(request, pieces=None)  # a server that does not stream: the answer comes whole
            elif other is None:
                break
            else:
                quirks = other
        # Only now: a refusal may only repeat the words of the prompt, and then leaving the parameter out helps nothing.
        if quirks != known and 200 <= response.status < 300:
            self._quirks = quirks
        return self._completion(request, response)

    def _body(self, request: Request, quirks: Quirks) -> dict[str, Any]:
        return self._shape.body(
            adapted(request, quirks), model=self._model.wire_name, params=self._params, quirks=quirks
        )

    def _completion(self, request: Request, response: Response) -> Completion:
        status, body = response.status, response.body
        if 200 <= status < 300:
            return self._read(response, request)
        raise no_answer.sampled_badly(self._name, status, body) or error_map.from_status(
            status, response.headers, body, model=self._name, hidden=self._headers.hidden, texts=texts_of(request)
        )

    def _answered(self, body: bytes, times: tuple[float, float], on_data: OnBytes) -> Response:
        return self._headers.renewed(lambda: self._sent(body, times, on_data))

    def _sent(self, body: bytes, times: tuple[float, float], on_data: OnBytes) -> Response:
        failed: ModelError
        try:
            return self.send(body, self._headers.current, times, on_data)
        except Exception as error:  # noqa: BLE001  # whatever a client raises is mapped, in one place
            failed = error_map.from_exception(error, model=self._name)
        raise failed  # outside of ``except``: the client's exception, as its context, would hold prompt and key

    def _read(self, response: Response, request: Request) -> Completion:
        failed: ModelError
        limits, data = observed(response.headers), None
        try:
            data = self._data(response)
            inner = no_answer.inner_error(
                data, response.headers, model=self._name, hidden=self._headers.hidden, texts=texts_of(request)
            )
            if inner is not None:
                raise inner
            completion = self._shape.answer(data, model=self._name, reasoning=self._model.spec.reasoning)
        except NotAnAnswer as nothing:
            failed = no_answer.no_answer(self._name, nothing.why, nothing.usage, data=data)
        except (ValueError, RecursionError):
            failed = no_answer.no_answer(self._name)
        except Refused as refusal:
            failed = error_map.refused(self._name, refusal.reason, refusal.usage)
            failed.answer = refusal.text
        else:
            if request.schema is not None and self._quirks.native_schema:
                completion = replace(completion, text=unboxed(completion.text, request.schema))
            return completion if limits is None else replace(completion, observed=limits)
        failed.observed = limits
        raise failed

    def _data(self, response: Response) -> Any:
        """The JSON of a body, or of the stream that the body is. ValueError: it is neither."""
        body = without_comments(response.body)
        if not is_stream(body):
            return json.loads(body)
        try:
            data = self._shape.joined(events_in(body))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("an event is not of this protocol") from error
        if data is None:
            raise ValueError("the stream ended before its answer did")
        return data


def _encoded(body: dict[str, Any]) -> bytes:
    return _encode(body).encode("utf-8", "replace")


class HttpProvider(RemoteProvider):
    """The ``http`` provider: any OpenAI- or Anthropic-shaped endpoint, without an SDK.

    ``slots``: how many calls are in flight at most, and connections kept. ``route`` None: by the spec and the rules.
    """

    def __init__(
        self, model: Model, headers: Headers, *, base_url: str, slots: int = 1, route: Route | None = None
    ) -> None:
        super().__init__(model, headers)
        self._client = client_of(model.spec, base_url, slots=slots, route=route)
        self._head: tuple[Mapping[str, str], bytes] = {}, b""

    def send(
        self, body: bytes, headers: Mapping[str, str], times: tuple[float, float], on_data: OnBytes = None
    ) -> Response:
        """See RemoteProvider."""
        known, head = self._head  # built once, until the headers are renewed
        if known is not headers:
            merged = {"content-type": "application/json", "user-agent": "mrengine", **headers}
            head = self._client.head("POST", self._shape.PATH, merged)
            self._head = headers, head
        return self._client.send(head, body, timeout_s=times[0], finish_s=times[1], on_data=on_data)

    def get(self, path: str) -> Response:
        """See RemoteProvider."""
        return self._client.send(self._client.head("GET", path, self._headers.current), None, timeout_s=ASK_S)

    def close(self) -> None:
        self._client.close()
