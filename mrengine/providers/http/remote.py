"""What every provider behind a URL does alike: a request to bytes, an answer to a completion, all else to a
ModelError.

A subclass only sends: ``HttpProvider`` over sockets, the SDK providers through their clients.
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
from mrengine.providers.call.context_window import ask_window, check, size, spoken
from mrengine.providers.call.structured import unboxed
from mrengine.providers.http import no_answer
from mrengine.providers.http.apis import NotAnAnswer, Refused, api
from mrengine.providers.http.client import Response
from mrengine.providers.http.headers import Headers
from mrengine.providers.http.quirks import Quirks, adapted, learned
from mrengine.providers.http.rate_limit_headers import observed
from mrengine.providers.http.streams import Shown, events_in, is_stream, without_comments
from mrengine.providers.models.model import Model
from mrengine.records import Completion, Request

__all__ = ["ASK_S", "RemoteProvider"]

OnBytes = Callable[[bytes], None] | None
_NO_STREAM = frozenset({400, 404, 405, 415, 422, 501})
ASK_S = 5.0
ASK_ABOVE_BYTES = 8192  # the smallest window that is still common: shorter prompts need no question
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

    @property
    def hidden(self) -> list[str]:
        """Values of its headers, as they are now: no message may repeat them."""
        return self._headers.hidden

    @abstractmethod
    def send(
        self, body: bytes, headers: Mapping[str, str], version: int, times: tuple[float, float], seen: OnBytes = None
    ) -> Response:
        """POST a body; an answer of any status, or whatever the client raises. ``version``: of the headers;
        ``times``: the request's ``timeout_s`` and ``finish_s``; ``seen``: is given the parts of the answer's body.
        """

    @abstractmethod
    def get(self, path: str) -> Response:
        """GET a path under the base URL, within a few seconds."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def complete(self, request: Request) -> Completion:
        """One call. After a 401 with headers that can be renewed, or a refused parameter, it is made once more."""
        started = time.perf_counter()
        self._check_window(request)
        completion = self._complete(request)
        return replace(completion, latency_ms=(time.perf_counter() - started) * 1000)

    def encoded(self, request: Request) -> bytes:
        """The body of a request in a batch, by what is known of the endpoint: no batch streams."""
        quirks = replace(self._quirks, stream=False)
        sent = self._shape.body(
            adapted(request, quirks), model=self._model.wire_name, params=self._params, quirks=quirks
        )
        del sent["stream"]
        return _encode(sent).encode("utf-8", "replace")

    def decoded(self, request: Request, status: int, body: bytes) -> Completion:
        """The completion that an answer holds, however it came. Raises ModelError."""
        response = Response(status, {}, body)
        if not 200 <= status < 300:
            bad = no_answer.sampled_badly(self._name, status, body)
            raise bad or self._failure(status, response, request)
        return self._read(response, request)

    @property
    def quirks(self) -> Quirks:
        """What is known of the endpoint."""
        return self._quirks

    def learn(self, request: Request, status: int, body: bytes, *, quirks: Quirks) -> bool:
        """Whether the request, which was ``said`` in one way, may be taken in another after this refusal; from now on
        it is said so.
        """
        sent = self._shape.body(
            adapted(request, quirks), model=self._model.wire_name, params=self._params, quirks=quirks
        )
        other = learned(quirks, request, _encode(sent).encode("utf-8", "replace"), status, body)
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
        """The window that ``/v1/models`` tells; asked once, by the first thread that has a long prompt. None: it does
        not.
        """
        if not self._asked.is_set():
            with self._asking:
                if not self._asked.is_set():
                    self._asked_window = ask_window(self.get, self._model)
                    self._asked.set()
        return self._asked_window

    def _complete(self, request: Request) -> Completion:
        quirks = known = self._quirks
        while True:
            body = self._body(request, quirks)
            seen = None if request.pieces is None else Shown(self._shape.piece, request.pieces)
            response = self._answered(body, (request.timeout_s, request.finish_s), seen)
            other = learned(quirks, request, body, response.status, response.body)
            if other is None and request.pieces is not None and response.status in _NO_STREAM:
                request = replace(request, pieces=None)  # a server that does not stream: the answer comes whole
            elif other is None:
                break
            else:
                quirks = other
        if not 200 <= response.status < 300:
            bad = no_answer.sampled_badly(self._name, response.status, response.body)
            raise bad or self._failure(response.status, response, request)
        if quirks != known:
            self._quirks = quirks
        return self._read(response, request)

    def _failure(self, status: int, response: Response, request: Request) -> ModelError:
        hidden, texts = self._headers.hidden, spoken(request)
        return error_map.from_status(
            status, response.headers, response.body, model=self._name, hidden=hidden, texts=texts
        )

    def _body(self, request: Request, quirks: Quirks) -> bytes:
        shown = request.pieces is not None and request.schema is None
        sent = self._shape.body(
            adapted(request, quirks),
            model=self._model.wire_name,
            params=self._params,
            quirks=replace(quirks, stream=True) if shown else quirks,
        )
        return _encode(sent).encode("utf-8", "replace")

    def _answered(self, body: bytes, times: tuple[float, float], seen: OnBytes) -> Response:
        version = self._headers.version
        response = self._sent(body, times, seen)
        if response.status == 401 and self._headers.renewable:
            self._headers.renew(version)
            response = self._sent(body, times, seen)
        return response

    def _sent(self, body: bytes, times: tuple[float, float], seen: OnBytes) -> Response:
        """Send; a foreign exception leaves no trace: not even as context, for its request holds prompt and key."""
        failed: ModelError
        try:
            return self.send(body, self._headers.current, self._headers.version, times, seen)
        except Exception as error:  # noqa: BLE001  # whatever a client raises is mapped, in one place
            failed = error_map.from_exception(error, model=self._name)
        raise failed

    def _read(self, response: Response, request: Request) -> Completion:
        failed: ModelError
        seen, data = observed(response.headers), None
        try:
            data = self._data(response)
            inner = no_answer.inner_error(
                data, response.headers, model=self._name, hidden=self._headers.hidden, texts=spoken(request)
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
            return completion if seen is None else replace(completion, observed=seen)
        failed.observed = seen
        raise failed

    def _data(self, response: Response) -> Any:
        """The JSON of a body, or of the stream that it is. ValueError: it is neither."""
        body = without_comments(response.body)
        if not is_stream(body):
            return json.loads(body)
        data = self._shape.joined(events_in(body))
        if data is None:
            raise ValueError("the stream ended before its answer did")
        return data
