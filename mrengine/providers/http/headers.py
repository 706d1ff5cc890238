"""The headers that a request carries, and nothing else that knows a key: read in the worker, never stored or shown."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mrengine.errors import ConfigError, ModelError, ModelRefused, MrengineError
from mrengine.providers.call import error_map
from mrengine.providers.http.apis import api
from mrengine.providers.models import keys
from mrengine.providers.models.model import Model

__all__ = ["Headers"]

_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Headers:
    """A model's headers. Those of a callable are kept until a 401 says that they have expired. Thread-safe.

    ``key``: the API key itself, for an SDK. ``version`` counts the renewals: of many threads that meet the same 401,
    one asks again and all use its answer.
    """

    def __init__(self, model: Model, *, key: str | None = None, env: Mapping[str, str] = os.environ) -> None:
        self._model, self._env = model, env
        self._lock = threading.Lock()
        self.key = key or (keys.checked(model.key_env, env) if model.key_env else None)
        # An SDK sends its key by itself.
        self._fixed = {} if model.kind == model.shape else api(model.shape).key_headers(self.key or "")
        if self.key and keys.below(model.base_url or "", *keys.AZURE):
            self._fixed = {"api-key": self.key}
        self.version = 0
        self.current = self._read()
        if _CREDENTIALS & self.current.keys() - self._fixed.keys():
            self.key = None

    @property
    def hidden(self) -> list[str]:
        """Values that no message may repeat."""
        return [*self.current.values(), self.key or ""]

    def __repr__(self) -> str:
        return f"Headers({self._model.name!r})"

    @property
    def renewable(self) -> bool:
        """Whether asking again can give others."""
        return callable(self._model.spec.headers)

    def renew(self, seen: int) -> None:
        """After a 401 to the headers of version ``seen``: ask the callable again, unless another thread did."""
        with self._lock:
            if self.version == seen:
                self.current = self._read()
                self.version += 1

    def _read(self) -> dict[str, str]:
        given = self._model.spec.headers
        own = self._asked(given) if callable(given) else {k: self._expand(k, v) for k, v in (given or {}).items()}
        if not isinstance(own, Mapping):
            raise self._wrong(f"must give a mapping, not {type(own).__name__}")
        lower = {name.lower(): self._checked(name, value) for name, value in own.items()}
        # Credentials of the caller's own replace the key, under whatever name it would have been sent.
        fixed = {k: v for k, v in self._fixed.items() if not (_CREDENTIALS & lower.keys() and k in _CREDENTIALS)}
        return fixed | lower

    def _asked(self, given: Callable[[], Any]) -> Any:
        """What the callable gives. A token server that does not answer is tried again, like a model that does not."""
        name = self._model.name
        failed: ModelError
        try:
            return given()
        except MrengineError:
            raise
        except Exception as error:  # noqa: BLE001  # the user's own; its text may hold a key, and so may its context
            failed = error_map.from_exception(error, model=name)
            if not failed.transient:
                failed = ModelRefused(f"{name}: its headers() raised {type(error).__name__}", model=name, scope="model")
        failed.sent = False
        raise failed

    def _checked(self, name: Any, value: Any) -> str:
        """Without the line break at the end of a secret's file; nobody smuggles another header into a value."""
        if not isinstance(name, str) or not isinstance(value, str):
            raise self._wrong("must be str")
        text = value.strip()
        if any(mark in name or mark in text for mark in "\r\n\0") or not text.isascii():
            raise self._wrong(f"hold in {name.strip()!r} what no header can: a line break, or a character beyond ASCII")
        return text

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"the headers of {self._model.name} {what}", setting="headers")

    def _expand(self, name: str, value: str) -> str:
        def variable(match: re.Match[str]) -> str:
            found = self._env.get(match[1])
            if found is None:
                message = f"the header {name} of {self._model.name} needs {match[1]}, which is not in the environment"
                raise ConfigError(message, setting=match[1])
            return found

        return _VARIABLE.sub(variable, value)
