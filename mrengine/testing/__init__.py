"""For the tests of programs that use mrengine: a deterministic model, a context for map functions, and a real LLM
server on loopback.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mrengine.providers.fake import fake

if TYPE_CHECKING:
    from mrengine.testing.batch_server import BatchRules
    from mrengine.testing.context import FakeContext, fake_chunk
    from mrengine.testing.llm_server import LLMServer

__all__ = ["BatchRules", "FakeContext", "LLMServer", "fake", "fake_chunk"]

# Imported when used: tests of map functions need neither the server nor asyncio.
_HOME_OF = {"BatchRules": "batch_server", "FakeContext": "context", "fake_chunk": "context", "LLMServer": "llm_server"}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
