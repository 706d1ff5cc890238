"""Imports and warms up, in the supervisor, what each worker would otherwise import after the fork.

An SDK costs 1–2 s and 60–90 MB in every process that imports it; forked workers share one. No thread may be left
running, which the fork would lose with its locks taken, and no user code runs here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from mrengine.records import Request

__all__ = ["preload"]

_ANSWERS = {
    "openai": {"choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]},
    "anthropic": {"content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn"},
}


def preload(kinds: Iterable[str]) -> None:
    """Import what the job's models need. ``kinds``: their ``preloads`` and ``kind``s: "openai", "anthropic", "http",
    "tls", "requests"; others need nothing. A missing package is no error here: the worker reports it.
    """
    wanted = set(kinds)
    for name in sorted(wanted & {"openai", "anthropic"}):
        _warm(name)
    if wanted & {"http", "openai", "anthropic"}:
        pass
    if "requests" in wanted:
        import requests  # noqa: F401
    if "tls" in wanted:
        from mrengine.providers.http import proxies

        proxies.tls_context(proxies.authorities(os.environ))


def _warm(name: str) -> None:
    """Make one whole call through the SDK, over a mock transport: much of it is built lazily, by the first call."""
    try:
        import httpx2

        from mrengine.providers import sdk
    except ImportError:
        return
    answer = json.dumps(_ANSWERS[name]).encode()

    def handler(request: Any) -> Any:
        return httpx2.Response(200, content=answer, headers={"content-type": "application/json"})

    try:
        provider = sdk.offline(name, httpx2.MockTransport(handler))
    except ImportError:
        return
    provider.complete(Request(name, "warm"))
    provider.close()
