"""The two shapes in which endpoints speak, as pure functions: request to JSON body, JSON answer to completion."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, cast

from mrengine.records import Completion, Request

__all__ = ["NotAnAnswer", "Refused", "Shape", "clean", "shape"]


class NotAnAnswer(Exception):
    """A body with status 200 that is no answer of this shape."""


class Refused(Exception):
    """The model itself declined; ``args[0]`` names the provider's reason, never the text."""


class Shape(Protocol):
    """What a shape's module offers."""

    PATH: str
    """Where requests go, after the base URL."""

    def key_headers(self, key: str) -> dict[str, str]:
        """The headers that carry an API key; ``""`` is none."""
        ...

    def body(self, request: Request, *, model: str, params: Mapping[str, Any], native_schema: bool) -> dict[str, Any]:
        """The JSON body. ``params`` are the caller's own and win; ``native_schema=False`` asks in words instead."""
        ...

    def answer(self, data: Any, *, model: str) -> Completion:
        """Read an answer. Raises ``NotAnAnswer`` or ``Refused``."""
        ...


def shape(name: str) -> Shape:
    """The shape "openai" (Chat Completions) or "anthropic" (Messages)."""
    module: ModuleType
    if name == "anthropic":
        from mrengine.providers.shapes import anthropic as module
    else:
        from mrengine.providers.shapes import openai as module
    return cast(Shape, module)


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
