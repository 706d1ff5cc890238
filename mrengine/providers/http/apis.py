"""The two shapes in which endpoints speak, as pure functions: request to JSON body, JSON answer to completion."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, cast

from mrengine.providers.http.quirks import Quirks
from mrengine.records import Completion, Request, Usage

__all__ = ["Api", "NotAnAnswer", "Refused", "api", "clean", "count"]

_MOST = 2**53  # what is more was never counted


class NotAnAnswer(Exception):
    """A body with status 200 that is no answer of this API."""


class Refused(Exception):
    """The model itself declined. ``reason``: the provider's word for it, never the text; ``usage``: what it cost."""

    def __init__(self, reason: str, usage: Usage) -> None:
        super().__init__(reason)
        self.reason, self.usage = reason, usage


class Api(Protocol):
    """What a shape's module offers."""

    PATH: str
    """Where requests go, after the base URL."""

    def key_headers(self, key: str) -> dict[str, str]:
        """The headers that carry an API key; ``""`` is none."""
        ...

    def body(self, request: Request, *, model: str, params: Mapping[str, Any], dialect: Quirks) -> dict[str, Any]:
        """The JSON body. ``params`` are the caller's own and win; ``dialect``: what this endpoint takes."""
        ...

    def answer(self, data: Any, *, model: str) -> Completion:
        """Read an answer. Raises ``NotAnAnswer`` or ``Refused``."""
        ...


def api(name: str) -> Api:
    """The API "openai" (Chat Completions) or "anthropic" (Messages)."""
    module: ModuleType
    if name == "anthropic":
        from mrengine.providers.http import anthropic_messages as module
    else:
        from mrengine.providers.http import openai_chat as module
    return cast(Api, module)


def clean(text: str) -> str:
    """A text that UTF-8 can hold: surrogate pairs become their character, a lone surrogate U+FFFD.

    JSON could carry a lone surrogate as an escape, but many servers refuse it or die of it; text that was read with
    ``surrogatepass`` or cut in the middle of a pair must not cost its chunk.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def count(value: Any) -> int:
    """A number of tokens as JSON gives it; 0 for what is none."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < _MOST else 0
