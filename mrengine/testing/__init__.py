"""What tests of programs that use mrengine need: a deterministic model, and a real LLM server on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrengine.providers.fake import fake

if TYPE_CHECKING:
    from mrengine.testing.server import LLMServer

__all__ = ["LLMServer", "fake"]


def __getattr__(name: str) -> Any:
    if name == "LLMServer":
        from mrengine.testing.server import LLMServer

        return LLMServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
