"""The headers of a request. Only they know a key: they are made in the worker, and never stored or shown."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mrengine.errors import ConfigError, ModelError, ModelRefused, MrengineError
from mrengine.providers.call import error_map
from mrengine.providers.http.apis import api
from mrengine.providers.models import keys
from mrengine.providers.models.model import Model

if TYPE_CHECKING:  # with it comes TLS
    from mrengine.providers.http.client import Response

__all__ = ["Headers"]

_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})


class Headers:
    """A model's headers. Those of a callable are kept until a 401 says that they have expired. Thread-safe.

    ``key``: the API key itself, for an SDK. ``current``: the headers, another mapping after each renewal.
    """

    def __init__(self, model: Model, *, key: str | None = None, env: Mapping[str, str] = os.environ) -> None:
        self._model, self._env = model, env
        self._lock = threading.Lock()
        self.key = key or (keys.key_in(model.key_env, env) if model.key_env else None)
        # An SDK, whose kind is its shape, sends its key by itself.
        self._fixed = {} if model.kind == model.shape else api(model.shape).key_headers(self.key or "")
        if self.key and keys.is_at(model.base_url or "", *keys.AZURE):
            self._fixed = {"api-key": self.key}
        self.current = self._read()
        if _CREDENTIALS & self.current.keys() - self._fixed.keys():
            self.key = None  # the caller's own credentials: the SDK must not send the key beside them

    @property
    def hidden(self) -> list[str]:
        """The values, which no message may repeat."""
        return [*self.current.values(), self.key or ""]

    def __repr__(self) -> str:
        return f"Headers({self._model.name!r})"

    def renewed(self, send: Callable[[], Response]) -> Response:
        """Call ``send()``; where headers come from a callable, once more after a 401, with new ones."""
        before = self.current
        response = send()
        if response.status != 401 or not callable(self._model.spec.headers):
            return response
        with self._lock:
            if self.current is before:  # else another thread has met the same 401, and has asked already
                self.current = self._read()
        return send()

    def _read(self) -> dict[str, str]:
        spec = self._model.spec.headers
        own = self._called(spec) if callable(spec) else {k: self._expand(k, v) for k, v in (spec or {}).items()}
        if not isinstance(own, Mapping):
            raise self._wrong(f"must give a mapping, not {type(own).__name__}")
        lower = {name.lower(): self._checked(name, value) for name, value in own.items()}
        # The caller's own credentials replace the key, whatever its header would have been called.
        fixed = {k: v for k, v in self._fixed.items() if not (_CREDENTIALS & lower.keys() and k in _CREDENTIALS)}
        return fixed | lower

    def _called(self, function: Callable[[], Any]) -> Any:
        """The callable's headers. Its token server may not answer: that is as transient as a model that does not."""
        name = self._model.name
        failed: ModelError
        try:
            return function()
        except MrengineError:
            raise
        except Exception as error:  # noqa: BLE001  # user code; the exception's text and context may hold a key
            failed = error_map.from_exception(error, model=name)
            if not failed.transient:
                failed = ModelRefused(f"{name}: its headers() raised {type(error).__name__}", model=name, scope="model")
        failed.sent = False
        raise failed

    def _checked(self, name: Any, value: Any) -> str:
        if not isinstance(name, str) or not isinstance(value, str):
            raise self._wrong("must be str")
        text = value.strip()  # a key that was read from a file ends with a line break
        if any(mark in name or mark in text for mark in "\r\n\0") or not text.isascii():
            raise self._wrong(f"hold in {name.strip()!r} what no header can: a line break, or a character beyond ASCII")
        return text

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"the headers of {self._model.name} {what}", setting="headers")

    def _expand(self, name: str, value: str) -> str:
        def variable(match: re.Match[str]) -> str:
            if (content := self._env.get(match[1])) is not None:
                return content
            message = f"the header {name} of {self._model.name} needs {match[1]}, which is not in the environment"
            raise ConfigError(message, setting=match[1])

        return keys.VARIABLE.sub(variable, value)
