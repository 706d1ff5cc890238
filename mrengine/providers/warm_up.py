"""In the supervisor, before workers are forked: import once what each of them would import, and warm it.

An SDK costs 1–2 s and 60–90 MB in every process that imports it by itself; forked workers share one. One call over a
mock transport makes the SDK build what it builds lazily. No thread may be left running, and no user code runs here.
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
    """``kinds``: the ``preloads`` of the job's models, and their ``kind``s: "openai", "anthropic", "http", "tls",
    "requests".

    Others need nothing. Only what is named is imported; a package that is missing is the worker's error to report.
    """
    wanted = set(kinds)
    for name in sorted(wanted & {"openai", "anthropic"}):
        _warm(name)
    if wanted & {"http", "openai", "anthropic"}:
        import mrengine.providers.call.retry
        import mrengine.providers.connect
        import mrengine.providers.http.endpoint
        import mrengine.providers.http.openai_chat  # noqa: F401
    if "requests" in wanted:
        import requests  # noqa: F401
    if "tls" in wanted:
        from mrengine.providers.http import proxies

        proxies.tls_context(proxies.authorities(os.environ))


def _warm(name: str) -> None:
    """One whole call through the SDK, answered by a function instead of a network."""
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
